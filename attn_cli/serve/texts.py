"""Texts of requests as what stays and what a model reads: lines, or what stands between tags."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from attn_cli.lines.writing import one_field
from attn_cli.markup.html_file import read_html
from attn_cli.markup.passages import Fixed, Links, Piece, Unit
from attn_cli.serve.writing import Written


@dataclass
class _TextLine(Unit):
    """A line that its translation takes the place of, whatever that is."""

    raw: str
    line: int

    @property
    def text(self) -> str:
        """See `Unit.text`."""
        return self.raw

    def filled(self, translation: str, links: Links | None) -> str:
        """The translation, be it blank or the text itself."""
        return self._filled(translation, links)

    def _filled(self, translation: str, links: Links | None) -> str:
        return one_field(translation)


@dataclass(frozen=True)
class Text:
    """A text of a request.

    Attributes:
        pieces: what stays as it is, and what is translated, in order.
        is_html: whether that is what stands between tags, which go with the words.
    """

    pieces: Sequence[Piece]
    is_html: bool = False

    @property
    def read(self) -> list[str]:
        """What a model reads of it."""
        # No tab or line end is anything but white space here.
        return [one_field(piece.text) for piece in self.pieces if isinstance(piece, Unit)]

    def filled(self, outputs: Sequence[Written | None]) -> str:
        """The text, with an output in the place of each part that was read."""
        rest = iter(outputs)
        return "".join(
            _filled(piece, next(rest)) if isinstance(piece, Unit) else piece.raw
            for piece in self.pieces
        )


def _filled(unit: Unit, output: Written | None) -> str:
    return unit.filled(output.text, output.links) if output else unit.filled("", None)


def plain(text: str) -> Text:
    """A text whose lines are read one by one."""
    pieces: list[Piece] = []
    for number, line in enumerate(text.split("\n"), 1):
        pieces += [Fixed("\n")] if number > 1 else []
        pieces.append(_TextLine(line.removesuffix("\r"), number))
        pieces += [Fixed("\r")] if line.endswith("\r") else []
    return Text(pieces)


def marked_up(text: str) -> Text:
    """HTML, read as `attn decode --markup html` reads it."""
    return Text(read_html(text), is_html=True)
