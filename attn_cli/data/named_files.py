"""The files that lines name: opened only if they are files, and of a size that can be read."""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Iterator
from typing import BinaryIO

from attn_cli.config import shown
from attn_cli.errors import DataError, NoSuchFileError


def named_path(text: str, folder: str) -> bytes:
    """The file that a line names: relative names start at `folder`.

    In bytes, since names are UTF-8 whatever the locale.
    """
    return os.path.join(os.fsencode(folder), text.encode("utf-8"))  # noqa: PTH118 - bytes


def shown_path(path: bytes) -> str:
    """A path as messages show it."""
    return shown(path.decode("utf-8", "replace"), 200)


@contextlib.contextmanager
def regular_file(path: bytes, what: str, limit: int) -> Iterator[BinaryIO]:
    """A file of an acceptable size; what waits for a writer (a pipe) is not even opened to wait.

    Args:
        path: its name.
        what: it should be, in words: "an image".
        limit: of its size in bytes.

    Raises:
        NoSuchFileError: it is missing.
        DataError: it can't be opened, is no regular file, or too large.
    """
    name = shown_path(path)
    try:
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0))
    except FileNotFoundError as error:
        raise NoSuchFileError(f"{name}: {error.strerror}") from error
    except (OSError, ValueError) as error:  # a name with a NUL in it is a ValueError
        raise DataError(f"{name}: {getattr(error, 'strerror', None) or error}") from error
    try:
        facts = os.fstat(descriptor)
        if not stat.S_ISREG(facts.st_mode):
            kind = "a directory" if stat.S_ISDIR(facts.st_mode) else "no regular file"
            raise DataError(f"{name}: {kind}, not {what}")
        if facts.st_size > limit:
            raise DataError(f"{name}: larger than {limit >> 20} MiB")
        with open(descriptor, "rb", closefd=False) as file:  # noqa: PTH123 - no path
            yield file
    finally:
        os.close(descriptor)
