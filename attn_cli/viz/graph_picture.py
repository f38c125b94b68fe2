"""A picture of a graph's nodes: near where their vectors are alike, joined where they attend.

Shapes: N nodes, D width of a vector, E edges, H heads, P pairs of joined nodes.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from attn_cli.files import write_atomically
from attn_cli.viz.figures import drawing, new_figure, picture_kind, saved
from attn_cli.viz.points import by_tsne, draw_points, name_points

EDGES_DRAWN = 20_000  # the strongest ones; more lines are a blot, and take minutes
_WIDTH = 1.5  # of the strongest edge, in points
_NAMED = 40  # nodes, those far from each other …
_SMALL = 500  # … of a graph of at most so many
_LEGEND = "nodes: t-SNE of the vectors before the last layer; lines: as thick as the attention"


def pair_weights(
    edges: NDArray[np.int64], weights: NDArray[np.floating]
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """The weight of each pair of nodes: Σ over heads of α_ij + α_ji, without self-loops.

    As in figure 2 of Velickovic et al. 2018.

    Shape: edges (E, 2), weights (H, E) -> (P, 2), the smaller node first, and (P,).
    """
    apart = edges[:, 0] != edges[:, 1]
    pairs, numbers = np.unique(np.sort(edges[apart], axis=1), axis=0, return_inverse=True)
    totals = np.zeros(len(pairs))
    np.add.at(totals, numbers.reshape(-1), weights.sum(0)[apart])
    return pairs, totals


def draw_nodes(
    path: str,
    title: str,
    names: Sequence[str],
    vectors: NDArray[np.floating],
    labels: Sequence[str],
    pairs: NDArray[np.int64],
    weights: NDArray[np.floating],
    *,
    seed: int = 1,
) -> None:
    """Writes the picture; a line's width is its weight, a node's colour its label.

    Args:
        path: ends in .png, .svg or .pdf.
        title: of the picture.
        names: of the nodes, some of which are written where there are few. Length N.
        vectors: of the nodes. Shape: (N, D).
        labels: of the nodes. Length N.
        pairs: two nodes for each line. Shape: (P, 2).
        weights: of the lines, at least 0. Shape: (P,).
        seed: of t-SNE.

    Raises:
        UsageError: another ending, or matplotlib or scikit-learn is not installed.
        AttnError: the file can't be written.
    """
    kind = picture_kind(path)
    figure = new_figure(8, 8, layout="constrained")
    points = by_tsne(vectors, seed)
    with drawing():
        from matplotlib.collections import LineCollection

        axes = figure.add_subplot()
        axes.set_axis_off()
        strongest = np.sort(np.argsort(-weights, kind="stable")[:EDGES_DRAWN])
        widths = _WIDTH * weights[strongest] / (weights.max(initial=0.0) or 1.0)
        lines = list(points[pairs[strongest]])
        axes.add_collection(LineCollection(lines, linewidths=widths, colors="0.4", alpha=0.5))
        draw_points(axes, points, labels)
        name_points(axes, points, names, _NAMED if len(points) <= _SMALL else 0)
        axes.set_title(title, fontsize=10, loc="left")
        figure.supxlabel(_LEGEND, fontsize=8)
        picture = saved(figure, kind)
    write_atomically(Path(path), picture)
