"""`attn embed`: lines in, vectors out, in order, window by window."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from attn_cli.embed.embedder import Embedded, Embedder
from attn_cli.lines.columns import Columns
from attn_cli.lines.reading import LineReader
from attn_cli.lines.rows import Rows, is_blank
from attn_cli.lines.unusable import BadLines

_MAX_CHARS = 1 << 18  # of a window: what pooling keeps of a token is many times its text


@dataclass(frozen=True)
class LineVectors:
    """What a line became.

    Attributes:
        number: the line's.
        found: its vectors; None of a blank or unusable line.
        rest: the columns that pass through.
        text: what was read.
    """

    number: int
    found: Embedded | None
    rest: Sequence[str] = ()
    text: str = ""

    def as_json(self) -> str:
        """One line of JSON; blank where there is nothing."""
        if self.found is None:
            return ""
        units, vectors = self.found.units, _numbers(self.found.vectors)
        body = f'"vector": {vectors}' if units is None else f'"vectors": {vectors}'
        if units is not None:
            body = f'"units": {json.dumps(units, ensure_ascii=False)}, {body}'
        columns = json.dumps(self.rest, ensure_ascii=False)
        return f'{{"line": {self.number}, {body}, "columns": {columns}}}'


def embed_lines(
    embedder: Embedder, reader: LineReader, columns: Columns, bad: BadLines, buffer: int
) -> Iterator[list[LineVectors]]:
    """The vectors of each window of input lines.

    Args:
        embedder: makes them.
        reader: the lines.
        columns: picks the text's column.
        bad: is told of unusable lines.
        buffer: most lines of a window.
    """
    for window in Rows(reader, columns, bad, count=1).windows(buffer, _MAX_CHARS):
        filled = [bool(row.fields) and not is_blank(row.fields[0]) for row in window]
        texts = [row.fields[0] for row, given in zip(window, filled, strict=True) if given]
        found = iter(embedder.embed(texts))
        yield [
            LineVectors(row.number, next(found), row.rest, row.fields[0])
            if given
            else LineVectors(row.number, None, row.rest)
            for row, given in zip(window, filled, strict=True)
        ]


def _numbers(vectors: NDArray[np.float32]) -> str:
    """An array as JSON; nine digits give every float32 back."""
    if vectors.ndim > 1:
        return f"[{', '.join(map(_numbers, vectors))}]"
    return f"[{', '.join([f'{value:.9g}' for value in vectors.tolist()])}]"
