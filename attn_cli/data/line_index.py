"""The index of a TSV file, made block by block, by several processes where there are several.

A row of it is four numbers: the hash of the row's fields, the file, the first byte of the line, and
its bytes.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial

import numpy as np
from numpy.typing import NDArray

from attn_cli.lines.columns import Columns
from attn_cli.lines.reading import LINE_LIMIT, Block, Line, LineReader, parse_line
from attn_cli.lines.rows import Rows
from attn_cli.lines.unusable import BadLines
from attn_cli.wording import plural
from attn_cli.workers import Crew, in_order

RowCheck = Callable[[list[str]], str | None]

_BLOCK = 1 << 20  # bytes


def row_hash(raw: bytes) -> bytes:
    """Eight bytes that follow from a row's fields."""
    return hashlib.blake2b(raw, digest_size=8).digest()


@dataclass
class LinePart:
    """Neighbouring rows of the index.

    Attributes:
        rows: of the usable lines. Shape: (n, 4).
        refused: where others are, and why they can't be used.
        width: columns of a line; 0 where none was usable.
        end: the first byte behind the block.
        n_lines: how many there were.
    """

    rows: NDArray[np.uint64]
    refused: list[tuple[str, str]]
    width: int
    end: int
    n_lines: int


class _Refused(BadLines):
    """Keeps what is said of lines for the process that says it."""

    def __init__(self) -> None:
        super().__init__(lambda text: None, skip_bad=True)
        self.said: list[tuple[str, str]] = []

    def add_at(self, where: str, cause: str) -> None:
        """Notes a line."""
        self.said.append((where, cause))


@dataclass
class LineIndexer:
    """Checks and indexes the lines of one file.

    Args:
        reader: the file.
        columns: what is picked from each line.
        even: whether all lines have as many columns as the first that can be used.
        number: of the file.
        check: says what is wrong with a row's fields; it knows no other row.
    """

    reader: LineReader
    columns: Columns
    even: bool
    number: int
    check: RowCheck
    _bad: _Refused = field(default_factory=_Refused, init=False)

    def __post_init__(self) -> None:
        self._rows = Rows(self.reader, self.columns, self._bad, blank=lambda text: False)

    def parts(self, crew: Crew) -> Iterator[LinePart]:
        """The parts of the index, in order."""
        blocks = self._rows.blocks(_BLOCK)
        width = 0
        for block in blocks:  # what all lines are to be like is found here
            part = self._part(width, block)
            yield part
            if width := part.width:
                break
        yield from in_order(partial(self._part, width), blocks, crew, self.reader)

    @property
    def _reorders(self) -> bool:
        return list(self.picked.indices) != sorted(self.picked.indices)

    @property
    def picked(self) -> Columns:
        """What is picked, settled by the first line."""
        return self._rows.columns or Columns(())

    def _part(self, width: int, block: Block) -> LinePart:
        """Indexes a block, given the columns of a line, if they are known."""
        self._bad.said = []
        hashes: list[bytes] = []
        places: list[tuple[int, int, int]] = []
        n_lines = 0

        def take(line: Line) -> None:
            nonlocal width
            row = self._rows.row(line)
            if row.error:
                return
            n_columns = len(row.fields) + len(row.rest)
            width = width or n_columns
            problem = self.check(row.fields)
            if self.even and n_columns != width:
                problem = uneven(n_columns, width)
            if problem:
                row.refuse(problem)
                return
            hashes.append(row_hash("\t".join(row.fields).encode()))
            places.append((self.number, line.start, line.size))

        picked, check, reorders = self.picked.indices, self.check, self._reorders
        # Where columns are picked by number, most lines need less than `Rows` does for each.
        last = max(picked) if type(self.picked) is Columns and len(picked) > 1 else LINE_LIMIT
        wanted = range(width, width + 1) if self.even else range(last + 1, LINE_LIMIT)
        number = block.first.number
        if not block.has_header:
            n_lines += 1
            take(block.first)
        start = block.start
        for raw in block.data[:-1].split(b"\n") if block.data else ():
            number, n_lines, size = number + 1, n_lines + 1, len(raw)
            content = raw[:-1] if raw.endswith(b"\r") else raw
            try:
                fields = content.decode().split("\t")
            except UnicodeDecodeError:
                fields = []
            if width and last < len(fields) in wanted and size <= LINE_LIMIT:
                if len(fields) > len(picked) or reorders:
                    fields = [fields[index] for index in picked]
                    content = "\t".join(fields).encode()
                if not check(fields):
                    hashes.append(row_hash(content))
                    places.append((self.number, start, size))
                    start += size + 1
                    continue
            take(parse_line(raw, number, start))
            start += size + 1
        rows = np.empty((len(places), 4), np.uint64)
        rows[:, 0] = np.frombuffer(b"".join(hashes), "<u8")
        rows[:, 1:] = np.array(places, np.uint64).reshape(-1, 3)
        return LinePart(rows, self._bad.said, width, start, n_lines)


def uneven(n_columns: int, width: int) -> str:
    """What is wrong with a line of other columns than those before it."""
    return (
        f"{plural(n_columns, 'column')}, where the lines before have {width} (a tab in a text? "
        "else --columns says which are meant)"
    )
