"""Writing a file so that a reader sees the old one or the new one, never half of it.

And reading only what lies in the directory that was named.

Standard library only.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from attn_cli.errors import AttnError, DataError


def write_atomically(path: Path, data: bytes) -> None:
    """Writes beside `path`, flushes to the disk, and renames into place.

    A symbolic link keeps pointing where it points; a device or a pipe (`/dev/stdout`), which can't
    be renamed over, is written to as it is.

    Raises:
        AttnError: the file can't be written; the message names it and the cause.
    """
    with writing(path):
        if path.exists() and not path.is_file() and not path.is_dir():
            path.write_bytes(data)
            return
        with replacing(path) as file:
            file.write(data)


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[BinaryIO]:
    """A file to write beside `path`, which takes its place when the context ends well.

    Raises:
        AttnError: it can't be made or put there; what fails inside the context stays as it is.
    """
    target = path.resolve()
    beside = target.with_name(f".{target.name}.{os.getpid()}.tmp")
    try:
        with writing(path):
            file = beside.open("wb")
        with file:
            yield file
            with writing(path):
                file.flush()
                os.fsync(file.fileno())
        with writing(path):
            beside.replace(target)
    finally:
        beside.unlink(missing_ok=True)
    sync_folder(target.parent)


@contextlib.contextmanager
def writing(path: Path) -> Iterator[None]:
    """A context in which a failure to write `path` (disk full, read-only) names it and the cause.

    Raises:
        AttnError: instead of the system's error.
    """
    try:
        yield
    except OSError as error:
        raise AttnError(f"{path}: can't be written: {error.strerror or error}") from error


def remove_leftovers(folder: Path) -> None:
    """Removes what killed processes left half written there; call it where nobody else writes."""
    for path in folder.glob(".*.*.tmp"):
        if path.name.split(".")[-2].isdigit():
            path.unlink(missing_ok=True)


def read_bounded(path: Path, limit: int, too_large: str, missing: str = "") -> bytes:
    """The bytes of a file that a stranger may have put there.

    Args:
        path: the file.
        limit: bytes at most.
        too_large: what is said of a larger one.
        missing: what is said behind the cause that it can't be read.

    Raises:
        DataError: it can't be read, or is larger.
    """
    try:
        with path.open("rb") as file:
            raw = file.read(limit + 1)
    except OSError as error:
        raise DataError(f"{path}: {error.strerror}{missing}") from error
    if len(raw) > limit:
        raise DataError(f"{path}: {too_large}")
    return raw


def sync_folder(folder: Path) -> None:
    """Makes the rename itself last through a power cut, where the file system lets us."""
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def inside(folder: Path, name: str) -> Path:
    """The file `name` of a directory, which must lie in it and be a file, if it is there at all.

    Raises:
        DataError: it is a link that leads out of the directory, or a directory, pipe or device.
    """
    file = folder / name
    try:
        place = file.resolve(strict=False)
        if not place.is_relative_to(folder.resolve()):
            raise DataError(
                f"{file}: a link that leaves the directory; put a copy of the file there"
            )
        if place.exists() and not place.is_file():
            raise DataError(f"{file}: not a file")
    except (OSError, RuntimeError) as error:  # a link to itself
        raise DataError(f"{file}: {getattr(error, 'strerror', None) or error}") from error
    return file
