"""Images of a training corpus, decoded once: pixels in a memory-mapped file beside the model.

Shapes: n images, r rows of the corpus, h height, w width in pixels.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from attn_cli.config.image import fitting_size
from attn_cli.data.images import Picture, Pixels, read_first, read_pixels, read_shape
from attn_cli.data.named_files import named_path, shown_path
from attn_cli.errors import DataError
from attn_cli.files import inside, write_atomically, writing

_SHAPES = 64  # images that decide the size, where it is not given


class ImageCache:
    """What `ImageCacheWriter` wrote.

    Attributes:
        size: h and w.
        numbers: the image of each row of the corpus. Shape: (r,).
        fingerprint: follows from every image and its place.
        several: how many files have several images, of which the first is read; the first of them.
    """

    def __init__(self, folder: Path, name: str) -> None:
        meta = json.loads((folder / f"{name}.images.json").read_text("utf-8"))
        self.size: tuple[int, int] = (meta["height"], meta["width"])
        self._region_size: int = meta["region_size"]
        self.fingerprint: str = meta["fingerprint"]
        self.several: tuple[int, str] = (meta.get("several", 0), meta.get("first_of_several", ""))
        path = folder / f"{name}.images"
        shape = (meta["images"], *self.size, 3)
        numbers = folder / f"{name}.image-numbers"
        rows = (meta["rows"],)
        if (path.stat().st_size, numbers.stat().st_size) != (int(np.prod(shape)), 8 * rows[0]):
            raise DataError(f"{path}: damaged; remove the folder {folder} and start again")
        self._pixels = np.memmap(path, np.uint8, "r", shape=shape)
        self.numbers = np.memmap(numbers, np.int64, "r", shape=rows)

    def pictures(self, rows: NDArray[np.int64]) -> list[Picture]:
        """The images of rows of the corpus. Shape: rows (M,)."""
        return [
            Picture(np.asarray(self._pixels[number]), self._region_size)
            for number in self.numbers[rows].tolist()
        ]


class ImageCacheWriter:
    """Decodes the images of a corpus while its lines are checked.

    Args:
        folder: where the pixels go.
        name: the corpus's name there.
        size: height and width; None: what suits the first images.
        region_size: pixels of a region's side.
        root: where relative paths start; None: at the folder of the file that names them.
    """

    def __init__(
        self,
        folder: Path,
        name: str,
        size: tuple[int, int] | None,
        region_size: int,
        root: str | None,
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder, self._name = folder, name
        self._size, self._region_size = size, region_size
        self._root = root
        self._found: dict[bytes, int | str] = {}  # a number, or why it can't be used
        self._waiting: list[bytes] = []  # until the size is decided
        self._count = 0
        self._rows = 0
        self._several: list[bytes] = []
        self._digest = hashlib.sha256()
        with writing(folder / f"{name}.images"):
            self._pixels: BinaryIO = inside(folder, f"{name}.images").open("wb")
            self._numbers: BinaryIO = inside(folder, f"{name}.image-numbers").open("wb")

    def problem(self, text: str, folder: str) -> str | None:
        """Takes the image of the corpus's next row; says why it can't be used, if it can't.

        Args:
            text: the path.
            folder: of the file that names it.
        """
        path = named_path(text, folder if self._root is None else self._root)
        if path not in self._found:
            try:
                self._found[path] = self._added(path)
            except DataError as error:
                self._found[path] = str(error)
        found = self._found[path]
        if isinstance(found, str):
            return found
        self._write(self._numbers, np.int64(found).tobytes())
        self._rows += 1
        return None

    def finish(self) -> tuple[int, int]:
        """Writes what is left and closes the files; height and width of all images."""
        size = self._size or self._decide()
        self.close()
        meta = {
            "images": self._count,
            "rows": self._rows,
            "height": size[0],
            "width": size[1],
            "region_size": self._region_size,
            "fingerprint": self._digest.hexdigest(),
            "several": len(self._several),
            "first_of_several": shown_path(self._several[0]) if self._several else "",
        }
        place = inside(self._folder, f"{self._name}.images.json")
        write_atomically(place, json.dumps(meta).encode("utf-8"))
        return size

    def close(self) -> None:
        """Closes the files."""
        with writing(self._folder / f"{self._name}.images"):
            self._pixels.close()
            self._numbers.close()

    def _added(self, path: bytes) -> int:
        """The number of an image, which is decoded to see that it can be.

        Raises:
            DataError: it can't.
        """
        pixels, is_first = read_first(path, *(self._size or (self._region_size,) * 2))
        if is_first:
            self._several.append(path)
        if self._size:
            self._add(pixels)
        else:
            self._waiting.append(path)
            if len(self._waiting) == _SHAPES:
                self._decide()
        return self._count + len(self._waiting) - 1

    def _decide(self) -> tuple[int, int]:
        """The size that suits the images so far, which are written in it."""
        shapes = [read_shape(path) for path in self._waiting]
        self._size = fitting_size(shapes, self._region_size)
        for path in self._waiting:
            self._add(read_pixels(path, *self._size))
        self._waiting.clear()
        return self._size

    def _add(self, pixels: Pixels) -> None:
        raw = pixels.tobytes()
        self._digest.update(raw)
        self._write(self._pixels, raw)
        self._count += 1

    def _write(self, file: BinaryIO, raw: bytes) -> None:
        with writing(self._folder / f"{self._name}.images"):
            file.write(raw)
