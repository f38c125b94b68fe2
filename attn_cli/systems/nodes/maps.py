"""Maps of graph attention: how much a node attends to each neighbour, and to itself.

Shapes: N nodes, E edges, H heads.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from attn_cli.data.label_files import read_labels
from attn_cli.device import set_up
from attn_cli.errors import UsageError
from attn_cli.models.directory import load_model_of
from attn_cli.models.gat import Gat
from attn_cli.nn.graph import SparseFeatures
from attn_cli.nn.sparse import SparsePattern
from attn_cli.systems.nodes.graph_files import Graph, graph_tensors, read_graph
from attn_cli.viz.graph_picture import EDGES_DRAWN, draw_nodes, pair_weights
from attn_cli.viz.job import AttendJob, MapSource
from attn_cli.viz.maps import AttentionMap, Axis, LineMaps, to_array
from attn_cli.viz.selection import HeadSelection

KIND = "neighbour"
_WINDOW = 1024  # nodes


class NodeSource(MapSource):
    """A line of nodes.tsv is a node, whose neighbours are the columns.

    Args:
        job: what was asked for.

    Raises:
        DataError: the model directory is damaged.
        UsageError: options that a graph has no use for.
    """

    def __init__(self, job: AttendJob) -> None:
        for flag, given in (("--pairs", job.options.pairs), ("--words", job.options.words)):
            if given:
                raise UsageError(f"{flag}: nodes of a graph are no text; leave it out")
        self._job = job
        self._device = set_up(job.runtime)
        _, self._model = load_model_of(Gat, Path(job.model), self._device)
        self._config = self._model.config
        self.score = self._config.graph_score
        inner = [self._config.n_heads] * (self._config.n_layers - 1)
        self.heads = {KIND: [*inner, self._config.n_output_heads]}

    def lines(self, path: str) -> Iterator[list[LineMaps]]:
        """See `MapSource`; the input is a graph's directory."""
        graph = self._read(path)
        edges, _, _, weights = self._run(graph)
        layers = [to_array(layer) for layer in weights]
        columns = edges.cols.tolist()
        ends = [*edges.row_starts.tolist(), len(columns)]
        found = []
        for number, node in enumerate(graph.line_nodes.tolist(), 2):  # line 1 is the header
            if node < 0:
                found.append(LineMaps(number))
            else:
                own = slice(ends[node], ends[node + 1])
                names = Axis(tuple(graph.names[other] for other in columns[own]))
                rows = tuple(layer[:, None, own] for layer in layers)
                name = graph.names[node]
                one = AttentionMap(KIND, rows, Axis((name,)), names)
                found.append(LineMaps(number, (name,), (one,)))
            if len(found) == _WINDOW:
                yield found
                found = []
        yield found

    def draw(self, path: str, selection: HeadSelection) -> list[str]:
        """Draws the whole graph into `--output`; the lines for standard output.

        Nodes lie where t-SNE puts the vectors before the last layer, and are coloured by the
        model's answers.
        """
        graph = self._read(path)
        edges, logits, vectors, weights = self._run(graph)
        chosen = [weights[index] for index in selection.of(KIND)]
        if selection.head.isdigit():
            chosen = [layer[int(selection.head) - 1 : int(selection.head)] for layer in chosen]
        pairs, sums = pair_weights(
            np.stack([edges.rows.cpu().numpy(), edges.cols.cpu().numpy()], 1),
            torch.cat(chosen).detach().double().cpu().numpy(),
        )
        if len(pairs) > EDGES_DRAWN:
            self._job.say(
                f"{path}: the strongest {EDGES_DRAWN:,} of {len(pairs):,} lines are drawn; "
                "--format tsv without -o has all numbers"
            )
        labels = read_labels(Path(self._job.model))
        answers = [labels[best] for best in logits.argmax(-1).tolist()]
        out = str(self._job.options.output)
        places = to_array(vectors if isinstance(vectors, Tensor) else logits)
        draw_nodes(
            out,
            _title(selection),
            graph.names,
            np.asarray(places),
            answers,
            pairs,
            sums,
            seed=self._job.runtime.seed,
        )
        return [out]

    def _read(self, path: str) -> Graph:
        return read_graph(path, self._job.bad, self._config.n_features)

    @torch.inference_mode()
    def _run(
        self, graph: Graph
    ) -> tuple[SparsePattern, Tensor, Tensor | SparseFeatures, list[Tensor]]:
        """Edges, logits, the vectors before the last layer, and each layer's weights (H, E)."""
        config = self._config
        features, edges = graph_tensors(
            graph, config.n_features, normalize=config.normalize_features
        )
        logits, vectors, weights = self._model(features.to(self._device), edges.to(self._device))
        return edges, logits, vectors, weights


def _title(selection: HeadSelection) -> str:
    """The model, and which of its weights are drawn."""
    numbers = [str(index + 1) for index in selection.of(KIND)]
    layers = f"{'layer' if len(numbers) == 1 else 'layers'} {', '.join(numbers)}"
    heads = f"head {selection.head}" if selection.head.isdigit() else "all heads"
    return f"{', '.join(selection.models)}: attention to neighbours, {layers}, {heads}"
