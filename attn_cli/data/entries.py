"""What a row of a corpus is: a line, lines side by side, or a block of lines."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from attn_cli.data.line_index import uneven
from attn_cli.lines.columns import Columns
from attn_cli.lines.reading import LineReader
from attn_cli.lines.rows import Row, Rows, is_blank, zip_rows
from attn_cli.lines.unusable import BadLines


@dataclass(frozen=True)
class Blocks:
    """Rows that are runs of non-blank lines: documents, or CoNLL sentences.

    Attributes:
        limit: bytes of a block at most; a single longer line is a block of its own.
        split: whether a longer block, or one with an unusable line, becomes several rows of the
            same document number; otherwise it is refused as a whole.
        across: whether a block goes on over blank lines, which are lines of it, up to the limit:
            running text.
    """

    limit: int = 1 << 16
    split: bool = False
    across: bool = False


@dataclass(frozen=True)
class CorpusFiles:
    """The files of a corpus: TSV, one after the other, or parallel, side by side.

    Attributes:
        paths: the files; `-` is standard input.
        columns: what is picked from each TSV line, or from each JSON line by key.
        parallel: whether they are parallel: field i of row n is line n of file i.
        blocks: where a row is a block of lines: its fields are the lines, columns are not picked.
        remedy: what is said of a file that has one column where more are needed.
        even: whether all lines of a TSV have as many columns, as nobody said which are meant.
    """

    paths: tuple[str, ...]
    columns: Columns = Columns((0,))
    parallel: bool = False
    blocks: Blocks | None = None
    remedy: str = "columns are parted by tabs"
    even: bool = False


@dataclass(slots=True)
class Entry:
    """A row of the corpus.

    Attributes:
        row: the line that messages name.
        fields: the row's texts.
        spans: file number, first byte and bytes; one for each file that it is of.
        document: which block of all files it is (a part) of, if rows are blocks.
    """

    row: Row
    fields: list[str]
    spans: list[tuple[int, int, int]]
    document: int | None = None


def entries(readers: Sequence[LineReader], files: CorpusFiles, bad: BadLines) -> Iterator[Entry]:
    """The rows of a corpus's files, in order; `bad` is told of what can't be one."""
    if files.parallel:
        for rows in zip_rows(readers, [None] * len(readers), bad):
            if not rows[-1].error:
                spans = [(i, row.line.start, row.line.size) for i, row in enumerate(rows)]
                yield Entry(rows[0], [row.line.text for row in rows], spans)
    elif files.blocks:
        yield from _block_entries(readers, files.blocks, bad)
    else:
        for file, reader in enumerate(readers):
            width = 0
            for row in Rows(reader, files.columns, bad, blank=lambda text: False):
                if row.error:
                    continue
                n_columns = len(row.fields) + len(row.rest)
                width = width or n_columns
                if files.even and n_columns != width:
                    row.refuse(uneven(n_columns, width))
                else:
                    yield Entry(row, row.fields, [(file, row.line.start, row.line.size)])


def _block_entries(readers: Sequence[LineReader], blocks: Blocks, bad: BadLines) -> Iterator[Entry]:
    document = 0
    for file, reader in enumerate(readers):
        rows = Rows(reader, None, bad, blank=lambda text: not blocks.across and is_blank(text))
        for is_text, block in itertools.groupby(rows, lambda row: bool(row.error or row.fields)):
            if is_text:
                for part in _usable_parts(block, blocks):
                    first, last = part[0].line, part[-1].line
                    place = (file, first.start, last.start + last.size - first.start)
                    yield Entry(part[0], [row.line.text for row in part], [place], document)
                    document += blocks.across
                document += 1


def _usable_parts(block: Iterator[Row], blocks: Blocks) -> Iterator[list[Row]]:
    """A block as one part; or the parts that its limit and its unusable lines leave."""
    part: list[Row] = []
    refused = False
    for row in block:
        line = row.line
        too_long = bool(part) and line.start + line.size - part[0].line.start > blocks.limit
        if too_long and not (row.error or blocks.split or refused):
            part[0].refuse(f"more than {blocks.limit:,} bytes without a blank line")
        if blocks.split:
            if part and (row.error or too_long):
                yield part
                part = []
        elif row.error or too_long:
            refused, part = True, []
        if not (row.error or refused):
            part.append(row)
    if part:
        yield part
