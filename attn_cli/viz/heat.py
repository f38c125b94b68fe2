"""Maps as shades of character cells: colours on a terminal, ░▒▓█ elsewhere.

Columns are two cells wide with their labels above them, read downwards; a map that is wider than
the terminal is cut into panels, one below the other. A text that attends as a whole is the text
itself, shaded. Maps of several models stand side by side where the terminal is wide enough.
Shapes: T rows, S columns.
"""

from __future__ import annotations

import io
import sys
from collections.abc import Sequence
from itertools import zip_longest
from typing import TYPE_CHECKING

from attn_cli.data.images import Picture
from attn_cli.viz.cells import Cells
from attn_cli.viz.job import AttendJob, Sink
from attn_cli.viz.maps import AttentionMap, LineMaps, Weights
from attn_cli.viz.regions import grids
from attn_cli.viz.scale import Scale
from attn_cli.viz.selection import HeadSelection
from attn_cli.viz.sentence import chunks_of, pieces_of, values_of
from attn_cli.viz.token_labels import shortened, visible

if TYPE_CHECKING:
    from rich.text import Text

_LONGEST_ROW, _LONGEST_COLUMN = 20, 12  # characters of a label
_NARROWEST = 36  # cells that a model needs to stand beside another
_GAP = 2  # cells between models


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
        coloured = job.on_terminal and self._console.color_system and not self._console.no_color
        self._cells = Cells(coloured=bool(coloured))
        share = self._console.width // len(selection.models) - _GAP
        self._abreast = len(selection.models) > 1 and share >= _NARROWEST
        self._width = share if self._abreast else self._console.width

    def add(self, line: LineMaps) -> list[str]:
        """See `Sink`."""
        scale = Scale.of_line(line, self._selection, self._job.options.peak)
        blocks: dict[str, list[list[Text]]] = {}
        for drawn in line.maps:
            for view in self._selection.views(drawn):
                for head, weights in zip(view.heads, view.weights, strict=True):
                    title = self._title(line.number, drawn, f"layer {view.layer}  head {head}")
                    block = [*title, *self._drawn(drawn, weights, scale.of(drawn))]
                    blocks.setdefault(drawn.model, []).append(block)
        texts = [self._cells.legend(peak, what, signed=two) for peak, what, two in scale.bars()]
        for row in zip_longest(*blocks.values(), fillvalue=[]):
            if self._abreast:
                texts += self._side_by_side(row)
            else:
                texts += [text for block in row for text in block]
        answers = []
        for text in texts:
            with self._console.capture() as capture:
                self._console.print(text, soft_wrap=True, end="")
            answers.append(capture.get())
        return answers or [""]

    def _title(self, number: int, drawn: AttentionMap, view: str) -> list[Text]:
        """What a map is, above it: one line, or where models stand side by side, one for each."""
        from rich.text import Text

        parts = [f"line {number}", drawn.kind]
        parts += ["" if drawn.signed else view, drawn.title]
        told = "  ".join(part for part in parts if part)
        lines = [drawn.model, told] if self._abreast else [f"{told}  {drawn.model}"]
        lines += [visible(drawn.answer)] if drawn.answer else []
        return [Text(self._fitting(line), style="bold") for line in lines]

    def _fitting(self, title: str) -> str:
        return shortened(title, self._width) if self._abreast else title

    def _drawn(self, drawn: AttentionMap, weights: Weights, peak: float) -> list[Text]:
        from rich.text import Text

        if drawn.picture is not None:
            return self._regions(drawn.rows.labels, drawn.picture, weights)
        if drawn.of_text:
            pieces = pieces_of(drawn.columns)
            chunks = chunks_of(pieces, values_of(pieces, weights[0]))
            shaded = self._cells.text(chunks, peak, self._width, signed=drawn.signed)
            return [*shaded, Text("")]
        return self._matrix(drawn, weights, peak)

    def _side_by_side(self, blocks: Sequence[list[Text]]) -> list[Text]:
        from rich.text import Text

        lines = []
        for parts in zip_longest(*blocks):
            line = Text()
            for number, part in enumerate(parts):
                line.append(" " * max(0, number * (self._width + _GAP) - line.cell_len))
                line.append_text(part or Text(""))
            lines.append(line)
        return lines

    def _matrix(self, drawn: AttentionMap, weights: Weights, peak: float) -> list[Text]:
        """A row of shades for each row of a map, in panels as wide as there is room."""
        from rich.text import Text

        rows = [shortened(visible(label), _LONGEST_ROW) for label in drawn.rows.labels]
        columns = [shortened(visible(label), _LONGEST_COLUMN) for label in drawn.columns.labels]
        left = max(map(_cells, rows), default=0) + 1
        lines: list[Text] = []
        width = max(1, (self._width - left) // 2)
        for first in range(0, len(columns), width):
            panel = slice(first, first + width)
            lines += _header(columns[panel], left)
            for label, values in zip(rows, weights[:, panel], strict=True):
                start = Text(" " * (left - 1 - _cells(label)) + label + " ")
                shades = self._cells.row(values, peak, signed=drawn.signed)
                lines.append(start.append_text(shades))
            lines.append(Text(""))
        return lines

    def _regions(self, words: Sequence[str], picture: Picture, weights: Weights) -> list[Text]:
        """A grid of regions for each word, as many side by side as there is room.

        Each is drawn by its own largest weight, which stands behind its label.
        """
        from rich.text import Text

        width = max(2 * picture.grid[1], _LONGEST_COLUMN + 5) + 2
        labels = [
            f"{shortened(visible(word), _LONGEST_COLUMN)} {peak:.2f}"
            for word, peak in zip(words, weights.max(1).tolist(), strict=True)
        ]
        shares = grids(weights, picture)
        lines: list[Text] = []
        abreast = max(1, self._width // width)
        for first in range(0, len(labels), abreast):
            some = slice(first, first + abreast)
            heads = (label + " " * (width - _cells(label)) for label in labels[some])
            lines.append(Text("".join(heads)))
            for row in shares[some].swapaxes(0, 1):
                gap = Text(" " * (width - 2 * picture.grid[1]))
                parts = [part for line in row for part in (self._cells.row(line, 1.0), gap)]
                lines.append(Text.assemble(*parts))
            lines.append(Text(""))
        return lines


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
