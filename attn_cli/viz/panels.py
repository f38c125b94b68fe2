"""Panels of a picture: one layer and head of a map, as shades or over the attended image.

Shapes: T rows, S columns.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING

from attn_cli.data.images import Picture
from attn_cli.viz.maps import AttentionMap, Axis, Weights
from attn_cli.viz.regions import veils
from attn_cli.viz.token_labels import shortened, visible

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# The upper left corner of a panel, in parts of the page's width and height.
Corner = tuple[float, float]

# Inches.
_CELL = 0.22  # room for a letter
_LETTER = 0.08  # of a label, likewise
_TITLE = 0.35
_GAP = 0.2  # around a panel of shades
_SIDE = 1.6  # an image's longer side
_IMAGE_LABEL = 0.22
_IMAGE_GAP = 0.1

_IMAGES_ABREAST = 6
_LONGEST, _LONGEST_OF_IMAGE = 24, 16  # characters of a label


@dataclass(frozen=True)
class Page:
    """What panels are drawn on.

    Attributes:
        figure: of matplotlib.
        width: inches before it was scaled down.
        height: likewise.
        scale: by what.
    """

    figure: Figure
    width: float
    height: float
    scale: float

    def axes(self, left: float, bottom: float, width: float, height: float) -> Axes:
        """The axes of a rectangle: its left and lower edge in parts, its sides in inches."""
        return self.figure.add_axes((left, bottom, width / self.width, height / self.height))

    def write_title(self, corner: Corner, title: str) -> None:
        """Writes the title of a panel."""
        place = corner[0] + 0.1 / self.width, 1.0 - corner[1] - 0.5 * _TITLE / self.height
        self.figure.text(*place, title, fontsize=9 * self.scale, verticalalignment="center")


@dataclass(frozen=True)
class Panel(ABC):
    """One layer and head of a map.

    Attributes:
        drawn: the map.
        title: what it is.
        weights: Shape: (T, S).
    """

    drawn: AttentionMap
    title: str
    weights: Weights

    @property
    @abstractmethod
    def width(self) -> float:
        """Inches; the title of a neighbour is kept apart."""

    @property
    @abstractmethod
    def height(self) -> float:
        """Inches."""

    @abstractmethod
    def draw(self, page: Page, corner: Corner) -> None:
        """Draws the panel."""


@dataclass(frozen=True)
class MatrixPanel(Panel):
    """A shade for each weight."""

    @property
    def width(self) -> float:
        """See `Panel`."""
        cells = _room(self.drawn.rows) + _CELL * self.weights.shape[1]
        return max(cells, _LETTER * len(self.title)) + _GAP

    @property
    def height(self) -> float:
        """See `Panel`."""
        return _TITLE + _room(self.drawn.columns) + _CELL * self.weights.shape[0] + _GAP

    def draw(self, page: Page, corner: Corner) -> None:
        """See `Panel`."""
        page.write_title(corner, self.title)
        height, width = self.weights.shape
        left = corner[0] + _room(self.drawn.rows) / page.width
        top = (_room(self.drawn.columns) + _TITLE) / page.height
        bottom = 1.0 - corner[1] - top - _CELL * height / page.height
        axes = page.axes(left, bottom, _CELL * width, _CELL * height)
        axes.imshow(self.weights, cmap="viridis", vmin=0.0, interpolation="nearest", aspect="auto")
        axes.xaxis.tick_top()
        size = 8 * page.scale
        axes.set_xticks(range(width), _shown(self.drawn.columns), rotation=90, fontsize=size)
        axes.set_yticks(range(height), _shown(self.drawn.rows), fontsize=size)
        axes.tick_params(length=0)


@dataclass(frozen=True)
class RegionPanel(Panel):
    """The image once for each word, clear where the word looks (Xu et al. 2015, figure 3).

    Attributes:
        picture: the image.
    """

    picture: Picture

    @property
    def _sides(self) -> tuple[float, float]:
        """Inches of an image: width and height."""
        height, width = self.picture.pixels.shape[:2]
        return _SIDE * width / max(width, height), _SIDE * height / max(width, height)

    @property
    def width(self) -> float:
        """See `Panel`."""
        abreast = min(_IMAGES_ABREAST, max(1, len(self.weights)))
        images = abreast * (self._sides[0] + _IMAGE_GAP)
        return max(images, _LETTER * len(self.title)) + _IMAGE_GAP

    @property
    def height(self) -> float:
        """See `Panel`."""
        rows = -(-max(1, len(self.weights)) // _IMAGES_ABREAST)
        return _TITLE + rows * (self._sides[1] + _IMAGE_LABEL + _IMAGE_GAP)

    def draw(self, page: Page, corner: Corner) -> None:
        """See `Panel`."""
        page.write_title(corner, self.title)
        width, height = self._sides
        size = 8 * page.scale
        veiled = zip(self.drawn.rows.labels, veils(self.weights, self.picture), strict=True)
        for number, (label, veil) in enumerate(veiled):
            row, column = divmod(number, _IMAGES_ABREAST)
            left = _IMAGE_GAP + column * (width + _IMAGE_GAP)
            down = _TITLE + row * (height + _IMAGE_LABEL + _IMAGE_GAP) + _IMAGE_LABEL + height
            left, bottom = corner[0] + left / page.width, 1.0 - corner[1] - down / page.height
            axes = page.axes(left, bottom, width, height)
            axes.imshow(self.picture.pixels, extent=(0, 1, 0, 1), aspect="auto")
            axes.imshow(veil, extent=(0, 1, 0, 1), aspect="auto", interpolation="nearest")
            axes.set_axis_off()
            name = shortened(visible(label), _LONGEST_OF_IMAGE)
            axes.set_title(name, fontsize=size, pad=2 * page.scale)


def _shown(axis: Axis) -> list[str]:
    return [shortened(visible(label), _LONGEST) for label in axis.labels]


def _room(axis: Axis) -> float:
    """Inches of an axis's labels."""
    from rich.cells import cell_len

    return _LETTER * max(map(cell_len, _shown(axis)), default=0) + 0.1
