from __future__ import annotations

import gzip
from pathlib import Path

import pytest
import torch

from attn_cli.errors import DataError
from attn_cli.lines.unusable import BadLines
from attn_cli.nn.graph import SparseFeatures
from attn_cli.systems.nodes.graph_files import FEATURE_LIMIT, graph_tensors, label_set, read_graph

HEADER = "node\tlabel\tsplit\tfeatures\n"
NODES = HEADER + "a\tx\ttrain\t0 2\nb\ty\tval\t1:0.5 2:-1.5\nc\t\tnone\t\n"
EDGES = "node_u\tnode_v\na\tb\nb\tc\nb\ta\n"


def write(folder: Path, nodes: str | bytes = NODES, edges: str | bytes = EDGES) -> str:
    for name, text in (("nodes.tsv", nodes), ("edges.tsv", edges)):
        (folder / name).write_bytes(text if isinstance(text, bytes) else text.encode())
    return str(folder)


def read(folder: str, *, skip_bad: bool = False, n_features: int = FEATURE_LIMIT):
    said: list[str] = []
    bad = BadLines(said.append, skip_bad=skip_bad)
    graph = read_graph(folder, bad, n_features)
    return graph, said, bad


def test_nodes_features_and_edges_are_read(tmp_path: Path) -> None:
    graph, said, _ = read(write(tmp_path))
    assert said == []
    assert graph.names == ["a", "b", "c"]
    assert graph.labels == ["x", "y", ""]
    assert graph.nodes_of("train").tolist() == [0]
    assert graph.nodes_of("val").tolist() == [1]
    assert graph.n_features == 3
    features, edges = graph_tensors(graph, 3, normalize=False)
    assert isinstance(features, torch.Tensor), "most of it is stored, so it is a matrix"
    assert features.tolist() == [[1, 0, 1], [0, 0.5, -1.5], [0, 0, 0]]
    assert edges.rows.tolist() == [0, 0, 1, 1, 1, 2, 2]
    assert edges.cols.tolist() == [0, 1, 0, 1, 2, 1, 2]


def test_normalized_features_have_magnitudes_that_sum_to_one(tmp_path: Path) -> None:
    graph, _, _ = read(write(tmp_path))
    features, _ = graph_tensors(graph, 40, normalize=True)
    assert isinstance(features, SparseFeatures), "few of 40 are stored"
    dense = torch.zeros(3, 40)
    dense[features.pattern.rows, features.pattern.cols] = features.values
    assert dense[:, :3].tolist() == [[0.5, 0, 0.5], [0, 0.25, -0.75], [0, 0, 0]]


def test_crlf_a_byte_order_mark_gzip_and_other_columns_change_nothing(tmp_path: Path) -> None:
    plain, _, _ = read(write(tmp_path))
    other = tmp_path / "other"
    other.mkdir()
    nodes = "\ufeffname\tfeatures\tsplit\tnode\tlabel\n".encode()
    nodes += b"A\t0 2\ttrain\ta\tx\r\n\nB\t1:0.5 2:-1.5\tdev\tb\ty\nC\t\tnone\tc\t\n"
    write(other, nodes)
    (other / "edges.tsv").unlink()
    (other / "edges.tsv.gz").write_bytes(gzip.compress(EDGES.encode()))
    graph, said, _ = read(str(other / "nodes.tsv"))
    assert said == []
    assert (graph.names, graph.labels) == (plain.names, plain.labels)
    assert graph.splits.tolist() == plain.splits.tolist()
    assert graph.edges.tolist() == plain.edges.tolist()
    assert graph.line_nodes.tolist() == [0, -1, 1, 2], "a blank line keeps its place"


@pytest.mark.parametrize(
    ("line", "cause"),
    [
        (b"a\tx\tnone\t1", "node 'a' stands here a second time"),
        (b"\tx\tnone\t1", "no name"),
        (b"d\tx\ttrian\t1", "split 'trian' is none of none, train, val, test (did you mean train?"),
        (b"d\t \ttrain\t1", "needs a label"),
        (b"d\tx\tnone\t1 1", "feature 1 stands here twice"),
        (b"d\tx\tnone\t-1", "an index from 0"),
        (b"d\tx\tnone\t1.5", "an index from 0"),
        ("d\tx\tnone\t٣".encode(), "an index from 0"),
        (b"d\tx\tnone\t99999999999999", "an index from 0"),
        (b"d\tx\tnone\t99999999", "beyond the 1,048,576 features"),
        (b"d\tx\tnone\t1:nan", "no finite number"),
        (b"d\tx\tnone\t1:inf", "no finite number"),
        (b"d\tx\tnone\t1:1e300", "no finite number"),
        (b"d\tx\tnone\t1:", "no number"),
        (b"d\tx", "2 columns"),
        (b"d\tx\tnone\t\xff", "not UTF-8"),
    ],
)
def test_an_unusable_node_is_named_and_left_out(tmp_path: Path, line: bytes, cause: str) -> None:
    folder = write(tmp_path, NODES.encode() + line + b"\n")
    graph, said, bad = read(folder)
    assert len(graph) == 3
    assert graph.line_nodes.tolist() == [0, 1, 2, -1]
    assert len(said) == 1
    assert said[0].startswith(f"{tmp_path / 'nodes.tsv'}:5: ")
    assert cause in said[0]
    with pytest.raises(DataError, match="1 unusable line"):
        bad.finish("left out")


def test_an_edge_to_nowhere_is_named(tmp_path: Path) -> None:
    graph, said, bad = read(write(tmp_path, edges=EDGES + "a\tz\nz\n"), skip_bad=True)
    assert len(graph.edges) == 3
    assert said[0] == f"{tmp_path / 'edges.tsv'}:5: node 'z' is not in nodes.tsv"
    assert said[1].endswith("edges.tsv:6: 1 columns, but the header names at least 2")
    bad.finish("left out")  # accepted


def test_features_that_a_model_does_not_know_are_unusable(tmp_path: Path) -> None:
    _, said, _ = read(write(tmp_path), n_features=2)
    assert [line.split(": ", 1)[1] for line in said[:2]] == [
        "feature 2 is beyond the 2 features that there can be"
    ] * 2


@pytest.mark.parametrize(
    ("nodes", "edges", "cause"),
    [
        ("", EDGES, "nodes.tsv: empty"),
        (HEADER, EDGES, "nodes.tsv: no node"),
        ("node\tfeature\n", EDGES, r"nodes.tsv:1: no column 'features' \(did you mean feature\?\)"),
        (NODES, "0\t1\n", "edges.tsv:1: no column 'node_u'"),
    ],
)
def test_files_that_are_none_are_refused(
    tmp_path: Path, nodes: str, edges: str, cause: str
) -> None:
    with pytest.raises(DataError, match=cause):
        read(write(tmp_path, nodes, edges))


@pytest.mark.parametrize("name", ["-", "nowhere", "nodes.tsv"])
def test_what_is_no_graph_is_refused(tmp_path: Path, name: str) -> None:
    path = name if name == "-" else str(tmp_path / name)
    with pytest.raises(DataError, match="not a graph; name a directory"):
        read(path)


def test_labels_are_split_at_commas_where_a_node_has_several() -> None:
    labels = ["b,a", "a", "", "c, b"]
    assert label_set(labels, multi_label=True) == ["a", "b", "c"]
    assert label_set(labels, multi_label=False) == ["a", "b,a", "c, b"]


def test_two_files_of_one_name_are_refused(tmp_path: Path) -> None:
    for name in ("nodes.tsv", "edges.tsv"):
        folder = Path(write(tmp_path))
        (folder / f"{name}.gz").write_bytes(gzip.compress((folder / name).read_bytes()))
        with pytest.raises(DataError, match=rf"holds {name} and {name}.gz; remove the one"):
            read(str(folder))
        (folder / f"{name}.gz").unlink()


def test_two_columns_of_one_name_are_refused(tmp_path: Path) -> None:
    nodes = "node\tlabel\tlabel\tfeatures\na\tx\ty\t1\n"
    with pytest.raises(DataError, match=r"nodes.tsv:1: columns 2 and 3 are both called 'label'"):
        read(write(tmp_path, nodes))


def test_weights_of_edges_are_said_to_be_unread(tmp_path: Path) -> None:
    folder = write(tmp_path, edges="node_u\tnode_v\tweight\na\tb\t0.5\n")
    heard: list[str] = []
    graph = read_graph(folder, BadLines(heard.append, skip_bad=False), say=heard.append)
    place = tmp_path / "edges.tsv"
    assert heard == [f"{place}: column 'weight' is not read: all edges count alike"]
    assert graph.edges.tolist() == [[0, 1]]


def test_a_column_without_a_name_is_unusable(tmp_path: Path) -> None:
    _, said, _ = read(write(tmp_path, edges="node_u\tnode_v\na\tb\t0.5\n"))
    assert said == [f"{tmp_path / 'edges.tsv'}:2: 3 columns, but the header names 2"]
