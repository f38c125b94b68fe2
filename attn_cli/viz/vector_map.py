"""A map of texts: those whose vectors are alike lie together.

Shapes: N points, D width of a vector.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from attn_cli.files import write_atomically
from attn_cli.viz.figures import drawing, new_figure, picture_kind, saved
from attn_cli.viz.points import by_pca, by_tsne, draw_points, name_points

_WIDTH, _HEIGHT = 9.0, 6.5  # inches


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
        name_points(axes, points, texts, named)
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
