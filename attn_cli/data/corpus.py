"""A corpus is opened, not loaded: lines are checked and indexed once, then read where they lie.

The index is a file of fixed-size rows beside the model, memory-mapped; resident memory does not
grow with the corpus. Standard input and gzip data are spooled to a plain file beside it first.
"""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import json
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from attn_cli.errors import DataError
from attn_cli.files import inside, write_atomically, writing
from attn_cli.lines import picking
from attn_cli.lines.columns import Columns
from attn_cli.lines.packing import is_packed
from attn_cli.lines.reading import (
    LineReader,
    copy_stream,
    display_name,
    folder_of,
    open_binary,
)
from attn_cli.lines.rows import Row, Rows, is_blank, zip_rows
from attn_cli.lines.tabs import require_tabs
from attn_cli.lines.unusable import BadLines
from attn_cli.wording import plural

RowCheck = Callable[[list[str]], str | None]
RowTaker = Callable[[list[str], str], str | None]


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


class Corpus:
    """Rows of text fields, read by number.

    Args:
        folder: where `build_corpus` put the index.
        name: the corpus's name there.

    Raises:
        DataError: the index is not there or not whole.
    """

    def __init__(self, folder: Path, name: str) -> None:
        self.meta = json.loads((folder / f"{name}.index.json").read_text("utf-8"))
        self.fingerprint: str = self.meta["fingerprint"]
        self._size: int = self.meta["rows"]
        width = self.meta["width"]
        path = folder / f"{name}.index"
        if path.stat().st_size != 8 * width * self._size:
            raise DataError(f"{path}: damaged index; remove the folder {folder} and start again")
        shape = (self._size, width)
        empty = np.empty(shape, np.uint64)
        self._rows = np.memmap(path, np.uint64, "r", shape=shape) if self._size else empty
        self._files = [
            Path(path).open("rb", buffering=0)  # noqa: SIM115 - read as long as the corpus lives
            for path in self.meta["paths"]
        ]
        self._names: list[str] = self.meta["names"]
        self._columns = [picking.restored(columns) for columns in self.meta["columns"]]
        self._parallel: bool = self.meta["parallel"]
        self._blocks: bool = self.meta["blocks"]

    def __len__(self) -> int:
        return self._size

    @property
    def hashes(self) -> NDArray[np.uint64]:
        """One 64-bit hash per row, for finding duplicates; memory-mapped. Shape: (rows,)."""
        return self._rows[:, 0]

    def read(self, indices: NDArray[np.int64]) -> list[list[str]]:
        """The fields of the rows with these numbers.

        Raises:
            DataError: a file is not what it was when it was indexed.
        """
        return [self._fields(row) for row in self._rows[indices].tolist()]

    def where(self, index: int, field: int = 0) -> str:
        """What messages call the line that a field of a row stands in, or a block begins at."""
        row = self._rows[index].tolist()
        spans = [row[i : i + 3] for i in range(1, len(row) - 2, 3)]
        file, start, _ = spans[field if self._parallel else 0]
        number, at = 1, 0
        while at < start:
            chunk = os.pread(self._files[file].fileno(), min(start - at, 1 << 20), at)
            if not chunk:
                break
            number, at = number + chunk.count(b"\n"), at + len(chunk)
        return f"{self._names[file]}:{number}"

    def sizes(self, indices: NDArray[np.int64]) -> NDArray[np.int64]:
        """The rows' lengths in bytes. Shape: (M,) -> (M,)."""
        return self._rows[indices][:, 3::3].sum(1).astype(np.int64)

    def documents(self, indices: NDArray[np.int64]) -> NDArray[np.int64]:
        """The block of the files that each row is (a part) of. Shape: (M,) -> (M,)."""
        return self._rows[indices][:, 4].astype(np.int64)

    def _fields(self, row: list[int]) -> list[str]:
        spans = [row[i : i + 3] for i in range(1, len(row) - 2, 3)]
        raw = [os.pread(self._files[file].fileno(), size, start) for file, start, size in spans]
        fields: list[str] | str = []
        with contextlib.suppress(UnicodeDecodeError):
            lines = raw[0].split(b"\n") if self._blocks else raw
            fields = [line.removesuffix(b"\r").decode("utf-8") for line in lines]
            if not (self._parallel or self._blocks):
                picked = self._columns[spans[0][0]].pick(fields[0])
                fields = picked if isinstance(picked, str) else picked[0]
        mark = "\n" if self._blocks else "\t"
        if isinstance(fields, str) or _row_hash(mark.join(fields).encode("utf-8")) != row[0]:
            path = self.meta["paths"][spans[0][0]]
            raise DataError(f"{path}: has changed since it was indexed; start the command again")
        return fields


def build_corpus(
    files: CorpusFiles,
    folder: Path,
    name: str,
    bad: BadLines,
    check: RowCheck,
    take: RowTaker | None = None,
) -> Corpus:
    """Checks every line of a corpus, indexes the usable ones, and opens the result.

    Args:
        files: where the corpus lies.
        folder: where the index and the spooled streams go.
        name: their name there.
        bad: is told of every unusable line; decides whether that is accepted.
        check: says what is wrong with a row's fields, or None.
        take: is then given each usable row in order, with the folder of its file; says why it
            can't be used after all, or None.

    Raises:
        DataError: unusable lines, unless accepted; parallel files of different lengths.
    """
    folder.mkdir(parents=True, exist_ok=True)
    local = [on_disk(path, folder / f"{name}.{i}.txt") for i, path in enumerate(files.paths)]
    names = [display_name(path) for path in files.paths]
    if not (files.parallel or files.blocks or files.columns.has_header):
        for where, called in zip(local, names, strict=True):
            require_tabs(where, called, max(files.columns.indices, default=0), files.remedy)
    index = inside(folder, f"{name}.index")
    with contextlib.ExitStack() as stack:
        readers = [
            stack.enter_context(LineReader(str(where), called))
            for where, called in zip(local, names, strict=True)
        ]
        stack.enter_context(writing(index))
        out = stack.enter_context(index.open("wb"))
        count, fingerprint, columns = _write_index(readers, files, out, bad, check, take)
    bad.finish("left out", "nothing is trained")
    meta = {
        "rows": count,
        "width": 1 + 3 * (len(local) if files.parallel else 1) + bool(files.blocks),
        "fingerprint": fingerprint,
        "paths": [str(path.resolve()) for path in local],
        "names": names,
        "columns": [picking.saved(picked) for picked in columns],
        "parallel": files.parallel,
        "blocks": files.blocks is not None,
    }
    write_atomically(inside(folder, f"{name}.index.json"), json.dumps(meta).encode("utf-8"))
    return Corpus(folder, name)


def _write_index(
    readers: Sequence[LineReader],
    files: CorpusFiles,
    out: BinaryIO,
    bad: BadLines,
    check: RowCheck,
    take: RowTaker | None,
) -> tuple[int, str, list[Columns]]:
    """Writes the index of the usable rows; see `build_corpus`.

    Returns:
        How many there are, their fingerprint, and what is picked from the lines of each file.
    """
    folders = [folder_of(path) for path in files.paths]
    columns = [Columns(()) for _ in readers]
    digest = hashlib.sha256()
    count = 0
    for entry in _entries(readers, files, bad):
        file, _, _ = entry.spans[0]
        problem = check(entry.fields)
        if take and not problem:
            problem = take(entry.fields, folders[file])
        if problem:
            entry.row.refuse(problem)
            continue
        raw = ("\n" if files.blocks else "\t").join(entry.fields).encode("utf-8")
        numbers = [_row_hash(raw), *itertools.chain(*entry.spans)]
        digest.update(raw + b"\n")
        if entry.document is not None:
            digest.update(b"\n%d\n" % entry.document)
            numbers.append(entry.document)
        out.write(np.array(numbers, np.uint64).tobytes())
        columns[file] = entry.row.stream.columns or Columns(())
        count += 1
    return count, digest.hexdigest(), columns


@dataclass(slots=True)
class _Entry:
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


def _entries(readers: Sequence[LineReader], files: CorpusFiles, bad: BadLines) -> Iterator[_Entry]:
    if files.parallel:
        for rows in zip_rows(readers, [None] * len(readers), bad):
            if not rows[-1].error:
                spans = [(i, row.line.start, row.line.size) for i, row in enumerate(rows)]
                yield _Entry(rows[0], [row.line.text for row in rows], spans)
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
                    counted = plural(n_columns, "column")
                    row.refuse(
                        f"{counted}, where the lines before have {width} (a tab in a text? else "
                        "--columns says which are meant)"
                    )
                else:
                    yield _Entry(row, row.fields, [(file, row.line.start, row.line.size)])


def _block_entries(
    readers: Sequence[LineReader], blocks: Blocks, bad: BadLines
) -> Iterator[_Entry]:
    document = 0
    for file, reader in enumerate(readers):
        rows = Rows(reader, None, bad, blank=lambda text: not blocks.across and is_blank(text))
        for is_text, block in itertools.groupby(rows, lambda row: bool(row.error or row.fields)):
            if is_text:
                for part in _usable_parts(block, blocks):
                    first, last = part[0].line, part[-1].line
                    place = (file, first.start, last.start + last.size - first.start)
                    yield _Entry(part[0], [row.line.text for row in part], [place], document)
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


def on_disk(path: str, spool: Path) -> Path:
    """The file itself, or a plain copy (`spool`) of standard input, of a pipe or of gzip data.

    Raises:
        DataError: it can't be read, or is a gzip bomb.
    """
    if Path(path).is_file():
        open_binary(path).close()
        if not is_packed(Path(path)):
            return Path(path)
    with writing(spool), inside(spool.parent, spool.name).open("wb") as out:
        copy_stream(path, out)
    return spool


def _row_hash(raw: bytes) -> int:
    return int.from_bytes(hashlib.blake2b(raw, digest_size=8).digest(), "little")
