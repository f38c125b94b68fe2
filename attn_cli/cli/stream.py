"""The lines of `attn tokenize`: answered one by one, or taken together."""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterator, Sequence
from functools import partial

from attn_cli.cli.console import Console
from attn_cli.config.runtime import StreamOptions
from attn_cli.errors import DataError
from attn_cli.lines.columns import Columns
from attn_cli.lines.notices import Notices
from attn_cli.lines.reading import Block, LineReader
from attn_cli.lines.rows import Rows
from attn_cli.lines.unusable import BadLines
from attn_cli.lines.writing import LineWriter, passed_through
from attn_cli.workers import Crew

_BLOCK = 1 << 18  # bytes: some thousands of lines

Answer = Callable[[Sequence[str]], Sequence[str | DataError]]


def answer_lines(
    files: Sequence[str],
    answer: Answer,
    stream: StreamOptions,
    console: Console,
    crew: Crew,
) -> None:
    """Answers the first picked column of every line; further columns pass through unchanged.

    Args:
        files: paths; `-`, or none at all, is standard input.
        answer: gives one answer for each of some texts: a line without its end, or the error that
            tells why the text can't be used.
        stream: the columns, and whether unusable lines are accepted.
        console: is told of unusable lines.
        crew: who answers.

    Raises:
        DataError: a file can't be read, or lines were unusable and `--skip-bad` was not given.
    """
    bad = Notices(console.warn, skip_bad=stream.skip_bad)
    columns = Columns.parse(stream.columns, 1)
    writer = LineWriter()
    for path in files or ["-"]:
        with LineReader(path) as reader:
            # A tokenizer may have to give spaces back: they are no blank line to it.
            rows = Rows(reader, columns, bad, count=1, blank=operator.not_)
            work = partial(_answered, rows, answer)
            for lines in bad.answered(rows.blocks(_BLOCK), work, reader, crew, [rows]):
                writer.write_lines(lines)
    bad.finish("answered with an empty result")


def _answered(rows: Rows, answer: Answer, block: Block) -> list[str]:
    """The answers to a block's lines, joined: many strings are slow to send to another process."""
    window = rows.rows_of(block)
    results = answer([row.fields[0] if row.fields else "" for row in window])
    lines: list[str] = []
    for row, result in zip(window, results, strict=True):
        if isinstance(result, DataError):
            row.refuse(result)
            result = ""
        if row.rest:
            result = "\t".join([result, *map(passed_through, row.rest)])
        lines.append(result)
    return ["\n".join(lines)] if lines else []


def texts_of(files: Sequence[str], stream: StreamOptions, console: Console) -> Iterator[str]:
    """The texts of all lines: every column of a TSV file, or the picked ones.

    Args:
        files: paths; `-`, or none at all, is standard input.
        stream: the columns, and whether unusable lines are accepted.
        console: is told of unusable lines.

    Raises:
        DataError: a file can't be read, or lines were unusable and `--skip-bad` was not given.
    """
    bad = BadLines(console.warn, skip_bad=stream.skip_bad)
    columns = Columns.parse(stream.columns, 1) if stream.columns else None
    for path in files or ["-"]:
        with LineReader(path) as reader:
            for row in Rows(reader, columns, bad):
                yield from row.fields if columns else row.line.text.split("\t")
    bad.finish("left out of the training text")
