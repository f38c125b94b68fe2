"""Attention to an image's regions: the image once for each word, clear where the word looks.

Shapes: T words, R rows and C columns of regions, S = R C.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from attn_cli.data.images import Picture
from attn_cli.viz.labels import shortened, visible
from attn_cli.viz.maps import AttentionMap, Weights

_SIDE = 1.6  # inches of an image's longer side
_LABEL = 0.22
_TITLE = 0.35
_GAP = 0.1
_ABREAST = 6  # images in a row
_VEIL = 0.8  # how dense the veil is over a region that gets nothing
_LONGEST = 16  # characters of a label


@dataclass(frozen=True)
class RegionPanel:
    """One layer and head of a map (Xu et al. 2015, figure 3); a panel of `picture`.

    Attributes:
        drawn: the map.
        title: what it is.
        weights: Shape: (T, S).
    """

    drawn: AttentionMap
    title: str
    weights: Weights

    @property
    def _picture(self) -> Picture:
        assert self.drawn.picture is not None
        return self.drawn.picture

    @property
    def _sides(self) -> tuple[float, float]:
        """Inches of an image: width and height."""
        height, width = self._picture.pixels.shape[:2]
        return _SIDE * width / max(width, height), _SIDE * height / max(width, height)

    @property
    def width(self) -> float:
        """Inches."""
        abreast = min(_ABREAST, max(1, len(self.weights)))
        return max(abreast * (self._sides[0] + _GAP), 0.08 * len(self.title)) + _GAP

    @property
    def height(self) -> float:
        """Inches."""
        rows = -(-max(1, len(self.weights)) // _ABREAST)
        return _TITLE + rows * (self._sides[1] + _LABEL + _GAP)

    def draw(
        self, figure: Any, corner: tuple[float, float], whole: tuple[float, float], scale: float
    ) -> None:
        """Draws the panel; see `picture.Panel`."""
        wide, high = self._sides
        place = corner[0] + _GAP / whole[0], 1.0 - corner[1] - 0.5 * _TITLE / whole[1]
        figure.text(*place, self.title, fontsize=9 * scale, verticalalignment="center")
        for number, (label, veil) in enumerate(
            zip(self.drawn.rows.labels, veils(self.weights, self._picture), strict=True)
        ):
            row, column = divmod(number, _ABREAST)
            left = _GAP + column * (wide + _GAP)
            bottom = _TITLE + row * (high + _LABEL + _GAP) + _LABEL + high
            where = (corner[0] + left / whole[0], 1.0 - corner[1] - bottom / whole[1])
            axes = figure.add_axes((*where, wide / whole[0], high / whole[1]))
            axes.imshow(self._picture.pixels, extent=(0, 1, 0, 1), aspect="auto")
            axes.imshow(veil, extent=(0, 1, 0, 1), aspect="auto", interpolation="nearest")
            axes.set_axis_off()
            axes.set_title(shortened(visible(label), _LONGEST), fontsize=8 * scale, pad=2 * scale)


def grids(weights: Weights, picture: Picture) -> NDArray[np.float32]:
    """Weights as parts of each word's largest one. Shape: (T, S) -> (T, R, C)."""
    peaks = weights.max(1, keepdims=True, initial=0.0)
    parts = (weights / np.where(peaks > 0, peaks, 1.0)).astype(np.float32)
    return parts.reshape(-1, *picture.grid)


def veils(weights: Weights, picture: Picture) -> NDArray[np.float32]:
    """What is laid over an image: gray, the less opaque the more a region gets.

    What is black, or white, shows where it is looked at; under a veil of its own colour it would
    not.

    Shape: (T, S) -> (T, R, C, 4), red, green, blue and opacity from 0 to 1.
    """
    shade = grids(weights, picture)
    veil = np.full((*shade.shape, 4), 0.5, np.float32)
    veil[..., 3] = _VEIL * (1.0 - shade)
    return veil
