"""Maps as pictures: a panel for each layer and head, a file (or a page of one) for each line.

Shapes: P heads of one layer, T rows, S columns.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from attn_cli.errors import AttnError
from attn_cli.files import write_atomically
from attn_cli.viz.choice import Choice
from attn_cli.viz.figures import drawing, new_figure, saved
from attn_cli.viz.job import AttendJob
from attn_cli.viz.labels import shortened, visible
from attn_cli.viz.maps import AttentionMap, LineMaps, Weights

_CELL = 0.22  # inches, room for a letter
_LETTER = 0.09  # of a label, likewise
_TITLE = 0.45
_LARGEST = 100.0  # inches of a figure's side; larger ones are scaled down
_LONGEST = 24  # characters of a label
_MOST_PANELS = 256  # of a line


@dataclass(frozen=True)
class _Panel:
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
    def size(self) -> tuple[float, float]:
        """Inches: width and height."""
        left, top = (_room(axis.labels) for axis in (self.drawn.rows, self.drawn.columns))
        height, width = self.weights.shape
        least = _LETTER * len(self.title)  # so that titles of neighbours stay apart
        return max(left + _CELL * width, least), top + _CELL * height + _TITLE


def _room(labels: Sequence[str]) -> float:
    return _LETTER * min(max(map(len, labels), default=0), _LONGEST) + 0.2


class PictureSink:
    """A file for each line, NAME-LINE.png; a `job.Sink`.

    Args:
        job: what was asked for.
        choice: what is drawn.

    Raises:
        UsageError: matplotlib is not installed.
    """

    def __init__(self, job: AttendJob, choice: Choice) -> None:
        new_figure(1, 1)  # whether it is there is asked before anything is computed
        self._job = job
        self._choice = choice
        self._told = False
        self._path = Path(str(job.options.output))
        self._kind = self._path.suffix.lower()[1:]
        self._folder_there()

    def _folder_there(self) -> None:
        if not self._path.parent.is_dir():
            raise AttnError(f"{self._path.parent}: no such directory; make it first")

    def _say_once(self, text: str) -> None:
        if not self._told:
            self._job.say(text)
        self._told = True

    def add(self, line: LineMaps) -> list[str]:
        """See `job.Sink`: the picture's name; blank where there is none."""
        if not line.maps:
            return [""]
        place = self._path.with_stem(f"{self._path.stem}-{line.number}")
        with drawing(self._say_once):
            picture = saved(draw_line(line, self._choice, self._job), self._kind)
        write_atomically(place, picture)
        return [str(place)]

    def close(self) -> list[str]:
        """Nothing is left."""
        return []


class DocumentSink(PictureSink):
    """One PDF, a page for each line; it is written at the end."""

    def __init__(self, job: AttendJob, choice: Choice) -> None:
        super().__init__(job, choice)
        from matplotlib.backends.backend_pdf import PdfPages

        self._out = io.BytesIO()
        self._pages = PdfPages(self._out, metadata={"CreationDate": None})
        self._answers: list[str] = []
        self._count = 0

    def add(self, line: LineMaps) -> list[str]:
        """See `job.Sink`: nothing yet."""
        if not line.maps:
            self._answers.append("")
            return []
        with drawing(self._say_once):
            self._pages.savefig(draw_line(line, self._choice, self._job))
        self._count += 1
        self._answers.append(f"{self._path}#page={self._count}")
        return []

    def close(self) -> list[str]:
        """See `job.Sink`: the page of each line."""
        if self._count:
            self._pages.close()
            write_atomically(self._path, self._out.getvalue())
        return self._answers


def draw_line(line: LineMaps, choice: Choice, job: AttendJob) -> Any:
    """A figure of all chosen panels of a line: a row of them for each layer. In `drawing`."""
    rows = [
        [
            _Panel(one, _title(one, view.layer, head), matrix)
            for head, matrix in zip(view.heads, view.weights, strict=True)
        ]
        for one in line.maps
        for view in choice.views(one)
    ]
    kept = _bounded(rows)
    if len(kept) < len(rows):
        job.say(
            f"line {line.number}: the first {len(kept)} of {len(rows)} rows of panels are drawn"
        )
    sizes = [[panel.size for panel in row] for row in kept]
    width = max(sum(w for w, _ in row) for row in sizes)
    height = sum(max(h for _, h in row) for row in sizes)
    scale = min(1.0, _LARGEST / max(width, height))
    figure = new_figure(width * scale, height * scale)
    bands = figure.subfigures(
        len(kept), 1, squeeze=False, height_ratios=[max(h for _, h in row) for row in sizes]
    )[:, 0]
    for band, row in zip(bands, kept, strict=True):
        cells = band.subplots(1, len(row), squeeze=False)[0]
        for axes, panel in zip(cells, row, strict=True):
            _draw(axes, panel, scale)
    return figure


def _bounded(rows: list[list[_Panel]]) -> list[list[_Panel]]:
    """The first rows that have at most `_MOST_PANELS` panels together, at least one."""
    kept: list[list[_Panel]] = []
    for row in rows:
        if kept and sum(map(len, kept)) + len(row) > _MOST_PANELS:
            break
        kept.append(row)
    return kept


def _title(one: AttentionMap, layer: int, head: str) -> str:
    name = f"{one.kind}, layer {layer}, " + ("mean" if head == "mean" else f"head {head}")
    return f"{name}, {one.title}" if one.title else name


def _draw(axes: Any, panel: _Panel, scale: float) -> None:
    height, width = panel.weights.shape
    axes.imshow(panel.weights, cmap="viridis", vmin=0.0, interpolation="nearest", aspect="equal")
    axes.set_title(panel.title, fontsize=9 * scale)
    axes.xaxis.tick_top()
    names = [
        [shortened(visible(label), _LONGEST) for label in axis.labels]
        for axis in (panel.drawn.columns, panel.drawn.rows)
    ]
    axes.set_xticks(range(width), names[0], rotation=90, fontsize=8 * scale)
    axes.set_yticks(range(height), names[1], fontsize=8 * scale)
    axes.tick_params(length=0)
