"""Maps as shades of character cells: colours on a terminal, ░▒▓█ elsewhere.

Columns are two cells wide with their labels above them, read downwards; a map that is wider than
the terminal is cut into panels, one below the other. Shapes: T rows, S columns.
"""

from __future__ import annotations

import io
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from attn_cli.data.images import Picture
from attn_cli.viz.job import AttendJob, Sink
from attn_cli.viz.maps import AttentionMap, LineMaps, Weights
from attn_cli.viz.regions import grids
from attn_cli.viz.selection import HeadSelection
from attn_cli.viz.token_labels import shortened, visible

if TYPE_CHECKING:
    from rich.text import Text

SHADES = " ░▒▓█"
_LONGEST_ROW, _LONGEST_COLUMN = 20, 12  # characters of a label
# Dark to bright, nearly even to the eye: matplotlib's viridis at six points.
RAMP = ((68, 1, 84), (65, 68, 135), (42, 120, 142), (34, 168, 132), (122, 209, 81), (253, 231, 37))


class HeatSink(Sink):
    """Draws on standard output."""

    def __init__(self, job: AttendJob, selection: HeadSelection) -> None:
        from rich.console import Console

        super().__init__(job, selection)
        # rich knows the terminal's width and colours, and NO_COLOR; it writes into a capture, so
        # that standard output has one writer.
        self._console = Console(
            file=sys.stdout if job.on_terminal else io.StringIO(),
            force_terminal=None if job.on_terminal else False,
            highlight=False,
        )
        self._coloured = bool(
            job.on_terminal and self._console.color_system and not self._console.no_color
        )

    def add(self, line: LineMaps) -> list[str]:
        """See `Sink`."""
        texts: list[Text] = []
        for drawn in line.maps:
            for view in self._selection.views(drawn):
                for head, weights in zip(view.heads, view.weights, strict=True):
                    name = f"line {line.number}  {drawn.kind}  layer {view.layer}  head {head}"
                    name = f"{name}  {drawn.title}".rstrip()
                    if drawn.picture is None:
                        texts += self._matrix(name, drawn, weights)
                    else:
                        texts += self._regions(name, drawn.rows.labels, drawn.picture, weights)
        answers = []
        for text in texts:
            with self._console.capture() as capture:
                self._console.print(text, soft_wrap=True, end="")
            answers.append(capture.get())
        return answers or [""]

    def _matrix(self, name: str, drawn: AttentionMap, weights: Weights) -> list[Text]:
        """A row of shades for each row of a map, in panels as wide as the terminal."""
        from rich.text import Text

        peak = float(weights.max(initial=0.0))
        rows = [shortened(visible(label), _LONGEST_ROW) for label in drawn.rows.labels]
        columns = [shortened(visible(label), _LONGEST_COLUMN) for label in drawn.columns.labels]
        left = max(map(_cells, rows), default=0) + 1
        lines = [Text(f"{name}  (0 to {peak:.2f})", style="bold")]
        width = max(1, (self._console.width - left) // 2)
        for first in range(0, len(columns), width):
            panel = slice(first, first + width)
            lines += _header(columns[panel], left)
            for label, shares in zip(rows, weights[:, panel] / (peak or 1.0), strict=True):
                start = Text(" " * (left - 1 - _cells(label)) + label + " ")
                lines.append(start.append_text(self._shades(shares)))
            lines.append(Text(""))
        return lines

    def _regions(
        self, name: str, words: Sequence[str], picture: Picture, weights: Weights
    ) -> list[Text]:
        """A grid of regions for each word, as many side by side as the terminal is wide.

        Each is drawn by its own largest weight, which stands behind its label.
        """
        from rich.text import Text

        width = max(2 * picture.grid[1], _LONGEST_COLUMN + 5) + 2
        labels = [
            f"{shortened(visible(word), _LONGEST_COLUMN)} {peak:.2f}"
            for word, peak in zip(words, weights.max(1).tolist(), strict=True)
        ]
        shares = grids(weights, picture)
        lines = [Text(name, style="bold")]
        abreast = max(1, self._console.width // width)
        for first in range(0, len(labels), abreast):
            some = slice(first, first + abreast)
            heads = (label + " " * (width - _cells(label)) for label in labels[some])
            lines.append(Text("".join(heads)))
            for row in shares[some].swapaxes(0, 1):
                gap = Text(" " * (width - 2 * picture.grid[1]))
                parts = [part for grid_row in row for part in (self._shades(grid_row), gap)]
                lines.append(Text.assemble(*parts))
            lines.append(Text(""))
        return lines

    def _shades(self, shares: Weights) -> Text:
        """A row of cells. Shape: shares (S,), from 0 to 1."""
        from rich.text import Text

        if not self._coloured:
            levels = (shares * (len(SHADES) - 1)).round()
            return Text("".join(SHADES[int(level)] * 2 for level in levels))
        row = Text()
        for red, green, blue in colours(shares).tolist():
            row.append("  ", style=f"on #{red:02x}{green:02x}{blue:02x}")
        return row


def colours(shares: Weights) -> NDArray[np.int64]:
    """Red, green and blue, 0 to 255, of shares from 0 to 1. Shape: (S,) -> (S, 3)."""
    points = np.linspace(0.0, 1.0, len(RAMP))
    parts = [np.interp(shares, points, channel) for channel in np.transpose(RAMP)]
    return np.stack(parts, -1).round().astype(np.int64)


def _cells(text: str) -> int:
    from rich.cells import cell_len

    return cell_len(text)


def _header(labels: Sequence[str], left: int) -> list[Text]:
    """The labels, downwards, ending just above their columns."""
    from rich.text import Text

    stacks: list[list[str]] = []  # the characters, those without a width joined to the one before
    for label in labels:
        stack: list[str] = []
        for char in label:
            if stack and not _cells(char):
                stack[-1] += char
            else:
                stack.append(char)
        stacks.append(stack)
    height = max(map(len, stacks), default=0)
    columns = [[""] * (height - len(stack)) + stack for stack in stacks]
    return [
        Text(" " * left + "".join(char + " " * (2 - _cells(char)) for char in level))
        for level in zip(*columns, strict=True)
    ]
