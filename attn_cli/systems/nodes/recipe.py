"""`attn finetune --task nodes`: from a graph directory to a model of its nodes' labels.

Shapes: N nodes, B labelled nodes of a batch, C labels.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from attn_cli.config import shown, to_dict
from attn_cli.config.finetuning import FinetuneCommand
from attn_cli.config.training import TrainingOptions
from attn_cli.data.batching import Batch, RowReader, RowSource, moved, stream
from attn_cli.data.label_files import labels_problem, read_labels, write_labels
from attn_cli.errors import DataError, UsageError
from attn_cli.lines.unusable import BadLines
from attn_cli.models import build_model
from attn_cli.models.directory import CONFIG, ModelConfig
from attn_cli.models.gat import Gat, GatConfig
from attn_cli.nn.graph import ReceptiveField, SparseFeatures, receptive_field
from attn_cli.nn.sparse import SparsePattern
from attn_cli.systems.nodes.graph_files import (
    Graph,
    graph_files,
    graph_tensors,
    label_set,
    read_graph,
    split_label,
)
from attn_cli.systems.recipe import SystemRecipe, n_weights, with_limit
from attn_cli.train.loop import Training
from attn_cli.train.monitor import Speaker
from attn_cli.train.objective import Objective
from attn_cli.train.processes import Processes
from attn_cli.train.run import Plan
from attn_cli.train.spread import Spread, alone
from attn_cli.wording import plural, some

TASK = "nodes"
_EPOCHS = 1000.0  # where no limit is given; patience ends most trainings sooner
_HELD_OUT = 0.1  # of the training nodes, where no node is there to validate
_LOSS_SHARE = 0.1  # of the loss in the score


@dataclass(frozen=True)
class NodeBatch(Batch):
    """Some labelled nodes; the graph around them is the objective's.

    Attributes:
        nodes: their numbers. Shape: (B,).
        targets: the label of each, or 0 and 1 for every label. Shape: (B,) or (B, C).
    """

    nodes: Tensor
    targets: Tensor

    def __len__(self) -> int:
        return len(self.nodes)

    @property
    def n_tokens(self) -> int:
        """Nodes whose labels are to be predicted."""
        return len(self.nodes)

    def rows(self, which: slice) -> NodeBatch:
        """Some of the nodes."""
        return NodeBatch(self.nodes[which], self.targets[which])

    def without_targets(self) -> NodeBatch:
        """Nothing to predict: what an idle rank computes to keep step."""
        return self.rows(slice(0, 0))

    def to(self, device: torch.device) -> NodeBatch:
        """The batch on a device."""
        return NodeBatch(moved(self.nodes, device), moved(self.targets, device))


def node_losses(logits: Tensor, targets: Tensor, smoothing: float = 0.0) -> Tensor:
    """-Σ ln p(label) over nodes, of a softmax; or, of sigmoids, over nodes and labels.

    Shape: logits (B, C), targets (B,) of one label each or (B, C) of 0 and 1 -> a number.
    """
    if targets.dim() == 1:
        return F.cross_entropy(logits, targets, reduction="sum", label_smoothing=smoothing)
    smooth = targets * (1 - smoothing) + smoothing / 2
    return F.binary_cross_entropy_with_logits(logits, smooth, reduction="sum")


class NodeObjective(Objective[NodeBatch]):
    """The losses of a batch's nodes, given their graph.

    Layers compute what these nodes' outputs depend on, and no more: of Cora's 13,264 edges its
    training nodes need 4,478 in the first layer and 778 in the second.
    """

    def __init__(
        self,
        model: Gat,
        features: Tensor | SparseFeatures,
        edges: SparsePattern,
        label_smoothing: float,
    ) -> None:
        super().__init__(model)
        self.features = features
        self.edges = edges
        self.label_smoothing = label_smoothing
        self._n_layers = len(model.layers)
        self._field: tuple[Tensor, ReceptiveField] | None = None  # of the last batch

    def forward(self, batch: NodeBatch) -> tuple[Tensor, Tensor]:
        """Sums over the batch's nodes: the loss, and the unsmoothed one."""
        if self._field is None or not torch.equal(self._field[0], batch.nodes):
            self._field = batch.nodes, self.field(batch.nodes)
        logits = self.logits(self._field[1])
        loss = node_losses(logits, batch.targets, self.label_smoothing)
        if not self.label_smoothing:
            return loss, loss.detach()
        return loss, node_losses(logits.detach(), batch.targets)

    def field(self, nodes: Tensor) -> ReceptiveField:
        """What these nodes' outputs depend on. Shape: (B,)."""
        return receptive_field(self.features, self.edges, nodes, self._n_layers)

    def logits(self, field: ReceptiveField) -> Tensor:
        """Shape: (B, C)."""
        return self.model(field.features, field.edges)[0].index_select(0, field.places).float()


class NodeValidation:
    """Figures of the nodes that validate.

    `loss` is nats per node; `accuracy` the share of right labels, or, where nodes can have several,
    `micro_f1` of them; `score` the same less a tenth of the loss. A few hundred nodes give equal
    accuracies at many epochs, and good ones by chance while the loss is still falling; published
    trainings watch both for that reason (Velickovic et al. 2018, section 3.3).
    """

    def __init__(self, objective: NodeObjective, batch: NodeBatch) -> None:
        self._objective = objective
        self._batch = batch
        self._field = objective.field(batch.nodes)

    def __call__(self, spread: Spread = alone) -> dict[str, float]:
        """The figures by name; one pass gives all, which is no work to share."""
        return spread(self._figures, [self._field])[0]

    @torch.inference_mode()
    def _figures(self, field: ReceptiveField) -> dict[str, float]:
        targets = self._batch.targets
        logits = self._objective.logits(field)
        loss = float(node_losses(logits, targets)) / len(targets)
        if targets.dim() == 1:
            name, value = "accuracy", float((logits.argmax(-1) == targets).double().mean())
        else:
            name, value = "micro_f1", _micro_f1(logits > 0, targets > 0)
        return {"loss": loss, name: value, "score": value - _LOSS_SHARE * loss}


def _micro_f1(predicted: Tensor, gold: Tensor) -> float:
    n_either = int(predicted.sum()) + int(gold.sum())
    return 2.0 * int((predicted & gold).sum()) / n_either if n_either else 0.0


class GraphRecipe(SystemRecipe[NodeBatch, FinetuneCommand]):
    """Prepares and opens a training on a graph.

    Args:
        files: the one directory of the graph.
        options: of the command.
        speaker: is told what was found and chosen.

    Raises:
        UsageError: there is not one directory.
    """

    def __init__(self, files: list[str], options: FinetuneCommand, speaker: Speaker) -> None:
        super().__init__(files, options, speaker)
        if len(files) != 1:
            raise UsageError("--task nodes needs one graph: a directory of nodes.tsv and edges.tsv")
        self._folder = files[0]

    @property
    def inputs(self) -> Iterable[str | None]:
        """The graph's two files."""
        return graph_files(self._folder)

    def prepare(self, output: Path, work: Path) -> None:
        """Checks every line and finds the labels."""
        bad = self.bad_lines()
        graph = read_graph(self._folder, bad, say=self.speaker.warn)
        bad.finish("left out", "nothing was trained")
        if not len(graph.nodes_of("train")):
            raise DataError(f"{self._folder}: no node is of the split train")
        if not len(graph.nodes_of("val")):
            self.speaker.warn("no node is of the split val: a tenth of the training nodes validate")
        labels = label_set(graph.labels, multi_label=self._multi_label(graph))
        if problem := labels_problem(labels):
            raise DataError(f"{self._folder}: label {problem}")
        if len(labels) < 2:
            raise DataError(f"{self._folder}: only one label: nothing to learn")
        for remark in _remarks(graph, labels, multi_label=self._multi_label(graph)):
            self.speaker.warn(remark)
        if not (output / CONFIG).exists():
            write_labels(output, labels)

    def open(self, output: Path, work: Path, processes: Processes) -> Plan[NodeBatch]:
        """The model with fresh weights, the graph as one batch, its validation."""
        options, device = self.options, processes.device
        graph = read_graph(self._folder, BadLines(lambda text: None, skip_bad=True))
        labels = read_labels(output)
        config = GatConfig(
            **to_dict(options.gat),
            n_features=graph.n_features,
            n_labels=len(labels),
            multi_label=self._multi_label(graph),
        )
        if options.finetuning.dropout is not None:
            config = dataclasses.replace(config, dropout=options.finetuning.dropout)
        torch.manual_seed(self.seed)
        model = build_model("gat", config).to(device)
        features, edges = graph_tensors(
            graph, config.n_features, normalize=config.normalize_features
        )
        training = _with_metric(with_limit(options.training, _EPOCHS), config)
        objective = NodeObjective(
            model, features.to(device), edges.to(device), training.label_smoothing
        )
        train, val = self._nodes(graph)
        targets = _targets(graph, labels, output, multi_label=config.multi_label)
        nodes = NodeBatch(torch.from_numpy(train), targets[train])
        source = _NodeReader(nodes, training.batch_tokens).source()
        dev = NodeBatch(torch.from_numpy(val), targets[val]).to(device)
        summary = [
            f"{plural(len(graph), 'node')}, {plural(len(edges) - len(graph), 'directed edge')}, "
            f"{plural(config.n_features, 'feature')}, {plural(len(labels), 'label')}"
            f"{' (several a node)' if config.multi_label else ''}",
            f"{len(train):,} nodes to train on, {len(val):,} to validate on; "
            f"{n_weights(model):,} weights",
        ]
        return Plan(
            Training(
                objective=objective,
                stream=lambda position, peers: stream(source, self.seed, position, peers),
                validate=NodeValidation(objective, dev),
                validates_often=True,
            ),
            training,
            ModelConfig(
                "gat", TASK, config, self.saved_options(graph.fingerprint, len(train), len(val))
            ),
            summary,
        )

    def _multi_label(self, graph: Graph) -> bool:
        chosen = self.options.graph.multi_label
        return any("," in label for label in graph.labels) if chosen is None else chosen

    def _nodes(self, graph: Graph) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """The nodes to train on and those to validate on."""
        train, val = graph.nodes_of("train"), graph.nodes_of("val")
        if len(val) or len(train) < 2:
            return train, val if len(val) else train
        order = np.random.default_rng(self.seed).permutation(train)
        n_held_out = max(1, round(_HELD_OUT * len(train)))
        return np.sort(order[n_held_out:]), np.sort(order[:n_held_out])


def _remarks(graph: Graph, labels: Sequence[str], *, multi_label: bool) -> Iterator[str]:
    """What is unusual in a graph: labels and nodes of which little can be learnt."""
    counts = Counter(
        label
        for node in graph.nodes_of("train").tolist()
        for label in split_label(graph.labels[node], multi_label=multi_label)
    )
    unseen = [shown(label) for label in labels if not counts[label]]
    if unseen:
        yield f"no training node has the label {some(unseen)}: it is never the answer"
    once = [shown(label) for label in labels if counts[label] == 1]
    if once:
        yield f"one training node alone has the label {some(once)}"
    bare = np.setdiff1d(np.arange(len(graph)), graph.feature_rows)
    if len(bare):
        yield (
            f"{len(bare):,} of {plural(len(graph), 'node')} without any feature, the first of them "
            f"{shown(graph.names[bare[0]])}: their neighbours alone tell of them"
        )


def _targets(graph: Graph, labels: Sequence[str], output: Path, *, multi_label: bool) -> Tensor:
    """What is to be predicted. Shape: (N,), 0 where a node has no label; or (N, C) of 0 and 1."""
    numbers = {label: number for number, label in enumerate(labels)}
    targets = np.zeros((len(graph), len(labels)) if multi_label else len(graph), np.float32)
    for node, text in enumerate(graph.labels):
        for label in split_label(text, multi_label=multi_label):
            if label not in numbers:
                raise DataError(
                    f"{output}: holds a training without the label {label!r}; choose another -o, "
                    "or --overwrite"
                )
            if multi_label:
                targets[node, numbers[label]] = 1
            else:
                targets[node] = numbers[label]
    return torch.from_numpy(targets if multi_label else targets.astype(np.int64))


@dataclass(frozen=True)
class _NodeReader(RowReader[NodeBatch, int]):
    """The labelled nodes as rows: an epoch is all of them, in one batch where they fit."""

    nodes: NodeBatch
    batch_size: int

    def source(self) -> RowSource[NodeBatch, int]:
        """What `batching.stream` walks."""
        n_bytes: Callable = lambda numbers: np.ones(len(numbers), np.int64)  # noqa: E731
        return RowSource(len(self.nodes), n_bytes, self, is_shared=False)

    def encode(self, numbers: NDArray[np.int64], seed: int) -> list[int]:
        """Their numbers."""
        return numbers.tolist()

    def cut(self, items: Sequence[int], seed: int) -> list[NodeBatch]:
        """Some of them as batches."""
        chosen = torch.tensor(sorted(items) if len(items) <= self.batch_size else items)
        nodes, targets = self.nodes.nodes, self.nodes.targets
        return [NodeBatch(nodes[p], targets[p]) for p in chosen.split(self.batch_size)]


def _with_metric(training: TrainingOptions, config: GatConfig) -> TrainingOptions:
    """The options with the metric decided.

    Raises:
        UsageError: it is none of this task's.
    """
    if training.metric == "auto":
        return dataclasses.replace(training, metric="score")
    figure = "micro_f1" if config.multi_label else "accuracy"
    if training.metric not in ("score", "loss", figure):
        raise UsageError(f"--metric {training.metric}: here it is score, {figure} or loss")
    return training
