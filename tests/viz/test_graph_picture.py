from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import torch

from attn_cli.errors import UsageError
from attn_cli.nn.graph import neighbourhood
from attn_cli.viz.graph_picture import draw_nodes, pair_weights
from attn_cli.viz.points import by_tsne


def clusters(n_each: int = 15) -> tuple[np.ndarray, list[str]]:
    rng = np.random.default_rng(1)
    vectors = rng.normal(size=(2 * n_each, 6))
    vectors[n_each:] += 20
    return vectors, ["left"] * n_each + ["$right_1"] * n_each


def test_pair_weights_are_sums_over_heads_and_both_directions() -> None:
    edges = neighbourhood(torch.tensor([(0, 1), (1, 2), (3, 0)]), 4)
    weights = torch.rand(3, len(edges))
    ends = np.stack([edges.rows.numpy(), edges.cols.numpy()], 1)
    pairs, sums = pair_weights(ends, weights.numpy())
    expected: dict[tuple[int, int], float] = {}
    for i, j, own in zip(edges.rows.tolist(), edges.cols.tolist(), weights.t(), strict=True):
        if i != j:
            pair = (min(i, j), max(i, j))
            expected[pair] = expected.get(pair, 0.0) + float(own.sum())
    assert [tuple(pair) for pair in pairs.tolist()] == sorted(expected)
    assert sums == pytest.approx([expected[pair] for pair in sorted(expected)])


def test_alike_nodes_lie_together_and_the_same_seed_gives_the_same_places() -> None:
    pytest.importorskip("sklearn")
    vectors, _ = clusters()
    places = by_tsne(vectors, seed=3)
    left, right = places[:15], places[15:]
    spread = max(np.ptp(left, axis=0).max(), np.ptp(right, axis=0).max())
    assert np.linalg.norm(left.mean(0) - right.mean(0)) > spread
    assert np.array_equal(places, by_tsne(vectors, seed=3))


@pytest.mark.parametrize("kind", ["png", "svg", "pdf"])
def test_a_picture_is_drawn_and_the_same_again(kind: str, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    vectors, labels = clusters()
    names = [f"node {number}" for number in range(len(vectors))]
    pairs = np.array([(0, 1), (2, 20), (16, 17)])
    files = [tmp_path / f"{n}.{kind}" for n in range(2)]
    for file in files:
        draw_nodes(str(file), "gat", names, vectors, labels, pairs, np.array([1.0, 0.1, 0.5]))
    start = {"png": b"\x89PNG", "svg": b"<?xml", "pdf": b"%PDF"}[kind]
    assert files[0].read_bytes().startswith(start)
    assert files[0].read_bytes() == files[1].read_bytes()
    if kind == "svg":
        drawn = re.findall(r"<!-- (.*?) -->", files[0].read_text("utf-8"))
        assert {"gat", "node 0"} <= set(drawn) and len([x for x in drawn if "node " in x]) == 30
        assert any("as thick as the attention" in text for text in drawn)
        assert b"right_1" in files[0].read_bytes() or b"DejaVuSans" in files[0].read_bytes()


def test_a_graph_without_edges_or_with_three_nodes_is_drawn(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    nothing = np.empty((0, 2), np.int64)
    draw_nodes(
        str(tmp_path / "x.png"), "", "abc", np.ones((3, 2)), ["a", "b", "a"], nothing, np.empty(0)
    )
    assert (tmp_path / "x.png").stat().st_size > 0


def test_another_ending_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"ends in \.png, \.svg, \.pdf"):
        nothing = np.empty((0, 2), np.int64)
        draw_nodes(
            str(tmp_path / "x.gif"), "", "abc", np.ones((3, 2)), ["a"] * 3, nothing, np.empty(0)
        )
