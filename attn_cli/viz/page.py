"""Maps as one HTML page that holds all of them and needs nothing else.

Weights are 16-bit fractions of 1 (values that may be below 0 are such fractions of the largest of
them), little-endian, in base64; texts stand in JSON in which `<` is
spelt out, and reach the page as text, so that no input can become markup. The page's own policy
forbids it to load anything. Shapes: H heads, T rows, S columns.
"""

from __future__ import annotations

import base64
import json
from importlib.resources import files
from pathlib import Path

import numpy as np

from attn_cli.config.audio import FRAMES_A_POSITION, FRAMES_A_SECOND
from attn_cli.data.audio import Recording, as_wave
from attn_cli.data.audio_features import Features
from attn_cli.data.images import as_png
from attn_cli.files import write_atomically
from attn_cli.viz.job import AttendJob, Sink
from attn_cli.viz.maps import AttentionMap, LineMaps, Weights
from attn_cli.viz.selection import HeadSelection
from attn_cli.viz.sentence import pieces_of
from attn_cli.viz.token_labels import visible
from attn_cli.wording import plural

ROOM = 12 << 20  # weights of a page, which has 32 MB then
_PLACE = "ATTN_DATA"
_PER_WEIGHT = 3  # bytes of a page, about
_PER_LABEL = 8  # weights that a label takes the room of
_HEADING = 2000  # characters of a line's text


class PageSink(Sink):
    """Gathers lines and writes the page at the end."""

    def __init__(self, job: AttendJob, selection: HeadSelection) -> None:
        super().__init__(job, selection)
        self._path = Path(str(job.options.output))
        self._room = ROOM
        self._lines: list[dict[str, object]] = []
        self._answers: list[str] = []
        self._left_out = 0
        self._sound: tuple[Recording, dict[str, object]] | None = None  # that was asked for last

    def add(self, line: LineMaps) -> list[str]:
        """See `Sink`: nothing yet."""
        answer = ""
        if line.maps:
            needed = sum(map(self._size, line.maps))
            if needed <= self._room:
                self._room -= needed
                self._lines.append(
                    {
                        "line": line.number,
                        "texts": [visible(text[:_HEADING]) for text in line.texts],
                        "peak": self._job.options.peak,
                        "maps": list(map(self._entry, line.maps)),
                    }
                )
                answer = f"{self._path}#line={line.number}"
            else:
                self._left_out += 1
        self._answers.append(answer)
        return []

    def close(self) -> list[str]:
        """See `Sink`: where in the page each line is."""
        if self._left_out:
            self._job.say(
                f"{self._path}: full; {plural(self._left_out, 'line')} left out (--kind, --layer "
                "and --head make room, or draw fewer lines)"
            )
        if self._lines:
            template = (files("attn_cli.viz") / "page.html").read_text(encoding="utf-8")
            page = template.replace(_PLACE, as_script(self._lines))
            write_atomically(self._path, page.encode("utf-8"))
        return self._answers

    def _size(self, drawn: AttentionMap) -> int:
        weights = sum(view.weights.size for view in self._selection.views(drawn))
        labels = len(drawn.rows.labels) + len(drawn.columns.labels)
        picture = drawn.picture.pixels.size if drawn.picture else 0
        heard = self._heard(drawn.sound) if drawn.sound else {}
        return weights + _PER_LABEL * labels + picture + len(str(heard)) // _PER_WEIGHT

    def _entry(self, drawn: AttentionMap) -> dict[str, object]:
        picture = None
        if drawn.picture:  # the image as it was read, inside the page, and its grid of regions
            rows, columns = drawn.picture.grid
            image = base64.b64encode(as_png(drawn.picture.pixels)).decode("ascii")
            source = f"data:image/png;base64,{image}"
            picture = {"image": source, "rows": rows, "columns": columns}
        return {
            "model": drawn.model,
            "kind": drawn.kind,
            "title": drawn.title,
            "answer": visible(drawn.answer),
            "signed": drawn.signed,
            "rows": [visible(label) for label in drawn.rows.labels],
            "columns": [visible(label) for label in drawn.columns.labels],
            "pieces": _pieces(drawn) if drawn.of_text else None,
            "picture": picture,
            "sound": self._heard(drawn.sound) if drawn.sound else None,
            "layers": [
                {"layer": view.layer, "heads": view.heads, **_packed(drawn, view.weights)}
                for view in self._selection.views(drawn)
            ],
        }

    def _heard(self, sound: Recording) -> dict[str, object]:
        """A recording: its frames as shades, and what is heard, if its file is a sound."""
        if self._sound is None or self._sound[0] is not sound:
            wave = as_wave(sound)
            audio = base64.b64encode(wave).decode("ascii") if wave else None
            entry = {
                "begin": sound.begins,
                "seconds": sound.seconds,
                "frames": len(sound.features),
                "step": FRAMES_A_POSITION / FRAMES_A_SECOND,
                "shades": _shades(sound.features),
                "audio": audio and f"data:audio/wav;base64,{audio}",
            }
            self._sound = sound, entry
        return self._sound[1]


def _shades(features: Features) -> str:
    """The base64 of features as bytes, the smallest 0 and the largest 255. Shape: (T, F)."""
    low, high = float(features.min()), float(features.max())
    parts = (features - low) / ((high - low) or 1.0)
    return base64.b64encode((parts * 255).round().astype(np.uint8).tobytes()).decode("ascii")


def _pieces(drawn: AttentionMap) -> list[tuple[str, int, int, bool]]:
    """The text itself: each piece, the first and the last label of it, what stands before it."""
    return [
        (visible(piece.text), piece.first, piece.end, piece.spaced)
        for piece in pieces_of(drawn.columns)
    ]


def _packed(drawn: AttentionMap, weights: Weights) -> dict[str, object]:
    """Weights as fractions of `scale`: of 1, or of the largest of values that may be below 0."""
    if not drawn.signed:
        return {"scale": 1.0, "weights": packed(weights)}
    scale = float(np.abs(weights).max(initial=0.0)) or 1.0
    steps = (weights / scale * 32767).round().astype("<i2")
    return {"scale": scale, "weights": base64.b64encode(steps.tobytes()).decode("ascii")}


def packed(weights: Weights) -> str:
    """The base64 of weights from 0 to 1; exact to half of 1/65535. Shape: (H, T, S)."""
    steps = (weights.clip(0.0, 1.0) * 65535).round().astype("<u2")
    return base64.b64encode(np.ascontiguousarray(steps).tobytes()).decode("ascii")


def as_script(value: object) -> str:
    """The JSON that can stand in a script element: ASCII, and nothing in it ends the element."""
    text = json.dumps(value, ensure_ascii=True, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")
