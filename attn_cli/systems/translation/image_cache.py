"""Images of a training corpus, decoded once: pixels in a memory-mapped file beside the model.

Shapes: n images, r rows of the corpus, h height, w width in pixels.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from attn_cli.config.image import fitting_size
from attn_cli.data.images import Picture, Pixels, read_first, read_pixels, read_shape
from attn_cli.data.named_files import shown_path
from attn_cli.errors import DataError
from attn_cli.systems.translation.file_cache import FileCacheWriter

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


class ImageCacheWriter(FileCacheWriter):
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
        super().__init__(folder, name, ("images", "image-numbers"), root)
        self._size, self._region_size = size, region_size
        self._waiting: list[bytes] = []  # until the size is decided
        self._count = 0
        self._several: list[bytes] = []

    def finish(self) -> None:
        """See `FileCacheWriter`."""
        height, width = self._size or self._decide()
        self._describe(
            {
                "images": self._count,
                "height": height,
                "width": width,
                "region_size": self._region_size,
                "several": len(self._several),
                "first_of_several": shown_path(self._several[0]) if self._several else "",
            }
        )

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
        self._write(0, raw)
        self._count += 1
