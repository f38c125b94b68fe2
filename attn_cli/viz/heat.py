"""Maps as shades of character cells: colours on a terminal, ░▒▓█ elsewhere.

Columns are two cells wide with their labels above them, read downwards; a map that is wider than
the terminal is cut into panels, one below the other. Shapes: T rows, S columns.
"""

from __future__ import annotations

import io
import sys
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from attn_cli.data.images import Picture
from attn_cli.viz.choice import Choice
from attn_cli.viz.job import AttendJob
from attn_cli.viz.labels import shortened, visible
from attn_cli.viz.maps import AttentionMap, LineMaps
from attn_cli.viz.regions import grids

if TYPE_CHECKING:
    from rich.text import Text

SHADES = " ░▒▓█"
_LONGEST_ROW, _LONGEST_COLUMN = 20, 12  # characters of a label
# Dark to bright, nearly even to the eye: matplotlib's viridis at six points.
RAMP = ((68, 1, 84), (65, 68, 135), (42, 120, 142), (34, 168, 132), (122, 209, 81), (253, 231, 37))


class HeatSink:
    """Draws on standard output; a `job.Sink`."""

    def __init__(self, job: AttendJob, choice: Choice) -> None:
        from rich.console import Console

        self._choice = choice
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
        """See `job.Sink`."""
        found: list[str] = []
        for one in line.maps:
            for view in self._choice.views(one):
                for head, matrix in zip(view.heads, view.weights, strict=True):
                    name = f"line {line.number}  {one.kind}  layer {view.layer}  head {head}"
                    found += self._drawn(f"{name}  {one.title}".rstrip(), one, matrix)
        return found or [""]

    def close(self) -> list[str]:
        """Nothing is left."""
        return []

    def _drawn(self, name: str, one: AttentionMap, matrix: NDArray[np.float32]) -> list[str]:
        from rich.text import Text

        if one.picture is not None:
            return list(self._printed(self._regions(name, one, one.picture, matrix)))
        peak = float(matrix.max(initial=0.0))
        rows = [shortened(visible(label), _LONGEST_ROW) for label in one.rows.labels]
        columns = [shortened(visible(label), _LONGEST_COLUMN) for label in one.columns.labels]
        left = max(map(_cells, rows), default=0) + 1
        lines = [Text(f"{name}  (0 to {peak:.2f})", style="bold")]
        wide = max(1, (self._console.width - left) // 2)
        for first in range(0, len(columns), wide):
            some = slice(first, first + wide)
            lines += self._header(columns[some], left)
            for label, weights in zip(rows, matrix[:, some] / (peak or 1.0), strict=True):
                start = Text(" " * (left - 1 - _cells(label)) + label + " ")
                lines.append(start.append_text(self._shades(weights)))
            lines.append(Text(""))
        return list(self._printed(lines))

    def _regions(
        self, name: str, one: AttentionMap, picture: Picture, matrix: NDArray[np.float32]
    ) -> list[Text]:
        """A grid of regions for each row, as many side by side as the terminal is wide.

        Each is drawn by its own largest weight, which stands behind its label.
        """
        from rich.text import Text

        width = max(2 * picture.grid[1], _LONGEST_COLUMN + 5) + 2
        labels = [
            f"{shortened(visible(label), _LONGEST_COLUMN)} {peak:.2f}"
            for label, peak in zip(one.rows.labels, matrix.max(1).tolist(), strict=True)
        ]
        shades = grids(matrix, picture)
        lines = [Text(name, style="bold")]
        abreast = max(1, self._console.width // width)
        for first in range(0, len(labels), abreast):
            some = slice(first, first + abreast)
            lines.append(Text("".join(one + " " * (width - _cells(one)) for one in labels[some])))
            for row in shades[some].swapaxes(0, 1):
                gap = Text(" " * (width - 2 * picture.grid[1]))
                parts = [part for weights in row for part in (self._shades(weights), gap)]
                lines.append(Text.assemble(*parts))
            lines.append(Text(""))
        return lines

    @staticmethod
    def _header(labels: Sequence[str], left: int) -> list[Text]:
        """The labels, downwards, ending just above their columns."""
        from rich.text import Text

        stacks = [_stacked(label) for label in labels]
        height = max(map(len, stacks), default=0)
        lines = []
        for level in range(height):
            chars = [
                stack[level - height + len(stack)] if level >= height - len(stack) else ""
                for stack in stacks
            ]
            lines.append(Text(" " * left + "".join(c + " " * (2 - _cells(c)) for c in chars)))
        return lines

    def _shades(self, weights: NDArray[np.float32]) -> Text:
        """A row of cells. Shape: weights (S,), from 0 to 1."""
        from rich.text import Text

        if not self._coloured:
            places = (weights * (len(SHADES) - 1)).round()
            return Text("".join(SHADES[int(place)] * 2 for place in places))
        row = Text()
        for red, green, blue in colours(weights).tolist():
            row.append("  ", style=f"on #{red:02x}{green:02x}{blue:02x}")
        return row

    def _printed(self, lines: Sequence[Text]) -> Iterator[str]:
        for line in lines:
            with self._console.capture() as capture:
                self._console.print(line, soft_wrap=True, end="")
            yield capture.get()


def colours(weights: NDArray[np.float32]) -> NDArray[np.int64]:
    """Red, green and blue, 0 to 255, of weights from 0 to 1. Shape: (S,) -> (S, 3)."""
    points = np.linspace(0.0, 1.0, len(RAMP))
    parts = [np.interp(weights, points, channel) for channel in np.transpose(RAMP)]
    return np.stack(parts, -1).round().astype(np.int64)


def _cells(text: str) -> int:
    from rich.cells import cell_len

    return cell_len(text)


def _stacked(label: str) -> list[str]:
    """The characters of a label, those without a width joined to the one before."""
    found: list[str] = []
    for char in label:
        if found and not _cells(char):
            found[-1] += char
        else:
            found.append(char)
    return found
