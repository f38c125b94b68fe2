"""A file that has no tab, or more columns than are read: said once, with the way out.

Line by line it would be said ten times, and never what is wrong with the file.
"""

from __future__ import annotations

import csv
import itertools
from collections.abc import Sequence
from pathlib import Path

from attn_cli.errors import DataError
from attn_cli.lines.reading import LineReader
from attn_cli.wording import plural

_CHUNK = 1 << 20  # bytes
_SAMPLE = 20  # lines
_SEPARATORS = {",": "commas", ";": "semicolons"}


def require_tabs(file: Path, name: str, last: int, remedy: str) -> None:
    """Makes sure that a file that is to have columns has a tab.

    Args:
        file: the file.
        name: what messages call it.
        last: the last column that is needed, from 0.
        remedy: what is said of a file of one column.

    Raises:
        DataError: it has text, but no tab; or it is no text.
    """
    with LineReader(str(file), name) as reader:
        first = next(iter(reader), None)  # refuses what is no text at all
    if last < 1 or first is None or not _lacks_tabs(file):
        return
    with file.open("rb") as stream:
        sample = [line.decode("utf-8", "replace") for line in itertools.islice(stream, _SAMPLE)]
    if separator := _separator(sample):
        quoted = f", delimiter='{separator}'" if separator != "," else ""
        raise DataError(
            f"{name}: {_SEPARATORS[separator]} and no tab, but columns are parted by tabs; this "
            "makes them so: python3 -c \"import csv, sys; [print(*(' '.join(f.split()) for f in "
            f"row), sep='\\t') for row in csv.reader(sys.stdin{quoted})]\" < in.csv > out.tsv"
        )
    raise DataError(f"{name}: no tab in it, so no line has a column {last + 1}; {remedy}")


def unread_columns(file: Path, name: str, n_read: int) -> str:
    """What is said of a file whose lines have more columns than are read; "" if they have not.

    Args:
        file: the file, whose lines have as many columns as its first.
        name: what messages call it.
        n_read: how many are read, from the first.
    """
    with LineReader(str(file), name) as reader:
        first = next(iter(reader), None)
    width = first.text.count("\t") + 1 if first else 0
    if width <= n_read:
        return ""
    return (
        f"{name}: {plural(width, 'column')}, of which the first {n_read} are read; --columns "
        "chooses others"
    )


def _lacks_tabs(file: Path) -> bool:
    """Whether a file has text, and no tab."""
    has_text = False
    with file.open("rb") as stream:
        while chunk := stream.read(_CHUNK):
            if b"\t" in chunk:
                return False
            has_text = has_text or not chunk.isspace()
    return has_text


def _separator(lines: Sequence[str]) -> str:
    """What parts the columns of lines that are CSV, all of as many; "" if they are none."""
    for separator in _SEPARATORS:
        try:
            rows = list(csv.reader(lines, delimiter=separator, strict=True))
        except csv.Error:
            continue
        widths = {len(row) for row in rows if row}
        if len(widths) == 1 and min(widths) > 1:
            return separator
    return ""
