"""Files that a training corpus names, read once while its lines are checked, each however often.

Shapes: r rows of the corpus.
"""

from __future__ import annotations

import hashlib
import json
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import BinaryIO, Protocol

import numpy as np
from numpy.typing import NDArray

from attn_cli.data.named_files import named_path
from attn_cli.errors import DataError
from attn_cli.files import inside, write_atomically, writing


class FileCache(Protocol):
    """What a `FileCacheWriter` wrote."""

    @property
    def numbers(self) -> NDArray[np.int64]:
        """The file of each row of the corpus. Shape: (r,)."""

    @property
    def fingerprint(self) -> str:
        """Follows from what is in every file, its place, and what is made of it."""


class FileCacheWriter(ABC):
    """Reads the files that the rows of a corpus name, into files of a folder.

    Args:
        folder: where what is read goes.
        name: the corpus's name there.
        endings: of the files that are written; the last one has the number of each row's file.
        root: where relative paths start; None: at the folder of the file that names them.
    """

    def __init__(self, folder: Path, name: str, endings: Sequence[str], root: str | None) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._place = folder / f"{name}.{endings[0]}"
        self._root = root
        self._found: dict[bytes, int | DataError] = {}  # a number, or why it can't be used
        self._rows = 0
        self._digest = hashlib.sha256()
        with writing(self._place):
            self._files: list[BinaryIO] = [
                inside(folder, f"{name}.{ending}").open("wb") for ending in endings
            ]

    def problem(self, text: str, folder: str) -> DataError | None:
        """Takes the file of the corpus's next row; says why it can't be used, if it can't.

        Args:
            text: the path.
            folder: of the file that names it.
        """
        path = named_path(text, folder if self._root is None else self._root)
        if path not in self._found:
            try:
                self._found[path] = self._added(path)
            except DataError as error:
                self._found[path] = type(error)(str(error))  # without its frames, full of sounds
        found = self._found[path]
        if isinstance(found, DataError):
            return found
        self._write(-1, np.int64(found).tobytes())
        self._rows += 1
        return None

    @abstractmethod
    def finish(self) -> None:
        """Writes what is left, and closes the files."""

    def close(self) -> None:
        """Closes the files."""
        with writing(self._place):
            for file in self._files:
                file.close()

    @abstractmethod
    def _added(self, path: bytes) -> int:
        """The number of a file, which is read.

        Raises:
            DataError: it can't be used.
        """

    def _write(self, which: int, raw: bytes) -> None:
        """Adds to one of the files."""
        with writing(self._place):
            self._files[which].write(raw)

    def _describe(self, facts: Mapping[str, object]) -> None:
        """Writes what is in the files, which are closed."""
        self.close()
        facts = {**facts, "rows": self._rows, "fingerprint": self._digest.hexdigest()}
        place = inside(self._place.parent, f"{self._place.name}.json")
        write_atomically(place, json.dumps(facts).encode("utf-8"))
