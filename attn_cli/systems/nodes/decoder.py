"""`attn decode GRAPH` with a model of nodes: a label, or several, for every node."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor

from attn_cli.data.label_files import read_labels
from attn_cli.device import set_up
from attn_cli.errors import DataError, UsageError
from attn_cli.lines.reading import LineReader
from attn_cli.models.directory import load_model_of
from attn_cli.models.gat import Gat
from attn_cli.systems.base import DecodeJob
from attn_cli.systems.nodes.graph_files import Graph, graph_tensors, read_graph

_WINDOW = 4096  # lines


class NodeDecoder:
    """Labels the nodes of a graph directory; a `systems.base.Decoder`.

    One line for each line of nodes.tsv after its header: the node, its label (or labels, joined by
    commas), and with `--scores` the label's probability, or that of exactly these labels.

    Args:
        job: what was asked for.

    Raises:
        DataError: the model directory is missing, damaged, or has other labels than outputs.
        UsageError: several models.
    """

    def __init__(self, job: DecodeJob) -> None:
        if "," in job.model:
            raise UsageError(f"-m {job.model}: only models that write texts decode as an ensemble")
        self._job = job
        self._device = set_up(job.runtime)
        _, self._model = load_model_of(Gat, Path(job.model), self._device)
        self._config = self._model.config
        self._labels = read_labels(Path(job.model))
        if len(self._labels) != self._config.n_labels:
            raise DataError(
                f"{job.model}: {len(self._labels)} labels in labels.txt, but the model has "
                f"{self._config.n_labels} outputs; the directory mixes files of two models"
            )

    def results(self, reader: LineReader) -> Iterator[list[str]]:
        """See `systems.base.Decoder`; the reader's file is the graph's nodes.tsv."""
        path = reader.name
        reader.close()
        graph = read_graph(path, self._job.bad, self._config.n_features, self._job.say)
        answers, probabilities = self._answers(self._logits(graph))
        for first in range(0, len(graph.line_nodes), _WINDOW):
            nodes = graph.line_nodes[first : first + _WINDOW].tolist()
            yield [
                ""
                if node < 0
                else self._line(graph.names[node], answers[node], probabilities[node])
                for node in nodes
            ]

    @torch.inference_mode()
    def _logits(self, graph: Graph) -> Tensor:
        """Shape: (N, C)."""
        config = self._config
        features, edges = graph_tensors(
            graph, config.n_features, normalize=config.normalize_features
        )
        return self._model(features.to(self._device), edges.to(self._device))[0].float().cpu()

    def _answers(self, logits: Tensor) -> tuple[list[str], list[float]]:
        """Each node's answer and its probability. Shape: (N, C)."""
        if not self._config.multi_label:
            best, chosen = logits.softmax(-1).max(-1)
            return [self._labels[number] for number in chosen.tolist()], best.tolist()
        own = torch.nn.functional.logsigmoid(logits.abs()).sum(-1).exp()
        answers = [
            ",".join(label for label, here in zip(self._labels, row, strict=True) if here)
            for row in (logits > 0).tolist()
        ]
        return answers, own.tolist()

    def _line(self, name: str, answer: str, probability: float) -> str:
        decoding = self._job.decoding
        if decoding.format == "json":
            found = {"node": name, "answer": answer, "probability": probability}
            return json.dumps(found, ensure_ascii=False)
        fields = [name, answer]
        return "\t".join([*fields, f"{probability:.6f}"] if decoding.scores else fields)
