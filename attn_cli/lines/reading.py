r"""Lines of text as they come in: the stream contract, in the standard library alone.

Only `\n` ends a line; one trailing `\r` and a leading byte-order mark are removed; nothing else of
a line is altered. A line that is not UTF-8, or longer than `LINE_LIMIT`, keeps its place in the
stream as a `Line` with an `error`, so that N lines in are N lines out; those of its columns that
are UTF-8 can still be had.
"""

from __future__ import annotations

import codecs
import contextlib
import os
import re
import select
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from attn_cli.errors import DataError, NotThereError
from attn_cli.lines.packing import Unpacked
from attn_cli.threads import rank
from attn_cli.wording import plural

LINE_LIMIT = 16 << 20  # bytes; a longer line is answered as unusable instead of filling the memory
_BAD_BYTE = re.compile("[\udc80-\udcff]")  # as `surrogateescape` writes it
_GZIP_RATIO, _GZIP_SLACK = 200, 1 << 26  # what spooled gzip data may grow to; text takes 3 to 20


@dataclass(slots=True)  # a frozen one takes three times as long to make
class Line:
    """One line of a stream; nobody changes it.

    Attributes:
        number: counted from 1.
        text: its text; empty if it can't be used.
        error: why it can't be used, if it can't.
        start: the offset of its first byte in the (uncompressed) stream, after a byte-order mark.
        size: its bytes, without the end of the line.
        escaped: the text of a line that is not UTF-8, each bad byte a lone surrogate: `legible`.
    """

    number: int
    text: str
    error: str | None = None
    start: int = 0
    size: int = 0
    escaped: str = ""


@dataclass(slots=True)
class Block:
    """Neighbouring lines of a stream, all but the first of them still bytes.

    Attributes:
        first: the first one.
        data: those behind it, with their ends.
        start: the offset of its first byte, as in `Line`.
        has_header: whether the first line names columns, and is left out.
    """

    first: Line
    data: bytes
    start: int
    has_header: bool = False

    def __iter__(self) -> Iterator[Line]:
        if not self.has_header:
            yield self.first
        start = self.start
        lines = self.data[:-1].split(b"\n") if self.data else ()
        for number, raw in enumerate(lines, start=self.first.number + 1):
            yield parse_line(raw, number, start)
            start += len(raw) + 1


class LineReader:
    """Lines of one file, or of standard input (`-`); gzip data is read as it is.

    Iterating yields `Line`s. `ready()` tells whether the next line can be had without waiting for a
    slow producer, which lets a window be answered as soon as the producer pauses. A `with` block
    closes the file at its end.

    Attributes:
        name: what messages call it.
        folder: where relative names of files in it start.

    Raises:
        DataError: the file can't be opened; while iterating: its gzip data is damaged, or it is
            no UTF-8 as a whole.
    """

    def __init__(self, path: str, name: str | None = None) -> None:
        self.name = name or display_name(path)
        self.folder = folder_of(path)
        self._raw = open_binary(path)
        self._bytes = Unpacked(self._raw, path, self.name)
        self._chunk = b""
        self._at = 0
        self._number = 0
        self._start = 0  # offset of the next line

    def __iter__(self) -> Iterator[Line]:
        while True:
            parts: list[bytes] = []
            size, end = 0, -1
            while end < 0:
                end = self._chunk.find(b"\n", self._at)
                piece = self._chunk[self._at : end if end >= 0 else None]
                if size <= LINE_LIMIT:  # the rest of an endless line is read and dropped
                    parts.append(piece)
                size += len(piece)
                self._at = end + 1
                if end < 0 and not self._fill():
                    break
            if end < 0 and not size:
                return
            self._number += 1
            start, self._start = self._start, self._start + size + (end >= 0)
            yield parse_line(b"".join(parts)[: LINE_LIMIT + 1], self._number, start)

    def blocks(self, size: int) -> Iterator[Block]:
        """The lines in blocks of about so many bytes, cut early where the producer pauses.

        To part lines takes longer than to read them: whoever works on a block can do it.
        """
        for line in self:
            end = self._chunk.rfind(b"\n", self._at, self._at + size) + 1
            data = self._chunk[self._at : end]  # empty where no line ends there
            block = Block(line, data, self._start)
            self._at += len(data)
            self._start += len(data)
            self._number += data.count(b"\n")
            yield block

    def ready(self) -> bool:
        """Whether a line is buffered already, or its producer has bytes (or the end) ready."""
        if self._chunk.find(b"\n", self._at) >= 0:
            return True
        try:
            return bool(select.select([self._raw.fileno()], [], [], 0)[0])
        except (OSError, ValueError):
            return True  # no descriptor to ask: an in-memory stream, ready by nature

    def fileno(self) -> int:
        """What is waited for where nothing is ready."""
        return self._raw.fileno()

    def begins_with(self, mark: bytes) -> bool:
        """Whether the first thing that is neither white space nor a byte-order mark is `mark`.

        To be asked before anything is read; waits for a producer's first bytes.
        """
        if not self._chunk:
            self._fill()
        return self._chunk.removeprefix(codecs.BOM_UTF8).lstrip().startswith(mark)

    def rest(self, limit: int) -> bytes:
        """All that was not read yet, as it is.

        Raises:
            DataError: that is more than `limit` bytes.
        """
        parts, size = [], 0
        while self._chunk or self._fill():
            parts.append(self._chunk[self._at :])
            size += len(parts[-1])
            if size > limit:
                raise DataError(f"{self.name}: larger than {limit >> 20} MiB; split it")
            self._chunk = b""
        return b"".join(parts)

    def close(self) -> None:
        """Closes the file, unless it is standard input."""
        _close(self._raw)

    def __enter__(self) -> LineReader:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def _fill(self) -> bool:
        """Replaces the consumed chunk by what is there, waiting only if nothing is."""
        self._chunk, self._at = self._bytes.chunk(), 0
        return bool(self._chunk)


def copy_stream(path: str, out: BinaryIO) -> None:
    """Copies a file or standard input, gzip data uncompressed, chunk by chunk.

    Raises:
        DataError: it can't be read, is no UTF-8 as a whole, or is a gzip bomb: it would fill the
            disk.
    """
    with contextlib.ExitStack() as stack:
        raw = open_binary(path)
        stack.callback(_close, raw)
        source = Unpacked(raw, path, display_name(path))
        whole = Path(path).stat().st_size if Path(path).is_file() else 0
        size = 0
        while chunk := source.chunk():
            size += len(chunk)
            packed = source.packed_size
            if packed is not None and size > _GZIP_SLACK + _GZIP_RATIO * max(packed, whole):
                raise DataError(
                    f"{display_name(path)}: grows to more than {_GZIP_RATIO} times its size, as no "
                    "text does; uncompress it first if that is meant"
                )
            out.write(chunk)


def display_name(path: str) -> str:
    """What a message calls the input `path`."""
    return "standard input" if path == "-" else path


def folder_of(path: str) -> str:
    """Where relative names in the input `path` start: its folder.

    Of standard input and of pipes, which have none, the current one.
    """
    return os.path.dirname(path) if Path(path).is_file() else ""  # noqa: PTH120 - "" stays ""


def open_binary(path: str) -> BinaryIO:
    """Opens a file or standard input (`-`) for reading bytes, as they are.

    Raises:
        NotThereError: it does not exist, is a directory, may not be read, or stdin is closed.
    """
    if path == "-":
        if sys.stdin is None or sys.stdin.closed:
            raise NotThereError("standard input is closed; name a file or pipe lines in")
        if sys.stdin.isatty() and not rank():
            _say_waiting()
        return sys.stdin.buffer
    if Path(path).is_dir():
        raise NotThereError(f"{path}: is a directory, not a file")
    try:
        return Path(path).open("rb")
    except OSError as error:
        raise NotThereError(f"{path}: {error.strerror}") from error


def require_file(path: str) -> None:
    """Makes sure that an input can be opened; standard input and pipes, which wait, are not.

    Raises:
        NotThereError: see `open_binary`.
    """
    if path != "-" and not Path(path).is_fifo():
        open_binary(path).close()


def _close(raw: BinaryIO) -> None:
    """Closes a file, unless it is standard input."""
    if sys.stdin is None or raw is not sys.stdin.buffer:
        raw.close()


def _say_waiting() -> None:
    """Says at a terminal what the program waits for."""
    with contextlib.suppress(OSError, ValueError):
        print("reading standard input: Ctrl-D ends it, Ctrl-C stops", file=sys.stderr, flush=True)


def parse_line(raw: bytes, number: int, start: int = 0) -> Line:
    r"""Decodes one line as the stream contract says.

    Args:
        raw: the line's bytes without its `\n`.
        number: its number from 1; a byte-order mark is removed from line 1 only.
        start: the offset of its first byte.
    """
    if number == 1 and raw.startswith(codecs.BOM_UTF8):
        raw = raw[3:]
        start += 3
    size = len(raw)
    if size > LINE_LIMIT:
        return Line(number, "", f"longer than {LINE_LIMIT >> 20} MiB", start, size)
    raw = raw.removesuffix(b"\r")
    try:
        return Line(number, raw.decode("utf-8"), None, start, size)
    except UnicodeDecodeError as error:
        cause = f"not UTF-8 at byte {error.start + 1}"
        return Line(number, "", cause, start, size, raw.decode("utf-8", "surrogateescape"))


def legible(fields: Sequence[str]) -> list[str]:
    """Columns of `Line.escaped`: those with bad bytes are empty, the others as they are."""
    return ["" if _BAD_BYTE.search(field) else field for field in fields]


def zip_lines(readers: Sequence[LineReader]) -> Iterator[tuple[Line, ...]]:
    """Lines of parallel files, side by side.

    Raises:
        DataError: the files have different numbers of lines; the message names both counts.
    """
    iterators = [iter(reader) for reader in readers]
    count = 0
    while True:
        row = [next(iterator, None) for iterator in iterators]
        if all(line is None for line in row):
            return
        if any(line is None for line in row):
            counts = [
                count + (line is not None) + sum(1 for _ in iterator)
                for line, iterator in zip(row, iterators, strict=True)
            ]
            pairs = zip(readers, counts, strict=True)
            raise DataError(
                "parallel files differ in length: "
                + ", ".join(f"{reader.name} has {plural(n, 'line')}" for reader, n in pairs)
            )
        count += 1
        yield tuple(row)  # type: ignore[arg-type]
