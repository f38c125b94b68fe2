"""A text that attends as a whole, or that one word attends to: the text itself, shaded.

Shapes: S columns.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from attn_cli.viz.figures import DIVERGING, SEQUENTIAL, text_width
from attn_cli.viz.panels import Corner, Page, Panel
from attn_cli.viz.sentence import chunks_of, pieces_of, values_of
from attn_cli.viz.token_labels import shortened, visible

# Inches.
_WIDEST = 7.5  # a line of text
_ROW = 0.27
_SPACE = 0.07
_MARGIN = 0.03  # on either side of a piece
_END = 0.2  # below the text
_POINTS = 10  # of a letter
_LONGEST = 60  # characters of a piece
_BRIGHT = 0.55  # luminance from which text is black


@dataclass(frozen=True)
class _Placed:
    """A piece of the text.

    Attributes:
        text: what is written.
        value: what its colour says.
        left: inches from the edge of the text.
        row: its line, from 0.
        width: inches.
    """

    text: str
    value: float
    left: float
    row: int
    width: float


@dataclass(frozen=True)
class SentencePanel(Panel):
    """The text in lines, each piece over the colour of its weight."""

    @cached_property
    def _placed(self) -> list[_Placed]:
        pieces = pieces_of(self.drawn.columns)
        chunks = chunks_of(pieces, values_of(pieces, self.weights[0]))
        shown = [shortened(visible(text), _LONGEST) for text, _, _ in chunks]
        widths = [text_width(text, _POINTS) + 2 * _MARGIN for text in shown]
        places = in_lines(widths, [spaced for _, spaced, _ in chunks], _WIDEST)
        return [
            _Placed(text, value, left, row, width)
            for text, (_, _, value), (left, row), width in zip(
                shown, chunks, places, widths, strict=True
            )
        ]

    @property
    def _n_rows(self) -> int:
        return max((placed.row for placed in self._placed), default=0) + 1

    @property
    def width(self) -> float:
        """See `Panel`."""
        text = max((placed.left + placed.width for placed in self._placed), default=0.0)
        return max(text + 0.2, self.title_width) + _END

    @property
    def height(self) -> float:
        """See `Panel`."""
        return self.title_height + _ROW * self._n_rows + _END

    def draw(self, page: Page, corner: Corner) -> None:
        """See `Panel`."""
        from matplotlib import colormaps
        from matplotlib.patches import Rectangle

        page.write_title(corner, self.title)
        width, height = self.width, _ROW * self._n_rows
        bottom = 1.0 - corner[1] - (self.title_height + height) / page.height
        axes = page.axes(corner[0] + 0.1 / page.width, bottom, width, height)
        axes.set_xlim(0, width)
        axes.set_ylim(self._n_rows, 0)
        axes.set_axis_off()
        signed = self.drawn.signed
        colours = colormaps[DIVERGING if signed else SEQUENTIAL]
        for placed in self._placed:
            part = placed.value / self.peak
            colour = colours((part + 1) / 2 if signed else part)
            place = (placed.left, placed.row + 0.04)
            axes.add_patch(Rectangle(place, placed.width, 0.92, facecolor=colour, linewidth=0))
            luminance = 0.299 * colour[0] + 0.587 * colour[1] + 0.114 * colour[2]
            axes.text(
                placed.left + placed.width / 2,
                placed.row + 0.52,
                placed.text,
                fontsize=_POINTS * page.scale,
                color="black" if luminance > _BRIGHT else "white",
                horizontalalignment="center",
                verticalalignment="center",
            )


def in_lines(
    widths: Sequence[float], spaced: Sequence[bool], widest: float
) -> list[tuple[float, int]]:
    """Where pieces stand, a word on one line if it fits there: left edge, and line from 0.

    Args:
        widths: of the pieces.
        spaced: whether a space stands before each, which begins a word.
        widest: of a line.
    """
    needed: list[float] = []  # room for a piece, and for the rest of the word that it begins
    rest = 0.0
    for width, begins in zip(reversed(widths), reversed(spaced), strict=True):
        rest += width
        needed.append(rest if begins and rest <= widest else width)
        rest = 0.0 if begins else rest
    places: list[tuple[float, int]] = []
    left, row = 0.0, 0
    for width, begins, room in zip(widths, spaced, reversed(needed), strict=True):
        left += _SPACE if begins and left else 0.0
        if left and left + room > widest:
            left, row = 0.0, row + 1
        places.append((left, row))
        left += width
    return places
