"""Vectors as points in the plane, coloured by their labels.

Shapes: N points, D width of a vector.
"""

from __future__ import annotations

import importlib.util
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from attn_cli.errors import UsageError
from attn_cli.viz.token_labels import shortened, visible

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_PERPLEXITY = 30.0  # of t-SNE (van der Maaten & Hinton 2008): about the neighbours that count
_NAMED = 20  # labels that have a colour of their own
_LONGEST = 30  # characters of a label
_LONGEST_TEXT = 32  # of what stands beside a point
_POINTS = 7  # of its letters
_OTHERS = "0.75"  # their gray


def check_scikit_learn() -> None:
    """Raises UsageError if scikit-learn, which places points, is not installed."""
    if importlib.util.find_spec("sklearn") is None:
        raise UsageError(
            "a picture of points needs: pip install '.[plot]' beside attn's pyproject.toml"
        )


def by_tsne(vectors: NDArray[np.floating], seed: int) -> NDArray[np.float64]:
    """The points in the plane for vectors, by t-SNE (van der Maaten & Hinton 2008).

    Shape: (N, D) -> (N, 2).

    Raises:
        UsageError: scikit-learn is not installed.
    """
    if len(vectors) < 4:  # too few for neighbourhoods: a circle
        angles = 2 * np.pi * np.arange(len(vectors)) / max(len(vectors), 1)
        return np.stack([np.cos(angles), np.sin(angles)], 1)
    check_scikit_learn()
    from sklearn.manifold import TSNE

    init = "pca" if vectors.shape[1] > 1 else "random"
    perplexity = min(_PERPLEXITY, (len(vectors) - 1) / 3)
    return TSNE(perplexity=perplexity, init=init, random_state=seed).fit_transform(vectors)


def by_pca(vectors: NDArray[np.floating]) -> tuple[NDArray[np.float64], tuple[float, float]]:
    """The points in the plane of the two directions of most variance, and their shares of it.

    Shape: (N, D) -> (N, 2).

    Raises:
        UsageError: scikit-learn is not installed.
    """
    points, shares = np.zeros((len(vectors), 2)), np.zeros(2)
    size = min(2, *vectors.shape)
    if len(vectors) > 1 and np.ptp(vectors, axis=0).any():
        check_scikit_learn()
        from sklearn.decomposition import PCA

        found = PCA(size, random_state=0)
        points[:, :size] = found.fit_transform(vectors.astype(np.float64))
        shares[:size] = found.explained_variance_ratio_
    return points, (float(shares[0]), float(shares[1]))


def draw_points(axes: Axes, points: NDArray[np.floating], labels: Sequence[str]) -> None:
    """Draws points, each in its label's colour, with a legend; none where nothing has a label.

    The most frequent labels have a colour of their own, the others are gray.

    Args:
        axes: of matplotlib.
        points: Shape: (N, 2).
        labels: Length N, or none.
    """
    from matplotlib import colormaps

    size = float(np.clip(20_000 / max(len(points), 1), 4, 60))
    names = Counter(labels)
    most = [name for name, _ in names.most_common()]
    kept = sorted(most if len(most) <= _NAMED else most[: _NAMED - 1])
    owners = np.asarray(labels, dtype=object)
    if not labels:
        axes.scatter(points[:, 0], points[:, 1], s=size, zorder=2)
        return
    if rare := set(most) - set(kept):
        group = points[[name in rare for name in labels]]
        said = f"{len(rare)} others"
        axes.scatter(group[:, 0], group[:, 1], s=size, color=_OTHERS, label=said, zorder=2)
    colours = colormaps["tab20" if len(kept) > 10 else "tab10"]
    for number, name in enumerate(kept):
        group = points[owners == name]
        said = shortened(visible(name), _LONGEST) or "(none)"
        said = f"\u200b{said}" if said.startswith("_") else said  # which hides a label otherwise
        colour = colours(number % colours.N)
        axes.scatter(group[:, 0], group[:, 1], s=size, color=colour, label=said, zorder=2)
    large = min(2.0, 6.0 / size**0.5)
    axes.legend(
        frameon=False, fontsize=8, markerscale=large, loc="upper left", bbox_to_anchor=(1.0, 1.0)
    )


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


def name_points(axes: Axes, points: NDArray[np.floating], texts: Sequence[str], count: int) -> None:
    """Writes the texts of some points beside them, which lie far from each other.

    Args:
        axes: of matplotlib.
        points: Shape: (N, 2).
        texts: Length N.
        count: how many at most.
    """
    if not len(points):
        return
    middle = (points.min(0) + points.max(0)) / 2
    for place in spread_out(points, count):
        on_right = points[place, 0] > middle[0]
        axes.annotate(
            shortened(visible(texts[place]), _LONGEST_TEXT),
            (float(points[place, 0]), float(points[place, 1])),
            xytext=(-4 if on_right else 4, 3),
            textcoords="offset points",
            horizontalalignment="right" if on_right else "left",
            fontsize=_POINTS,
            bbox={"boxstyle": "round,pad=0.1", "facecolor": "white", "alpha": 0.6, "linewidth": 0},
            zorder=3,
        )
