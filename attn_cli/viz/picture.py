"""Maps as pictures: a panel for each layer and head, a file (or a page of one) for each line.

All panels of a line are drawn on one scale, which bars below them tell.
"""

from __future__ import annotations

import io
from pathlib import Path
from typing import TYPE_CHECKING

from attn_cli.files import write_atomically
from attn_cli.viz.figures import drawing, new_figure, saved
from attn_cli.viz.job import AttendJob, Sink
from attn_cli.viz.maps import LineMaps
from attn_cli.viz.panels import BARS, LEAST_WIDTH, Page, Panel
from attn_cli.viz.rows import arranged
from attn_cli.viz.scale import Scale
from attn_cli.viz.selection import HeadSelection

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_LARGEST = 60.0  # inches of a figure's side (9,000 dots); larger ones are scaled down
_MOST_PANELS = 256  # of a line


class PictureSink(Sink):
    """A file for each line, NAME-LINE.png.

    Raises:
        UsageError: matplotlib is not installed.
    """

    def __init__(self, job: AttendJob, selection: HeadSelection) -> None:
        super().__init__(job, selection)
        new_figure(1, 1)  # whether it is there is asked before anything is computed
        self._told = False
        self._path = Path(str(job.options.output))

    def _say_once(self, text: str) -> None:
        if not self._told:
            self._job.say(text)
        self._told = True

    def add(self, line: LineMaps) -> list[str]:
        """See `Sink`: the picture's name; blank where there is none."""
        if not line.maps:
            return [""]
        path = self._path.with_stem(f"{self._path.stem}-{line.number}")
        with drawing(self._say_once):
            picture = saved(self._figure(line), path.suffix.lower()[1:])
        write_atomically(path, picture)
        return [str(path)]

    def _figure(self, line: LineMaps) -> Figure:
        """All chosen panels of a line. To be called in `drawing`."""
        scale = Scale.of_line(line, self._selection, self._job.options.peak)
        found = arranged(line, self._selection, scale)
        rows: list[list[Panel]] = []
        count = 0
        for row in found:
            count += len(row)
            if not rows or count <= _MOST_PANELS:
                rows.append(row)
        if len(rows) < len(found):
            kept = f"the first {len(rows)} of {len(found)} rows of panels are drawn"
            self._job.say(f"line {line.number}: {kept}")
        width = max(sum(panel.width for panel in row) for row in rows)
        heights = [max(panel.height for panel in row) for row in rows]
        bars = scale.bars()
        height = sum(heights) + (BARS if bars else 0.0)
        width = max(width, LEAST_WIDTH * len(bars))
        smaller = min(1.0, _LARGEST / max(width, height))
        page = Page(new_figure(width * smaller, height * smaller), width, height, smaller)
        top = 0.0
        for row, room in zip(rows, heights, strict=True):
            left = 0.0
            for panel in row:
                panel.draw(page, (left / width, top / height))
                left += panel.width
            top += room
        for number, (peak, what, signed) in enumerate(bars):
            page.draw_bar(number, peak, what, signed=signed)
        return page.figure


class DocumentSink(PictureSink):
    """One PDF, a page for each line; it is written at the end."""

    def __init__(self, job: AttendJob, selection: HeadSelection) -> None:
        super().__init__(job, selection)
        from matplotlib.backends.backend_pdf import PdfPages

        self._out = io.BytesIO()
        self._pages = PdfPages(self._out, metadata={"CreationDate": None})
        self._answers: list[str] = []
        self._count = 0

    def add(self, line: LineMaps) -> list[str]:
        """See `Sink`: nothing yet."""
        if not line.maps:
            self._answers.append("")
            return []
        with drawing(self._say_once):
            self._pages.savefig(self._figure(line))
        self._count += 1
        self._answers.append(f"{self._path}#page={self._count}")
        return []

    def close(self) -> list[str]:
        """See `Sink`: the page of each line."""
        if self._count:
            self._pages.close()
            write_atomically(self._path, self._out.getvalue())
        return self._answers
