"""The loop of the stream contract: the lines of a stream as rows of columns, window by window.

Every command that reads lines reads them here, so that all of them agree on what is a header, a
blank line and a line that can't be used, on which columns are read and which pass through, and on
when a window ends. Standard library only.
"""

from __future__ import annotations

import dataclasses
import re
import unicodedata
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from attn_cli.errors import DataError, NoSuchFileError
from attn_cli.lines.columns import Columns
from attn_cli.lines.picking import begin
from attn_cli.lines.reading import Block, Line, LineReader, legible, zip_lines
from attn_cli.lines.unusable import BadLines
from attn_cli.wording import plural

MAX_CHARS = 4 << 20  # of a window
_NAME = re.compile(r"[^\W\d][\w-]*")  # of a column; that of a file has an ending
_SHARE = 16  # of what was read before is a window, where they grow


def is_blank(text: str) -> bool:
    """Whether a text has nothing to read: white space and invisible characters (Cf) alone.

    The one rule for blank lines, of all commands but those that must keep every character.
    """
    if text[:1].isalnum():  # as most are
        return False
    return text.isspace() or all(c.isspace() or unicodedata.category(c) == "Cf" for c in text)


class Stream(Protocol):
    """What a row is one of: a file, as `Rows` are, or what else texts come from."""

    @property
    def name(self) -> str:
        """What messages call it."""

    @property
    def folder(self) -> str:
        """Where relative names of files in it start."""

    @property
    def columns(self) -> Columns | None:
        """Which columns of a line are picked; None: the whole line is one column."""

    @property
    def bad(self) -> BadLines:
        """Is told of each line that can't be used."""


@dataclass(slots=True)
class Row:
    """One line of a stream, by columns.

    Attributes:
        number: the line's, from 1.
        line: the line as it was read.
        stream: the stream that it is a line of.
        fields: the columns that are read; none where they are blank, or can't be used.
        rest: the columns behind them, which pass through, of a line that can't be used, too.
        error: why the line can't be used, if it can't.
    """

    number: int
    line: Line
    stream: Stream
    fields: list[str]
    rest: list[str]
    error: str | None = None

    @property
    def where(self) -> str:
        """What messages call the line."""
        return f"{self.stream.name}:{self.number}"

    def refuse(self, cause: str | DataError) -> Row:
        """Names the line as one that can't be used; returns it without what was to be read."""
        hint = self._header_hint() if isinstance(cause, NoSuchFileError) else ""
        said = f"{cause}{hint}"
        self.stream.bad.add_at(self.where, said)
        return Row(self.number, self.line, self.stream, [], self.rest, said)

    def _header_hint(self) -> str:
        """What is said of a first line that looks like names of columns; "" of any other."""
        columns = self.stream.columns
        of_a_table = type(columns) is Columns and not columns.has_header
        if self.number > 1 or not of_a_table or not all(map(_NAME.fullmatch, self.fields)):
            return ""
        return f" (if line 1 is a header: --columns {','.join(self.fields)})"


class Rows:
    """The rows of one file; iterating yields them one by one.

    Args:
        reader: the file.
        columns: which columns of a line are picked; None: the whole line is one column.
        bad: is told of each line that can't be used.
        count: how many of the picked columns are read, from the first; 0: all of them.
        check: says what is wrong with the fields that are read, or None.
        blank: whether a text is blank: a line, or all the fields of it that are read.
        whole: leaves lines whole, as their one field, though a header settles the columns: for
            formats that part them in their own way, and refuse lines in their order.
        needs: what the columns are for, said of a line that has too few.

    Attributes:
        name: what messages call the file.
        folder: where relative names of files in it start.
        columns: what is picked, settled by the first line.
        bad: is told of each line that can't be used.

    Raises:
        DataError: while iterating: the file is damaged, or its header lacks a column.
        UsageError: while iterating: JSON lines without a word about keys.
    """

    def __init__(
        self,
        reader: LineReader,
        columns: Columns | None,
        bad: BadLines,
        *,
        count: int = 0,
        check: Callable[[list[str]], str | None] | None = None,
        blank: Callable[[str], bool] = is_blank,
        whole: bool = False,
        needs: str = "",
    ) -> None:
        self.name = reader.name
        self.folder = reader.folder
        self.columns = columns
        self.bad = bad
        self._reader = reader
        self._count = count
        self._check = check
        self._blank = blank
        self._whole = whole
        self._needs = f"; {needs}" if needs else ""

    def __iter__(self) -> Iterator[Row]:
        for line in self._reader:
            if line.number > 1 or not self.begin(line):
                yield self.row(line)

    def windows(
        self, size: int, max_chars: int = MAX_CHARS, *, first: int | None = None
    ) -> Iterator[list[Row]]:
        """Groups of up to `size` rows, cut early where the producer pauses.

        A big file comes in full windows, of at most `max_chars` characters and a line; each line of
        a slow producer comes at once.

        Args:
            size: the most rows.
            max_chars: of a window.
            first: the most rows of the first windows, which then grow with what was read, to twice
                as many: even a few lines are several windows, for several workers, and what each
                holds stays small. None: as many as `size` from the first.
        """
        window: list[Row] = []
        chars, before = 0, 0
        most = min(size, 2 * first) if first else size
        full = min(size, first or size)
        for row in self:
            window.append(row)
            chars += len(row.line.text)
            if len(window) >= full or chars > max_chars or not self._reader.ready():
                before += len(window)
                full = min(most, max(full, before // _SHARE))
                yield window
                window, chars = [], 0
        if window:
            yield window

    def blocks(self, size: int) -> Iterator[Block]:
        """The lines in blocks of about `size` bytes, whose rows `rows_of` gives, in any process."""
        for block in self._reader.blocks(size):
            block.has_header = block.first.number == 1 and self.begin(block.first)
            yield block

    def rows_of(self, block: Block) -> list[Row]:
        """The rows of a block."""
        return [self.row(line) for line in block]

    def begin(self, line: Line) -> bool:
        """Settles by the first line what is picked; returns whether that line is a header."""
        if self.columns is None:
            return False
        if self._whole and "\t" not in line.text:  # of a CoNLL file whose columns spaces part
            line = dataclasses.replace(line, text="\t".join(line.text.split()))
        self.columns, is_header = begin(self.columns, line, self.name)
        return is_header

    def row(self, line: Line) -> Row:
        """The row of a line; what can't be used is named."""
        if line.error and self._whole:
            return Row(line.number, line, self, [], [], line.error)
        if line.error:
            rest = self.columns.others(line.escaped, self._count) if self.columns else []
            return Row(line.number, line, self, [], legible(rest)).refuse(line.error)
        is_whole = self._whole or self.columns is None
        if (is_whole or "\t" not in line.text) and self._blank(line.text):
            return Row(line.number, line, self, [], [])
        if self._whole or self.columns is None:
            return Row(line.number, line, self, [line.text], [])
        picked = self.columns.pick(line.text)
        if isinstance(picked, str):
            rest = self.columns.others(line.text, self._count)
            return Row(line.number, line, self, [], rest).refuse(picked + self._needs)
        fields, rest = picked
        if self._count:
            fields, rest = fields[: self._count], [*fields[self._count :], *rest]
        if len(fields) >= max(1, self._count) and all(map(self._blank, fields)):
            return Row(line.number, line, self, [], rest)
        row = Row(line.number, line, self, fields, rest)
        if len(fields) < self._count:
            return row.refuse(f"{plural(len(fields), 'text')}, but {self._count} are needed")
        cause = self._check(fields) if self._check else None
        return row.refuse(cause) if cause else row


def zip_rows(
    readers: Sequence[LineReader],
    columns: Sequence[Columns | None],
    bad: BadLines,
    blank: Callable[[Sequence[str]], bool] = lambda texts: False,
    *,
    whole: bool = False,
) -> Iterator[list[Row]]:
    """Rows of parallel files, side by side, up to the first that can't be used.

    Args:
        readers: the files.
        columns: which columns of each are picked; None: the whole line is one column.
        bad: is told of the first line of those side by side that can't be used.
        blank: whether lines of these texts, side by side, are blank lines.
        whole: leaves lines whole, see `Rows`; all of them, also behind one that can't be used.

    Raises:
        DataError: the files have different numbers of lines, a header lacks a column, or some of
            the files have a header and others JSON lines.
    """
    streams = [
        Rows(reader, picked, bad, blank=lambda text: False, whole=whole)
        for reader, picked in zip(readers, columns, strict=True)
    ]
    for lines in zip_lines(readers):
        pairs = list(zip(streams, lines, strict=True))
        if lines[0].number == 1:
            headers = {stream.begin(line) for stream, line in pairs if stream.columns}
            if len(headers) > 1:
                names = ", ".join(reader.name for reader in readers)
                raise DataError(
                    f"{names}: some have a header, others are JSON lines; take one kind"
                )
            if True in headers:
                continue
        if not any(line.error for line in lines) and blank([line.text for line in lines]):
            yield [Row(line.number, line, stream, [], []) for stream, line in pairs]
            continue
        rows: list[Row] = []
        while len(rows) < len(pairs) and not (rows and rows[-1].error and not whole):
            stream, line = pairs[len(rows)]
            rows.append(stream.row(line))
        yield rows
