"""Maps as pictures: a panel for each layer and head, a file (or a page of one) for each line.

Shapes: P heads of one layer, T rows, S columns.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from attn_cli.files import write_atomically
from attn_cli.viz.choice import Choice
from attn_cli.viz.figures import drawing, new_figure, saved
from attn_cli.viz.job import AttendJob
from attn_cli.viz.labels import shortened, visible
from attn_cli.viz.maps import AttentionMap, LineMaps, Weights
from attn_cli.viz.regions import RegionPanel

_CELL = 0.22  # inches, room for a letter
_LETTER = 0.08  # of a label, likewise
_TITLE = 0.35
_GAP = 0.2  # around a panel
_LARGEST = 60.0  # inches of a figure's side (9,000 dots); larger ones are scaled down
_LONGEST = 24  # characters of a label
_MOST_PANELS = 256  # of a line


class Panel(Protocol):
    """One layer and head of a map, as it is drawn."""

    @property
    def width(self) -> float:
        """Inches."""

    @property
    def height(self) -> float:
        """Inches."""

    def draw(
        self, figure: Any, corner: tuple[float, float], whole: tuple[float, float], scale: float
    ) -> None:
        """Draws it.

        Args:
            figure: is drawn on.
            corner: its upper left corner, in parts of the figure, from the upper left one.
            whole: inches of the figure before it was scaled down.
            scale: by what.
        """


@dataclass(frozen=True)
class _MatrixPanel:
    """A shade for each weight; a `Panel`.

    Attributes:
        drawn: the map.
        title: what it is.
        weights: Shape: (T, S).
    """

    drawn: AttentionMap
    title: str
    weights: Weights

    @property
    def left(self) -> float:
        """Inches of the rows' labels."""
        return _room(self.drawn.rows.labels)

    @property
    def top(self) -> float:
        """Inches of the title and the columns' labels."""
        return _room(self.drawn.columns.labels) + _TITLE

    @property
    def width(self) -> float:
        """Inches; the title of a neighbour is kept apart."""
        return max(self.left + _CELL * self.weights.shape[1], _LETTER * len(self.title)) + _GAP

    @property
    def height(self) -> float:
        """Inches."""
        return self.top + _CELL * self.weights.shape[0] + _GAP

    def draw(
        self, figure: Any, corner: tuple[float, float], whole: tuple[float, float], scale: float
    ) -> None:
        """See `Panel`."""
        height, width = self.weights.shape
        rows, columns = _CELL * height / whole[1], _CELL * width / whole[0]
        bottom = 1.0 - corner[1] - self.top / whole[1] - rows
        axes = figure.add_axes((corner[0] + self.left / whole[0], bottom, columns, rows))
        axes.imshow(self.weights, cmap="viridis", vmin=0.0, interpolation="nearest", aspect="auto")
        axes.xaxis.tick_top()
        names = [
            [shortened(visible(label), _LONGEST) for label in axis.labels]
            for axis in (self.drawn.columns, self.drawn.rows)
        ]
        axes.set_xticks(range(width), names[0], rotation=90, fontsize=8 * scale)
        axes.set_yticks(range(height), names[1], fontsize=8 * scale)
        axes.tick_params(length=0)
        place = corner[0] + 0.1 / whole[0], 1.0 - corner[1] - 0.5 * _TITLE / whole[1]
        figure.text(*place, self.title, fontsize=9 * scale, verticalalignment="center")


def _room(labels: Sequence[str]) -> float:
    from rich.cells import cell_len

    shown = (shortened(visible(label), _LONGEST) for label in labels)
    return _LETTER * max(map(cell_len, shown), default=0) + 0.1


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
            _panel(one, _title(one, view.layer, head), matrix)
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
    width = max(sum(panel.width for panel in row) for row in kept)
    heights = [max(panel.height for panel in row) for row in kept]
    scale = min(1.0, _LARGEST / max(width, sum(heights)))
    figure = new_figure(width * scale, sum(heights) * scale)
    down = 0.0
    for row, height in zip(kept, heights, strict=True):
        right = 0.0
        for panel in row:
            corner = right / width, down / sum(heights)
            panel.draw(figure, corner, (width, sum(heights)), scale)
            right += panel.width
        down += height
    return figure


def _panel(one: AttentionMap, title: str, weights: Weights) -> Panel:
    kind = _MatrixPanel if one.picture is None else RegionPanel
    return kind(one, title, weights)


def _bounded(rows: list[list[Panel]]) -> list[list[Panel]]:
    """The first rows that have at most `_MOST_PANELS` panels together, at least one."""
    kept: list[list[Panel]] = []
    for row in rows:
        if kept and sum(map(len, kept)) + len(row) > _MOST_PANELS:
            break
        kept.append(row)
    return kept


def _title(one: AttentionMap, layer: int, head: str) -> str:
    name = f"{one.kind}, layer {layer}, " + ("mean" if head == "mean" else f"head {head}")
    return f"{name}, {one.title}" if one.title else name
