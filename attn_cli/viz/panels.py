"""Panels of a picture: one layer and head of a map, as shades or over the attended image.

Shapes: T rows, S columns.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from attn_cli.data.images import Picture
from attn_cli.viz.figures import DIVERGING, SEQUENTIAL
from attn_cli.viz.maps import AttentionMap, Axis, Weights
from attn_cli.viz.regions import veils
from attn_cli.viz.scale import said
from attn_cli.viz.token_labels import shortened, visible

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# The upper left corner of a panel, in parts of the page's width and height.
Corner = tuple[float, float]

# Inches.
CELL = 0.22  # room for a letter
_LETTER = 0.08  # of a label, likewise
_LINE = 0.17  # of a title
GAP = 0.2  # around a panel of shades
_SIDE = 1.6  # an image's longer side
_IMAGE_LABEL = 0.22
_IMAGE_GAP = 0.1
_BAR_WIDTH, _BAR_HEIGHT = 2.0, 0.1
BARS = 0.6  # room for the bars below all panels
LEAST_WIDTH = 2.6  # of a page, for each bar

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

    def write_title(self, corner: Corner, title: tuple[str, ...]) -> None:
        """Writes the lines of a panel's title, the first of them bold."""
        left, top = corner[0] + 0.1 / self.width, 1.0 - corner[1]
        for number, line in enumerate(title):
            down = (number + 0.8) * _LINE / self.height
            weight, size = "bold" if number == 0 else "normal", 9 * self.scale
            self.figure.text(left, top - down, line, va="center", size=size, weight=weight)

    def draw_bar(self, number: int, peak: float, what: str, *, signed: bool) -> None:
        """Draws what the colours of panels mean, in the last `BARS` inches of the page."""
        left = (0.15 + number * (_BAR_WIDTH + 0.55)) / self.width
        axes = self.axes(left, 0.25 / self.height, _BAR_WIDTH, _BAR_HEIGHT)
        least = -peak if signed else 0.0
        shades = [[least + (peak - least) * step / 255 for step in range(256)]]
        colours = DIVERGING if signed else SEQUENTIAL
        axes.imshow(shades, cmap=colours, aspect="auto", extent=(least, peak, 0, 1))
        size = 8 * self.scale
        places = [least, (least + peak) / 2, peak]
        axes.set_xticks(places, [said(place) for place in places], fontsize=size)
        axes.set_yticks([])
        axes.tick_params(length=2 * self.scale)
        axes.set_title(what, fontsize=size, loc="left", pad=3 * self.scale)


@dataclass(frozen=True)
class Panel(ABC):
    """One layer and head of a map.

    Attributes:
        drawn: the map.
        title: what it is, in lines.
        weights: Shape: (T, S).
        peak: the weight that is drawn strongest.
    """

    drawn: AttentionMap
    title: tuple[str, ...]
    weights: Weights
    peak: float

    @property
    def shades(self) -> dict[str, Any]:
        """How `imshow` draws the weights."""
        signed = self.drawn.signed
        return {
            "cmap": DIVERGING if signed else SEQUENTIAL,
            "vmin": -self.peak if signed else 0.0,
            "vmax": self.peak,
            "interpolation": "nearest",
            "aspect": "auto",
        }

    @property
    def title_width(self) -> float:
        """Inches."""
        return _LETTER * max(map(len, self.title), default=0) + 0.1

    @property
    def title_height(self) -> float:
        """Inches."""
        return _LINE * len(self.title) + 0.15

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
        cells = label_room(self.drawn.rows) + CELL * self.weights.shape[1]
        return max(cells, self.title_width) + GAP

    @property
    def height(self) -> float:
        """See `Panel`."""
        cells = label_room(self.drawn.columns) + CELL * self.weights.shape[0]
        return self.title_height + cells + GAP

    def draw(self, page: Page, corner: Corner) -> None:
        """See `Panel`."""
        page.write_title(corner, self.title)
        height, width = self.weights.shape
        left = corner[0] + label_room(self.drawn.rows) / page.width
        top = (label_room(self.drawn.columns) + self.title_height) / page.height
        bottom = 1.0 - corner[1] - top - CELL * height / page.height
        axes = page.axes(left, bottom, CELL * width, CELL * height)
        axes.imshow(self.weights, **self.shades)
        axes.xaxis.tick_top()
        size = 8 * page.scale
        axes.set_xticks(range(width), shown_labels(self.drawn.columns), rotation=90, fontsize=size)
        axes.set_yticks(range(height), shown_labels(self.drawn.rows), fontsize=size)
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
        return max(images, self.title_width) + _IMAGE_GAP

    @property
    def height(self) -> float:
        """See `Panel`."""
        rows = -(-max(1, len(self.weights)) // _IMAGES_ABREAST)
        return self.title_height + rows * (self._sides[1] + _IMAGE_LABEL + _IMAGE_GAP)

    def draw(self, page: Page, corner: Corner) -> None:
        """See `Panel`."""
        page.write_title(corner, self.title)
        width, height = self._sides
        size = 8 * page.scale
        veiled = zip(self.drawn.rows.labels, veils(self.weights, self.picture), strict=True)
        for number, (label, veil) in enumerate(veiled):
            row, column = divmod(number, _IMAGES_ABREAST)
            left = _IMAGE_GAP + column * (width + _IMAGE_GAP)
            down = row * (height + _IMAGE_LABEL + _IMAGE_GAP) + _IMAGE_LABEL + height
            down += self.title_height
            left, bottom = corner[0] + left / page.width, 1.0 - corner[1] - down / page.height
            axes = page.axes(left, bottom, width, height)
            axes.imshow(self.picture.pixels, extent=(0, 1, 0, 1), aspect="auto")
            axes.imshow(veil, extent=(0, 1, 0, 1), aspect="auto", interpolation="nearest")
            axes.set_axis_off()
            name = shortened(visible(label), _LONGEST_OF_IMAGE)
            axes.set_title(name, fontsize=size, pad=2 * page.scale)


def shown_labels(axis: Axis) -> list[str]:
    """The labels of an axis as they are written."""
    return [shortened(visible(label), _LONGEST) for label in axis.labels]


def label_room(axis: Axis) -> float:
    """Inches of an axis's labels."""
    from rich.cells import cell_len

    return _LETTER * max(map(cell_len, shown_labels(axis)), default=0) + 0.1
