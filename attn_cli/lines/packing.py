"""What a stream of bytes is, told by its first bytes: UTF-8, gzip data, or what is refused by name.

Nothing is told by a file's name: standard input has none, and names are often wrong. Standard
library only.
"""

from __future__ import annotations

import codecs
import gzip
import io
import os
import select
import shlex
import zlib
from pathlib import Path
from typing import BinaryIO

from attn_cli.errors import DataError

_CHUNK = 1 << 20
_GLANCE = 0.2  # seconds at a terminal between two looks at signals
_GZIP = b"\x1f\x8b"
# The mark of UTF-32 begins with that of UTF-16: it comes first.
_ENCODINGS = {
    codecs.BOM_UTF32_LE: "UTF-32",
    codecs.BOM_UTF32_BE: "UTF-32",
    codecs.BOM_UTF16_LE: "UTF-16",
    codecs.BOM_UTF16_BE: "UTF-16",
}
# First bytes -> what packs so, the command that unpacks a file, and the one that unpacks a pipe.
_PACKERS = {
    b"\x28\xb5\x2f\xfd": ("zstd", "zstd -dc", "zstd -dc"),
    b"\xfd7zXZ\x00": ("xz", "xz -dc", "xz -dc"),
    b"PK\x03\x04": ("zip", "unzip -p", "funzip"),
    b"7z\xbc\xaf\x27\x1c": ("7z", "7z x -so", "7z x -so -si"),
    **{b"BZh%d1AY&SY" % size: ("bzip2", "bzip2 -dc", "bzip2 -dc") for size in range(1, 10)},
}
_MARKS = (_GZIP, *_ENCODINGS, *_PACKERS)


class Unpacked:
    """The bytes of a stream's text, chunk by chunk; gzip data is uncompressed on the way.

    What the stream is, is found out when the first chunk is asked for, which waits for a slow
    producer's first bytes.

    Args:
        raw: the stream, of which nothing has been read.
        path: where it comes from; `-` is standard input.
        name: what messages call it.

    Attributes:
        packed_size: the bytes that were read of it, if they are packed.
    """

    def __init__(self, raw: BinaryIO, path: str, name: str) -> None:
        self._raw = self._stream = raw
        self._path = path
        self._name = name
        self._packed: _Rejoined | None = None
        self._begun = False
        self._is_terminal = os.name == "posix" and raw.isatty()

    @property
    def packed_size(self) -> int | None:
        """The bytes that were read of packed data; None of text as it is."""
        return self._packed.size if self._packed else None

    def chunk(self) -> bytes:
        """What is there, at most a mebibyte, waiting only if nothing is; nothing at the end.

        Raises:
            DataError: it can't be read, its gzip data is damaged, or it is no UTF-8 as a whole.
        """
        if self._begun:
            return self._read()
        self._begun = True
        head = self._head()
        if head.startswith(_GZIP):
            self._packed = _Rejoined(head, self._raw)
            self._stream = gzip.GzipFile(fileobj=self._packed, mode="rb")  # type: ignore[assignment]
            head = self._head()
        self._refuse(head)
        if self._path.endswith(".gz") and not (self._packed or _is_utf8(head)):
            raise DataError(
                f"{self._name}: is called .gz, but is neither gzip data nor UTF-8; fetch it again"
            )
        return head

    def _head(self) -> bytes:
        """The first chunk; more than one read gives where that may be the beginning of a mark."""
        head = b""
        while any(len(head) < len(mark) and mark.startswith(head) for mark in _MARKS):
            chunk = self._read()
            if not chunk:
                break
            head += chunk
        return head

    def _read(self) -> bytes:
        try:
            self._await_terminal()
            # read1 returns what one read gives: a pipe's lines as they come, not a full buffer.
            chunk: bytes = self._stream.read1(_CHUNK)  # type: ignore[attr-defined]
            return chunk
        except (EOFError, zlib.error, gzip.BadGzipFile) as error:
            raise DataError(
                f"{self._name}: damaged gzip data ({error}); compress the file again"
            ) from error
        except OSError as error:
            raise DataError(f"{self._name}: {error.strerror or error}") from error

    def _await_terminal(self) -> None:
        """Waits until something was typed; a signal that comes just before the wait is seen, too.

        A read that has begun is interrupted by a signal, but one that is about to begin is not.
        """
        if self._is_terminal:
            while not select.select([self._raw], [], [], _GLANCE)[0]:
                pass

    def _refuse(self, head: bytes) -> None:
        """Raises DataError if these first bytes of the text are no UTF-8 as a whole."""
        encoding = next((name for mark, name in _ENCODINGS.items() if head.startswith(mark)), "")
        if encoding:
            what = f"is {encoding}, and UTF-8 is read"
        elif encoding := _unmarked_utf16(head):
            what = "every second byte is 0, as in UTF-16 without a mark, and UTF-8 is read"
        if encoding:
            raise DataError(
                f"{self._name}: {what}; {self._remedy(f'iconv -f {encoding} -t UTF-8')}"
            )
        if head.startswith(_GZIP):
            remedy = self._remedy("gzip -dc")
            raise DataError(f"{self._name}: is gzip data inside gzip data; {remedy}")
        for mark, (packer, command, piped) in _PACKERS.items():
            if head.startswith(mark):
                remedy = self._remedy(command, piped)
                raise DataError(f"{self._name}: is packed by {packer}, not by gzip; {remedy}")

    def _remedy(self, command: str, piped: str = "") -> str:
        """What to do with a file, or with a pipe, so that it can be read."""
        file = shlex.quote(self._path)
        if self._path == "-":
            return f"put a command before attn: {piped or command} | attn"
        if self._packed:
            return f"gzip -dc {file} | {piped or command} > text"
        return f"{command} {file} > text"


class _Rejoined(io.RawIOBase):
    """A stream with the bytes that were read of it before its rest.

    Attributes:
        size: how many bytes were read.
    """

    def __init__(self, head: bytes, raw: BinaryIO) -> None:
        self._head = head
        self._raw = raw
        self.size = 0

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        if self._head:
            part = self._head[: size if size >= 0 else None]
            self._head = self._head[len(part) :]
        else:
            part = self._raw.read1(size)  # type: ignore[attr-defined]
        self.size += len(part)
        return part


def is_packed(path: Path) -> bool:
    """Whether a file is gzip data.

    Raises:
        OSError: it can't be read.
    """
    with path.open("rb") as file:
        return file.read(len(_GZIP)) == _GZIP


def _is_utf8(head: bytes) -> bool:
    """Whether the first bytes of a file are UTF-8; their last character may be cut."""
    try:
        codecs.getincrementaldecoder("utf-8")().decode(head)
    except UnicodeDecodeError:
        return False
    return b"\x00" not in head


def _unmarked_utf16(head: bytes) -> str:
    """The kind of UTF-16 without a mark that a text is: every second byte of it is 0."""
    head = head[: min(len(head), 1 << 12) // 2 * 2]
    if len(head) < 8:
        return ""
    zeros = [head[at::2].count(0) * 2 for at in (0, 1)]
    if not zeros[0] and 2 * zeros[1] > len(head):
        return "UTF-16LE"
    return "UTF-16BE" if not zeros[1] and 2 * zeros[0] > len(head) else ""
