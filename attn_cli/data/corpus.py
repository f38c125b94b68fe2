"""A corpus is opened, not loaded: lines are checked and indexed once, then read where they lie.

The index is a file of fixed-size rows beside the model, memory-mapped; resident memory does not
grow with the corpus. Standard input and `.gz` files are spooled to a plain file beside it first.
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

import numpy as np
from numpy.typing import NDArray

from attn_cli.errors import DataError
from attn_cli.files import inside, write_atomically, writing
from attn_cli.text import (
    BadLines,
    Columns,
    LineReader,
    copy_stream,
    display_name,
    open_binary,
    zip_lines,
)

RowCheck = Callable[[list[str]], str | None]


@dataclass(frozen=True)
class CorpusFiles:
    """Where a corpus lies: TSV files one after the other, or parallel files side by side.

    Attributes:
        paths: the files; `-` is standard input.
        parallel: whether they are parallel: field i of row n is line n of file i.
        columns: what is picked from each TSV line.
    """

    paths: tuple[str, ...]
    columns: Columns
    parallel: bool = False


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
        self._columns = [Columns(tuple(indices)) for indices in self.meta["columns"]]
        self._parallel: bool = self.meta["parallel"]

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

    def sizes(self, indices: NDArray[np.int64]) -> NDArray[np.int64]:
        """The rows' lengths in bytes. Shape: (M,) -> (M,)."""
        return self._rows[indices][:, 3::3].sum(1).astype(np.int64)

    def _fields(self, row: list[int]) -> list[str]:
        places = [row[i : i + 3] for i in range(1, len(row), 3)]
        raw = [os.pread(self._files[file].fileno(), size, start) for file, start, size in places]
        fields: list[str] | str = []
        with contextlib.suppress(UnicodeDecodeError):
            fields = [line.removesuffix(b"\r").decode("utf-8") for line in raw]
            if not self._parallel:
                picked = self._columns[places[0][0]].pick(fields[0])
                fields = picked if isinstance(picked, str) else picked[0]
        if isinstance(fields, str) or _row_hash("\t".join(fields).encode("utf-8")) != row[0]:
            path = self.meta["paths"][places[0][0]]
            raise DataError(f"{path}: has changed since it was indexed; start the command again")
        return fields


def build_corpus(
    files: CorpusFiles, folder: Path, name: str, bad: BadLines, check: RowCheck
) -> Corpus:
    """Checks every line of a corpus, indexes the usable ones, and opens the result.

    Args:
        files: where the corpus lies.
        folder: where the index and the spooled streams go.
        name: their name there.
        bad: is told of every unusable line; decides whether that is accepted.
        check: says what is wrong with a row's fields, or None.

    Raises:
        DataError: unusable lines, unless accepted; parallel files of different lengths.
    """
    folder.mkdir(parents=True, exist_ok=True)
    local = [_on_disk(path, folder / f"{name}.{i}.txt") for i, path in enumerate(files.paths)]
    readers = [
        LineReader(str(where), display_name(path))
        for where, path in zip(local, files.paths, strict=True)
    ]
    rows = _parallel_rows(readers, bad) if files.parallel else _tsv_rows(readers, files, bad)
    digest = hashlib.sha256()
    count = 0
    columns: dict[int, tuple[int, ...]] = {}
    index = inside(folder, f"{name}.index")
    with writing(index), index.open("wb") as out:
        for row in rows:
            problem = check(row.fields)
            if problem:
                file, _, _ = row.places[0]
                bad.add(readers[file].name, row.number, problem)
                continue
            raw = "\t".join(row.fields).encode("utf-8")
            digest.update(raw + b"\n")
            numbers = [_row_hash(raw), *itertools.chain(*row.places)]
            out.write(np.array(numbers, np.uint64).tobytes())
            columns[row.places[0][0]] = row.columns
            count += 1
    bad.finish("left out", "nothing is trained")
    meta = {
        "rows": count,
        "width": 1 + 3 * (len(local) if files.parallel else 1),
        "fingerprint": digest.hexdigest(),
        "paths": [str(path.resolve()) for path in local],
        "columns": [list(columns.get(file, ())) for file in range(len(local))],
        "parallel": files.parallel,
    }
    write_atomically(inside(folder, f"{name}.index.json"), json.dumps(meta).encode("utf-8"))
    return Corpus(folder, name)


@dataclass(frozen=True, slots=True)
class _Row:
    number: int  # of its line, for messages
    fields: list[str]
    places: list[tuple[int, int, int]]  # file number, first byte, bytes: one per line of the row
    columns: tuple[int, ...] = ()


def _tsv_rows(readers: Sequence[LineReader], files: CorpusFiles, bad: BadLines) -> Iterator[_Row]:
    for file, reader in enumerate(readers):
        columns = files.columns
        for line in reader:
            if columns.has_header and line.number == 1:
                columns = columns.read_header(line, reader.name)
                continue
            picked = line.error or columns.pick(line.text)
            if isinstance(picked, str):
                bad.add(reader.name, line.number, picked)
            else:
                place = (file, line.start, line.size)
                yield _Row(line.number, picked[0], [place], columns.indices)


def _parallel_rows(readers: Sequence[LineReader], bad: BadLines) -> Iterator[_Row]:
    for lines in zip_lines(readers):
        for reader, line in zip(readers, lines, strict=True):
            if line.error:
                bad.add(reader.name, line.number, line.error)
                break
        else:
            places = [(file, line.start, line.size) for file, line in enumerate(lines)]
            yield _Row(lines[0].number, [line.text for line in lines], places)


def _on_disk(path: str, spool: Path) -> Path:
    """The file itself, or a plain copy of standard input, of a pipe or of a `.gz` file."""
    if Path(path).is_file() and not path.endswith(".gz"):
        open_binary(path).close()
        return Path(path)
    with writing(spool), inside(spool.parent, spool.name).open("wb") as out:
        copy_stream(path, out)
    return spool


def _row_hash(raw: bytes) -> int:
    return int.from_bytes(hashlib.blake2b(raw, digest_size=8).digest(), "little")
