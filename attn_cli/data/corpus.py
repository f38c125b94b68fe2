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
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from attn_cli.data.entries import CorpusFiles, entries
from attn_cli.data.line_index import LineIndexer, RowCheck, row_hash
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
from attn_cli.lines.tabs import require_tabs
from attn_cli.lines.unusable import BadLines
from attn_cli.workers import Crew

_SAID_EVERY = 10.0  # seconds
_CHUNK = 1 << 20  # rows of an index
RowTaker = Callable[[list[str], str], DataError | None]


class Corpus:
    """Rows of text fields, read by number.

    Args:
        folder: where `build_corpus` put the index.
        name: the corpus's name there.

    Attributes:
        fingerprint: follows from its rows.
        names: what messages call its files.

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
        self._width = width
        # Pages of a memory map would count as this process's own, up to the whole index.
        self._index = path.open("rb", buffering=0)
        self._files = [
            Path(path).open("rb", buffering=0)  # noqa: SIM115 - read as long as the corpus lives
            for path in self.meta["paths"]
        ]
        self.names: list[str] = self.meta["names"]
        self._columns = [picking.restored(columns) for columns in self.meta["columns"]]
        self._parallel: bool = self.meta["parallel"]
        self._blocks: bool = self.meta["blocks"]

    def __len__(self) -> int:
        return self._size

    def hashes(self, indices: NDArray[np.int64]) -> NDArray[np.uint64]:
        """64 bits of each row, for finding duplicates. Shape: (M,) -> (M,)."""
        return self._rows(indices)[:, 0]

    def all_hashes(self) -> Iterator[NDArray[np.uint64]]:
        """Those of all rows, in pieces."""
        for start in range(0, self._size, _CHUNK):
            yield self.hashes(np.arange(start, min(start + _CHUNK, self._size)))

    def read(self, indices: NDArray[np.int64]) -> list[list[str]]:
        """The fields of the rows with these numbers.

        Raises:
            DataError: a file is not what it was when it was indexed.
        """
        return [self._fields(row) for row in self._rows(indices).tolist()]

    def where(self, index: int, field: int = 0) -> str:
        """What messages call the line that a field of a row stands in, or a block begins at."""
        (row,) = self._rows(np.array([index])).tolist()
        spans = [row[i : i + 3] for i in range(1, len(row) - 2, 3)]
        file, start, _ = spans[field if self._parallel else 0]
        number, at = 1, 0
        while at < start:
            chunk = os.pread(self._files[file].fileno(), min(start - at, 1 << 20), at)
            if not chunk:
                break
            number, at = number + chunk.count(b"\n"), at + len(chunk)
        return f"{self.names[file]}:{number}"

    def sizes(self, indices: NDArray[np.int64]) -> NDArray[np.int64]:
        """The rows' lengths in bytes. Shape: (M,) -> (M,)."""
        return self._rows(indices)[:, 3::3].sum(1).astype(np.int64)

    def documents(self, indices: NDArray[np.int64]) -> NDArray[np.int64]:
        """The block of the files that each row is (a part) of. Shape: (M,) -> (M,)."""
        return self._rows(indices)[:, 4].astype(np.int64)

    def _rows(self, indices: NDArray[np.int64]) -> NDArray[np.uint64]:
        """Rows of the index. Shape: (M,) -> (M, width)."""
        size, count = 8 * self._width, len(indices)
        file = self._index.fileno()
        first, last = (int(indices[0]), int(indices[-1])) if count else (0, -1)
        if last - first == count - 1 and (count < 3 or bool((np.diff(indices) == 1).all())):
            raw = os.pread(file, size * count, size * first)
        else:
            raw = b"".join([os.pread(file, size, size * i) for i in indices.tolist()])
        return np.frombuffer(raw, np.uint64).reshape(count, self._width)

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
        if isinstance(fields, str) or _hash(mark.join(fields).encode("utf-8")) != row[0]:
            path = self.meta["paths"][spans[0][0]]
            raise DataError(f"{path}: has changed since it was indexed; start the command again")
        return fields


@dataclass(frozen=True)
class Indexing:
    """How an index is made.

    Attributes:
        say: is told how far it is.
        crew: who checks the lines of TSV files, whose check then knows no other line and is the
            same whenever the command runs: an index that was made of the same files is used again.
            None: this process, in their order.
    """

    say: Callable[[str], None] = lambda text: None
    crew: Crew | None = None


def build_corpus(
    files: CorpusFiles,
    folder: Path,
    name: str,
    bad: BadLines,
    check: RowCheck,
    take: RowTaker | None = None,
    indexing: Indexing | None = None,
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
        indexing: how it is done.

    Raises:
        DataError: unusable lines, unless accepted; parallel files of different lengths.
    """
    folder.mkdir(parents=True, exist_ok=True)
    indexing = indexing or Indexing()
    made_of = _made_of(files, bad) if indexing.crew else None
    if made_of and (corpus := _made_before(folder, name, made_of)):
        indexing.say(f"{', '.join(corpus.names)}: indexed before: {len(corpus):,} usable lines")
        return corpus
    inside(folder, f"{name}.index.json").unlink(missing_ok=True)
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
        if indexing.crew and not (files.parallel or files.blocks or take):
            written = _write_line_index(readers, files, out, bad, check, indexing, indexing.crew)
        else:
            written = _write_index(readers, files, out, bad, check, take, indexing)
    bad.finish("left out", "nothing is trained")
    meta = {
        "rows": sum(written.counts),
        "counts": written.counts,
        "width": 1 + 3 * (len(local) if files.parallel else 1) + bool(files.blocks),
        "fingerprint": written.fingerprint,
        "made_of": made_of,
        "paths": [str(path.resolve()) for path in local],
        "names": names,
        "columns": [picking.saved(picked) for picked in written.columns],
        "parallel": files.parallel,
        "blocks": files.blocks is not None,
    }
    write_atomically(inside(folder, f"{name}.index.json"), json.dumps(meta).encode("utf-8"))
    return Corpus(folder, name)


def _made_of(files: CorpusFiles, bad: BadLines) -> dict[str, object] | None:
    """What an index follows from, as JSON; None where the files can't be known again."""
    if not all(Path(path).is_file() for path in files.paths):
        return None
    stats = [(path, Path(path).stat()) for path in files.paths]
    return {
        "files": [[os.path.realpath(path), s.st_size, s.st_mtime_ns] for path, s in stats],
        "columns": [*files.columns.indices, *files.columns.names],
        "how": [files.parallel, files.even, bad.accepts],
    }


def _made_before(folder: Path, name: str, made_of: dict[str, object]) -> Corpus | None:
    """The corpus as an earlier run left it there, if it is one of the same files."""
    try:
        corpus = Corpus(folder, name)
    except (OSError, ValueError, KeyError, TypeError, DataError):
        return None  # or half of it
    return corpus if corpus.meta.get("made_of") == made_of else None


@dataclass(frozen=True)
class _Written:
    """What an index has.

    Attributes:
        counts: rows of each file, or, of parallel ones, of all of them.
        fingerprint: of all rows.
        columns: what is picked from the lines of each file.
    """

    counts: list[int]
    fingerprint: str
    columns: list[Columns]


class _Clock:
    """Says from time to time how far a file has been read."""

    def __init__(self, say: Callable[[str], None], reader: LineReader) -> None:
        self._say, self._name = say, reader.name
        self._size = max(1, os.fstat(reader.fileno()).st_size)
        self._said = time.monotonic()

    def at(self, n_lines: int, end: int) -> None:
        """Is told of the lines and bytes that have been read."""
        if time.monotonic() - self._said > _SAID_EVERY:
            self._said = time.monotonic()
            self._say(f"{self._name}: {n_lines:,} lines checked ({end / self._size:.0%})")


def _write_line_index(
    readers: Sequence[LineReader],
    files: CorpusFiles,
    out: BinaryIO,
    bad: BadLines,
    check: RowCheck,
    indexing: Indexing,
    crew: Crew,
) -> _Written:
    """The same of TSV files, by several processes."""
    counts: list[int] = []
    columns: list[Columns] = []
    digest = hashlib.sha256()
    for number, reader in enumerate(readers):
        indexer = LineIndexer(reader, files.columns, files.even, number, check)
        clock = _Clock(indexing.say, reader)
        count = n_lines = 0
        for part in indexer.parts(crew):
            for where, cause in part.refused:
                bad.add_at(where, cause)
            out.write(part.rows.tobytes())
            digest.update(np.ascontiguousarray(part.rows[:, 0]).tobytes())
            count, n_lines = count + len(part.rows), n_lines + part.n_lines
            clock.at(n_lines, part.end)
        counts.append(count)
        columns.append(indexer.picked if count else Columns(()))
    return _Written(counts, digest.hexdigest(), columns)


def _write_index(
    readers: Sequence[LineReader],
    files: CorpusFiles,
    out: BinaryIO,
    bad: BadLines,
    check: RowCheck,
    take: RowTaker | None,
    indexing: Indexing,
) -> _Written:
    """Writes the index of the usable rows; see `build_corpus`."""
    folders = [folder_of(path) for path in files.paths]
    columns = [Columns(()) for _ in readers]
    clocks = [_Clock(indexing.say, reader) for reader in readers]
    digest = hashlib.sha256()
    counts = [0] * (1 if files.parallel else len(readers))
    for entry in entries(readers, files, bad):
        file, start, _ = entry.spans[0]
        clocks[file].at(entry.row.number, start)
        problem: str | DataError | None = check(entry.fields)
        if take and not problem:
            problem = take(entry.fields, folders[file])
        if problem:
            entry.row.refuse(problem)
            continue
        raw = ("\n" if files.blocks else "\t").join(entry.fields).encode("utf-8")
        numbers = [_hash(raw), *itertools.chain(*entry.spans)]
        digest.update(row_hash(raw))
        if entry.document is not None:
            digest.update(b"\n%d\n" % entry.document)
            numbers.append(entry.document)
        out.write(np.array(numbers, np.uint64).tobytes())
        columns[file] = entry.row.stream.columns or Columns(())
        counts[file] += 1
    return _Written(counts, digest.hexdigest(), columns)


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


def _hash(raw: bytes) -> int:
    return int.from_bytes(row_hash(raw), "little")
