"""Maps as one HTML page that holds all of them and needs nothing else.

Weights are 16-bit fractions of 1, little-endian, in base64; texts stand in JSON in which `<` is
spelt out, and reach the page as text, so that no input can become markup. The page's own policy
forbids it to load anything. Shapes: H heads, T rows, S columns.
"""

from __future__ import annotations

import base64
import json
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np

from attn_cli.data.images import Picture, as_png
from attn_cli.files import write_atomically
from attn_cli.viz.choice import Choice
from attn_cli.viz.job import AttendJob
from attn_cli.viz.labels import visible
from attn_cli.viz.maps import AttentionMap, LineMaps, Weights
from attn_cli.wording import plural

ROOM = 12 << 20  # weights of a page, which has 32 MB then
_PLACE = "ATTN_DATA"
_PER_LABEL = 8  # weights that a label takes the room of
_HEADING = 2000  # characters of a line's text


class PageSink:
    """Gathers lines and writes the page at the end; a `job.Sink`."""

    def __init__(self, job: AttendJob, choice: Choice) -> None:
        self._job = job
        self._choice = choice
        self._path = Path(str(job.options.output))
        self._room = ROOM
        self._lines: list[dict[str, Any]] = []
        self._answers: list[str] = []
        self._left_out = 0

    def add(self, line: LineMaps) -> list[str]:
        """See `job.Sink`: nothing yet."""
        answer = ""
        if line.maps:
            needed = sum(self._size(one) for one in line.maps)
            if needed <= self._room:
                self._room -= needed
                self._lines.append(self._entry(line))
                answer = f"{self._path}#line={line.number}"
            else:
                self._left_out += 1
        self._answers.append(answer)
        return []

    def close(self) -> list[str]:
        """See `job.Sink`: where in the page each line is."""
        if self._left_out:
            self._job.say(
                f"{self._path}: full; {plural(self._left_out, 'line')} left out (--kind, --layer "
                "and --head make room, or draw fewer lines)"
            )
        if self._lines:
            write_atomically(self._path, self._page().encode("utf-8"))
        return self._answers

    def _page(self) -> str:
        template = (files("attn_cli.viz") / "page.html").read_text(encoding="utf-8")
        return template.replace(_PLACE, as_script(self._lines))

    def _size(self, one: AttentionMap) -> int:
        weights = sum(view.weights.size for view in self._choice.views(one))
        picture = one.picture.pixels.size if one.picture else 0
        return weights + _PER_LABEL * (len(one.rows.labels) + len(one.columns.labels)) + picture

    def _entry(self, line: LineMaps) -> dict[str, Any]:
        return {
            "line": line.number,
            "texts": [visible(text[:_HEADING]) for text in line.texts],
            "maps": [
                {
                    "kind": one.kind,
                    "title": one.title,
                    "rows": [visible(label) for label in one.rows.labels],
                    "columns": [visible(label) for label in one.columns.labels],
                    "picture": _embedded(one.picture) if one.picture else None,
                    "layers": [
                        {"layer": v.layer, "heads": v.heads, "weights": packed(v.weights)}
                        for v in self._choice.views(one)
                    ],
                }
                for one in line.maps
            ],
        }


def _embedded(picture: Picture) -> dict[str, Any]:
    """An image as it was read, inside the page, and its grid of regions."""
    rows, columns = picture.grid
    image = base64.b64encode(as_png(picture.pixels)).decode("ascii")
    return {"image": f"data:image/png;base64,{image}", "rows": rows, "columns": columns}


def packed(weights: Weights) -> str:
    """Weights from 0 to 1 in base64; to half of 1/65535. Shape: (H, T, S)."""
    steps = (weights.clip(0.0, 1.0) * 65535).round().astype("<u2")
    return base64.b64encode(np.ascontiguousarray(steps).tobytes()).decode("ascii")


def as_script(value: Any) -> str:
    """JSON that can stand in a script element: ASCII, and nothing in it ends the element."""
    text = json.dumps(value, ensure_ascii=True, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")
