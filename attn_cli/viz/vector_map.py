"""A map of texts: those whose vectors are alike lie together.

Shapes: N points, D width of a vector.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from attn_cli.files import write_atomically
from attn_cli.viz.figures import drawing, new_figure, picture_kind, saved
from attn_cli.viz.points import by_pca, by_tsne, draw_points
from attn_cli.viz.token_labels import shortened, visible

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_WIDTH, _HEIGHT = 9.0, 6.5  # inches
_LONGEST = 32  # characters of a text
_POINTS = 7  # of its letters


def draw_map(
    path: str,
    title: str,
    vectors: NDArray[np.floating],
    texts: Sequence[str],
    labels: Sequence[str],
    *,
    projection: str,
    named: int,
) -> None:
    """Writes the picture.

    Args:
        path: the file: .png, .svg or .pdf.
        title: of the picture.
        vectors: of the texts. Shape: (N, D).
        texts: Length N.
        labels: whose colours the points have; Length N, or none.
        projection: "pca" or "tsne".
        named: how many points have their text beside them.

    Raises:
        UsageError: another ending, or matplotlib or scikit-learn is not installed.
        AttnError: the file can't be written.
    """
    kind = picture_kind(path)
    figure = new_figure(_WIDTH, _HEIGHT, layout="constrained")
    shares = (0.0, 0.0)
    if projection == "pca":
        points, shares = by_pca(vectors)
    else:
        points = by_tsne(vectors, seed=1)
    with drawing():
        axes = figure.subplots()
        draw_points(axes, points, labels)
        _write_texts(axes, points, texts, named)
        axes.set_title(title, fontsize=10, loc="left")
        axes.margins(0.08)
        if projection == "pca":
            axes.set_xlabel(f"first component, {shares[0]:.0%} of the variance", fontsize=8)
            axes.set_ylabel(f"second component, {shares[1]:.0%}", fontsize=8)
            axes.tick_params(labelsize=8)
        else:  # distances on the map are no numbers of anything
            axes.set_xticks([])
            axes.set_yticks([])
            axes.set_xlabel("t-SNE: neighbours are alike; distances say little", fontsize=8)
        picture = saved(figure, kind)
    write_atomically(Path(path), picture)


def spread_out(points: NDArray[np.floating], count: int) -> list[int]:
    """Points that are far from each other: the middle one, then each time the farthest.

    Shape: (N, 2).
    """
    if not len(points):
        return []
    chosen = [int(np.square(points - points.mean(0)).sum(1).argmin())]
    nearest = np.square(points - points[chosen[0]]).sum(1)
    while len(chosen) < min(count, len(points)) and nearest.max() > 0:
        chosen.append(int(nearest.argmax()))
        nearest = np.minimum(nearest, np.square(points - points[chosen[-1]]).sum(1))
    return chosen[:count]


def _write_texts(
    axes: Axes, points: NDArray[np.floating], texts: Sequence[str], named: int
) -> None:
    middle = (points.min(0) + points.max(0)) / 2
    for place in spread_out(points, named):
        on_right = points[place, 0] > middle[0]
        axes.annotate(
            shortened(visible(texts[place]), _LONGEST),
            (float(points[place, 0]), float(points[place, 1])),
            xytext=(-4 if on_right else 4, 3),
            textcoords="offset points",
            horizontalalignment="right" if on_right else "left",
            fontsize=_POINTS,
            bbox={"boxstyle": "round,pad=0.1", "facecolor": "white", "alpha": 0.6, "linewidth": 0},
            zorder=3,
        )
