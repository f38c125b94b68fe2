"""A graph directory: `nodes.tsv` and `edges.tsv` (either may end in `.gz`).

nodes.tsv has a header with `node` and `features`, and `label` and `split` where something is to be
learnt. Features are the indices of the entries that are 1, or INDEX:VALUE, separated by spaces. A
split is train, val (or dev), test or none. edges.tsv has a header with `node_u` and `node_v`; edges
have no direction, and count once however often they stand there.

Shapes: N nodes, M stored features, E edges of the file.
"""

from __future__ import annotations

import hashlib
import math
import operator
from array import array
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from attn_cli.config import nearest, shown
from attn_cli.errors import DataError, NotThereError
from attn_cli.lines.columns import place_in
from attn_cli.lines.reading import Line, LineReader, display_name
from attn_cli.lines.rows import Row, Rows
from attn_cli.lines.unusable import BadLines
from attn_cli.nn.graph import SparseFeatures, neighbourhood
from attn_cli.nn.sparse import SparsePattern

NODES, EDGES = "nodes.tsv", "edges.tsv"
FEATURE_LIMIT = 1 << 20
NODE_LIMIT = 1 << 24
ENTRY_LIMIT = 1 << 28  # stored features, or edges
_VALUE_LIMIT = 1e30  # sums of such features are finite in float32
_DENSE = 0.25  # share of stored features from which on a plain matrix is faster
SPLITS = ("none", "train", "val", "test")
_SPLIT_NAMES = {name: number for number, name in enumerate(SPLITS)} | {"dev": 2, "": 0}


@dataclass(frozen=True)
class Graph:
    """Nodes with features and labels, and the edges between them.

    Attributes:
        names: of the nodes. Length N.
        labels: as they stand in the file; "" where a node has none. Length N.
        splits: indices into `SPLITS`. Shape: (N,).
        feature_rows: the node of each stored feature, ascending. Shape: (M,).
        feature_cols: its index. Shape: (M,).
        feature_values: Shape: (M,).
        edges: two nodes for each edge. Shape: (E, 2).
        line_nodes: the node of each line of nodes.tsv after the header; -1 where there is none.
        fingerprint: of both files' content.
    """

    names: Sequence[str]
    labels: Sequence[str]
    splits: NDArray[np.int8]
    feature_rows: NDArray[np.int64]
    feature_cols: NDArray[np.int64]
    feature_values: NDArray[np.float32]
    edges: NDArray[np.int64]
    line_nodes: NDArray[np.int64]
    fingerprint: str

    def __len__(self) -> int:
        return len(self.names)

    @property
    def n_features(self) -> int:
        """One more than the largest index."""
        return int(self.feature_cols.max()) + 1 if len(self.feature_cols) else 1

    def nodes_of(self, split: str) -> NDArray[np.int64]:
        """The nodes of a split that have a label."""
        chosen = np.flatnonzero(self.splits == SPLITS.index(split))
        return np.array([node for node in chosen.tolist() if self.labels[node]], np.int64)


@dataclass
class _Nodes:
    """What has been read of nodes.tsv; grows by a few bytes for each byte of it."""

    numbers: dict[str, int] = field(default_factory=dict)
    labels: list[str] = field(default_factory=list)
    splits: array[int] = field(default_factory=lambda: array("b"))
    counts: array[int] = field(default_factory=lambda: array("q"))
    cols: array[int] = field(default_factory=lambda: array("i"))
    values: array[float] = field(default_factory=lambda: array("f"))
    line_nodes: array[int] = field(default_factory=lambda: array("q"))


def read_graph(
    folder: str,
    bad: BadLines,
    n_features: int = FEATURE_LIMIT,
    say: Callable[[str], None] = lambda text: None,
) -> Graph:
    """Reads and checks a graph directory; lines that can't be used are left out and named.

    Args:
        folder: the directory, or its nodes.tsv.
        bad: is told of each unusable line; the caller finishes it.
        n_features: feature indices from here on are unusable.
        say: is told of columns of edges that are not read.

    Raises:
        DataError: a file is missing or has no such header, there is no node, or the graph is larger
            than 16 million nodes or 268 million features or edges.
    """
    nodes_file, edges_file = graph_files(folder)
    digest = hashlib.sha256()
    nodes = _Nodes()
    reader = LineReader(nodes_file)
    columns, optional = ("node", "features"), ("label", "split")
    for row in _rows(reader, columns, optional, bad, digest):
        if row.fields and (problem := _add_node(nodes, row.fields, n_features)):
            row = row.refuse(problem)
        nodes.line_nodes.append(len(nodes.labels) - 1 if row.fields else -1)
        if len(nodes.labels) > NODE_LIMIT or len(nodes.cols) > ENTRY_LIMIT:
            raise DataError(f"{row.where}: larger than any graph that fits here")
    if not nodes.labels:
        raise DataError(f"{reader.name}: no node; lines are node<TAB>label<TAB>split<TAB>features")
    edges = _read_edges(edges_file, nodes, bad, digest, say)
    counts = np.frombuffer(nodes.counts, np.int64)
    return Graph(
        names=list(nodes.numbers),
        labels=nodes.labels,
        splits=np.frombuffer(nodes.splits, np.int8),
        feature_rows=np.repeat(np.arange(len(counts)), counts),
        feature_cols=np.array(nodes.cols, np.int64),
        feature_values=np.array(nodes.values, np.float32),
        edges=edges,
        line_nodes=np.array(nodes.line_nodes, np.int64),
        fingerprint=digest.hexdigest(),
    )


def _graph_folder(path: str) -> Path:
    """The directory that `path`, or the nodes.tsv that it names, is a graph's.

    Raises:
        DataError: it is none.
    """
    place = Path(path)
    if place.name in (NODES, f"{NODES}.gz") and place.is_file():
        return place.parent
    if path == "-" or not place.is_dir():
        raise NotThereError(
            f"{display_name(path)}: not a graph; name a directory that holds {NODES} and {EDGES}"
        )
    return place


def graph_files(path: str) -> tuple[str, str]:
    """The two files of a graph, which need not be there.

    Args:
        path: its directory, or the nodes.tsv in it.

    Raises:
        DataError: there is no such directory, or it has one of them twice.
    """
    place = _graph_folder(path)
    return _file(place, NODES), _file(place, EDGES)


def _file(place: Path, name: str) -> str:
    packed, plain = place / f"{name}.gz", place / name
    if packed.exists() and plain.exists():
        raise DataError(f"{place}: holds {name} and {name}.gz; remove the one that is out of date")
    return str(packed if packed.exists() else plain)


def _rows(
    reader: LineReader,
    needed: Sequence[str],
    optional: Sequence[str],
    bad: BadLines,
    digest: hashlib._Hash,
    say_unread: Callable[[Sequence[str]], None] = lambda columns: None,
) -> Iterator[Row]:
    """Each line after the header, with its fields in the order asked for."""
    places: list[int | None] = []
    width = 0
    try:
        for row in Rows(reader, None, bad, blank=operator.not_):
            digest.update(row.line.text.encode() + b"\n")
            if not places:
                places = _header(row.line, reader.name, needed, optional)
                last = max(place for place in places if place is not None)
                names = row.line.text.split("\t")
                width = len(names)
                if unread := [name for i, name in enumerate(names) if i not in places]:
                    say_unread(unread)
                continue
            if row.fields:
                fields = row.line.text.split("\t")
                if len(fields) > width:
                    row = row.refuse(f"{len(fields)} columns, but the header names {width}")
                elif last < len(fields):
                    row.fields = ["" if place is None else fields[place] for place in places]
                else:
                    cause = f"{len(fields)} columns, but the header names at least {last + 1}"
                    row = row.refuse(cause)
            yield row
    finally:
        reader.close()
    if not places:
        raise DataError(f"{reader.name}: empty; its first line names the columns {_list(needed)}")


def _header(
    line: Line, name: str, needed: Sequence[str], optional: Sequence[str]
) -> list[int | None]:
    header = line.text.split("\t")
    where = f"{name}:{line.number}"
    for column in needed:
        if column not in header:
            raise DataError(
                f"{where}: no column {column!r}{nearest(column, header)}; the first "
                f"line names the columns {_list([*needed, *optional])}"
            )
    names = [*needed, *optional]
    return [place_in(header, column, where) if column in header else None for column in names]


def _list(columns: Sequence[str]) -> str:
    return ", ".join(columns)


def _add_node(nodes: _Nodes, fields: Sequence[str], n_features: int) -> str | None:
    """Adds a node, or says why it can't be one."""
    name, features, label, split = fields
    if not name:
        return "no name of a node"
    if name in nodes.numbers:
        return f"node {shown(name)} stands here a second time"
    if split not in _SPLIT_NAMES:
        return f"split {shown(split)} is none of {', '.join(SPLITS)}{nearest(split, SPLITS)}"
    number = _SPLIT_NAMES[split]
    if number in (1, 2) and not label.strip():
        return f"a node of the split {split} needs a label"
    parsed = _features(features, n_features)
    if isinstance(parsed, str):
        return parsed
    nodes.numbers[name] = len(nodes.numbers)
    nodes.labels.append(label)
    nodes.splits.append(number)
    nodes.counts.append(len(parsed))
    nodes.cols.extend(parsed)
    nodes.values.extend(parsed.values())
    return None


def _features(text: str, n_features: int) -> dict[int, float] | str:
    """Index -> value, or why the text is none."""
    features: dict[int, float] = {}
    for item in text.split(" "):
        if not item:
            continue
        index, colon, value = item.partition(":")
        if not (index.isascii() and index.isdigit()) or len(index) > 9:
            return f"feature {shown(item)}: an index from 0, or INDEX:VALUE, is needed"
        number = int(index)
        if number >= n_features:
            return f"feature {number} is beyond the {n_features:,} features that there can be"
        if number in features:
            return f"feature {number} stands here twice"
        try:
            features[number] = float(value) if colon else 1.0
        except ValueError:
            return f"feature {shown(item)}: the value is no number"
        if not math.isfinite(features[number]) or abs(features[number]) > _VALUE_LIMIT:
            return f"feature {shown(item)}: the value is no finite number of a sane size"
    return features


def _read_edges(
    file: str,
    nodes: _Nodes,
    bad: BadLines,
    digest: hashlib._Hash,
    say: Callable[[str], None],
) -> NDArray[np.int64]:
    reader = LineReader(file)
    ends = array("i")

    def say_unread(columns: Sequence[str]) -> None:
        named = ", ".join(map(shown, columns))
        say(f"{reader.name}: column {named} is not read: all edges count alike")

    for row in _rows(reader, ("node_u", "node_v"), (), bad, digest, say_unread):
        if row.fields and (problem := _add_edge(ends, row.fields, nodes.numbers)):
            row.refuse(problem)
        if len(ends) > 2 * ENTRY_LIMIT:
            raise DataError(f"{row.where}: larger than any graph that fits here")
    return np.array(ends, np.int64).reshape(-1, 2)


def _add_edge(ends: array[int], fields: Sequence[str], numbers: dict[str, int]) -> str | None:
    for name in fields:
        if name not in numbers:
            return f"node {shown(name)} is not in {NODES}"
    ends.extend(numbers[name] for name in fields)
    return None


def label_set(labels: Sequence[str], *, multi_label: bool) -> list[str]:
    """The distinct labels, sorted; a node's own are joined by commas where it can have several."""
    return sorted(
        {part for label in labels for part in split_label(label, multi_label=multi_label)}
    )


def split_label(label: str, *, multi_label: bool) -> list[str]:
    """The labels of one node."""
    parts = label.split(",") if multi_label else [label]
    return [part.strip() for part in parts if part.strip()]


def graph_tensors(
    graph: Graph, n_features: int, *, normalize: bool
) -> tuple[Tensor | SparseFeatures, SparsePattern]:
    """What a model of `n_features` features reads: the features, and who attends to whom.

    Args:
        graph: no feature's index is `n_features` or more.
        n_features: D.
        normalize: whether each node's features are divided by the sum of their magnitudes.

    Returns:
        Features of shape (N, D), stored sparsely unless many of them are not 0, and the N x N
        pattern of edges.
    """
    rows, cols = torch.from_numpy(graph.feature_rows), torch.from_numpy(graph.feature_cols)
    values = torch.from_numpy(graph.feature_values.astype(np.float64))
    if normalize:
        sums = torch.zeros(len(graph), dtype=torch.float64).index_add_(0, rows, values.abs())
        values = values / sums.clamp(min=1e-30)[rows]
    values = values.float()
    edges = neighbourhood(torch.from_numpy(graph.edges), len(graph))
    if len(values) > _DENSE * len(graph) * n_features:
        dense = torch.zeros(len(graph), n_features)
        dense[rows, cols] = values
        return dense, edges
    return SparseFeatures(SparsePattern.build(rows, cols, len(graph), n_features), values), edges
