"""`attn decode --markup`: a file whose texts are translated, and that stays as it is otherwise."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial

from attn_cli.config import changed
from attn_cli.errors import UsageError
from attn_cli.lines.reading import Line, LineReader, legible
from attn_cli.lines.rows import MAX_CHARS, Row, Rows, is_blank
from attn_cli.markup.html_file import read_html
from attn_cli.markup.passages import Fixed, Piece, Unit
from attn_cli.markup.srt_file import read_srt
from attn_cli.search.search import Hypothesis
from attn_cli.systems.base import DecodeJob, Decoder
from attn_cli.systems.generation.lines import LineDecoder, open_line_decoder
from attn_cli.wording import them

READERS: dict[str, Callable[[str], list[Piece]]] = {"html": read_html, "srt": read_srt}
_LIMIT = 32 << 20  # bytes of a file, which is read as a whole
_OF_LINES = {
    *("--n-best", "--scores", "--align", "--format", "--prefix", "--constraints"),
    *("--columns", "--image-root"),
}


def open_text_decoder(job: DecodeJob) -> Decoder:
    """The decoder of models that write texts, for lines or for a file of another format.

    Raises:
        UsageError: options that a model of this kind can't keep, or that are for lines alone.
    """
    kind = job.decoding.markup
    if kind is None:
        return open_line_decoder(job)
    if vain := changed(job.search, job.decoding, job.stream, among=_OF_LINES):
        raise UsageError(
            f"{', '.join(vain)}: with --markup {kind} the answer is a file as the input is, not "
            f"lines: leave {them(vain)} out"
        )
    lines = open_line_decoder(job)
    if not lines.generator.aligns:
        job.say(f"{job.model}: has no attention to align words by: tags stand by proportion")
    job.bad.noun, job.bad.outcome = "passage", "passed through unchanged"
    return MarkupDecoder(lines, kind, job)


class MarkupDecoder:
    """Translates the texts of a file.

    Args:
        lines: translates a text: sentence by sentence, and aligned.
        kind: of the file: one of READERS.
        job: what was asked for.
    """

    def __init__(self, lines: LineDecoder, kind: str, job: DecodeJob) -> None:
        self._lines = lines
        self._read = READERS[kind]
        self._bad = job.bad
        self._size = job.decoding.buffer

    def results(self, reader: LineReader) -> Iterator[list[str]]:
        """The file, some of it at a time; what is not UTF-8 in it as lone surrogates.

        Raises:
            DataError: while iterating: the file is larger than memory should be asked for, or
                can't be read.
        """
        work = partial(self._filled, Rows(reader, None, self._bad))
        return self._bad.answered(self._windows(reader), work, reader, self._lines.crew)

    def _windows(self, reader: LineReader) -> Iterator[list[Piece]]:
        """The pieces of a file, in groups with not too many texts, nor too long ones."""
        document = reader.rest(_LIMIT).decode("utf-8", "surrogateescape")
        text = document.removeprefix("\ufeff")
        pieces: list[Piece] = [Fixed(document[: len(document) - len(text)]), *self._read(text)]
        size = min(self._size, self._lines.crew.first or self._size)
        window: list[Piece] = []
        n_units = chars = 0
        for piece in pieces:
            window.append(piece)
            chars += len(piece.raw)
            n_units += isinstance(piece, Unit)
            if n_units >= size or chars > MAX_CHARS:
                yield window
                window, n_units, chars = [], 0, 0
        if window:
            yield window

    def _filled(self, stream: Rows, window: Sequence[Piece]) -> list[str]:
        """Pieces as they are written."""
        rows = [_row(stream, piece) for piece in window if isinstance(piece, Unit)]
        found = iter(self._lines.hypotheses(rows) if rows else [])
        asked = iter(rows)
        written = []
        for piece in window:
            if isinstance(piece, Unit):
                written.append(_answer(piece, next(asked), next(found)))
                continue
            if piece.cause:
                self._bad.add_at(f"{stream.name}:{piece.line}", piece.cause)
            written.append(piece.raw)
        return written


def _row(stream: Rows, unit: Unit) -> Row:
    """A text as the line that it would be alone."""
    row = Row(unit.line, Line(unit.line, unit.text), stream, [unit.text], [])
    return row.refuse("not UTF-8") if legible([unit.raw]) == [""] else row


def _answer(unit: Unit, row: Row, hypotheses: Sequence[Hypothesis]) -> str:
    """A text translated; one that could not be stays as it is, and is named."""
    if not hypotheses:
        return unit.raw
    best = hypotheses[0]
    if is_blank(best.text):
        row.refuse("the model has no words for it")
        return unit.raw
    text = best.text.encode("utf-8", "replace").decode()  # no half of a character
    return unit.filled(text, best.links)
