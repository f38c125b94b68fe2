"""Images as sources: the files that lines name, as regions.

Shapes: B batch, S regions, h height, w width in pixels.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import ClassVar, Self

import numpy as np
import torch
from torch import Tensor

from attn_cli.config.source import SourceConfig, SourceOptions
from attn_cli.data.images import Picture, read_first
from attn_cli.data.named_files import named_path
from attn_cli.errors import DataError
from attn_cli.systems.recipe import TRAIN
from attn_cli.systems.translation.file_source import FileSources
from attn_cli.systems.translation.image_cache import ImageCache, ImageCacheWriter
from attn_cli.systems.translation.source_base import Contents, Side
from attn_cli.tokenizers.tokenizer import Tokenizer
from attn_cli.viz.maps import Axis
from attn_cli.wording import plural

_IMAGE_BYTES = 1 << 28  # of the images that are held at once
SEVERAL = "holds several images (frames, pages)"
_CAPTION = 64  # tokens that an image's caption is expected to have at most, and half of the limit


class ImageSide(Side[Picture, Picture]):
    """Images of one size as regions in reading order."""

    reads_files: ClassVar[bool] = True
    vocab_size = 0
    output_len = _CAPTION

    def __init__(self, height: int, width: int, region_size: int) -> None:
        self._size = height, width
        self._region_size = region_size
        self.n_bytes = 3 * height * width
        self.most_lines = max(1, _IMAGE_BYTES // self.n_bytes)

    @classmethod
    def of(cls, config: SourceConfig, tokenizer: Tokenizer) -> Self:
        """What a model of this configuration reads."""
        return cls(config.image_height, config.image_width, config.region_size)

    def read(self, text: str, folder: str) -> Picture:
        """The image that the line names."""
        if not text.strip():
            raise DataError("no image is named")
        pixels, is_first = read_first(named_path(text, folder), *self._size)
        return Picture(pixels, self._region_size, is_first)

    def unread(self, content: Picture) -> str | None:
        """Further images of the same file."""
        return f"{SEVERAL}: the first one is read" if content.is_first else None

    def parts(self, text: str, limit: int) -> list[str]:
        """An image is one part."""
        return [text]

    def encode(self, contents: Sequence[Picture]) -> list[Picture]:
        """The images: their model makes regions of them."""
        return list(contents)

    def learnt(
        self, contents: Sequence[Picture], limit: int, alpha: float, seed: int
    ) -> tuple[list[Picture], list[int]]:
        """The images as they are: of a mirrored one, words for left and right would be wrong."""
        return list(contents), []

    def collate(self, items: Sequence[Picture]) -> tuple[Tensor, Tensor]:
        """Bytes from 0 to 255. Shape: (B, h, w, 3), (B, S)."""
        pixels = torch.from_numpy(np.stack([item.pixels for item in items]))
        return pixels, torch.ones(len(items), len(items[0]), dtype=torch.bool)

    def words(self, item: Picture) -> list[int]:
        """The regions' numbers."""
        return list(range(len(item)))

    def axis(self, item: Picture, text: str) -> Axis:
        """Regions are named by row and column, from 0."""
        rows, columns = item.grid
        labels = (f"{row},{column}" for row in range(rows) for column in range(columns))
        return Axis(tuple(labels), picture=item)

    @property
    def blank(self) -> Picture:
        """A black image."""
        return Picture(np.zeros((*self._size, 3), np.uint8), self._region_size)

    @property
    def fingerprint(self) -> bytes:
        """Size and regions."""
        return repr((self._size, self._region_size)).encode()


# --arch -> what suits images better than the preset: a recurrent decoder attends to the regions
# themselves (Xu et al. 2015).
_FOR_IMAGES: Mapping[str, Mapping[str, object]] = {
    "rnn": {"n_encoder_layers": 0},
    "transformer": {"positions": "sinusoidal"},  # regions stand in a plane, not in a line
}


class ImageSources(FileSources):
    """Images, decoded once into the work folder."""

    no_pair: ClassVar[str] = "lines are image<TAB>caption"

    def __init__(
        self, options: SourceOptions, work: Path, like: SourceConfig | None, *, share_vocab: bool
    ) -> None:
        super().__init__(options, work, like, share_vocab=share_vocab)
        self._region_size = like.region_size if like else options.region_size
        self._size = (like.image_height, like.image_width) if like else options.size

    def _writer(self, name: str) -> ImageCacheWriter:
        size = self._size if name == TRAIN else self._cache(TRAIN).size
        root = self._options.image_root
        return ImageCacheWriter(self._work, name, size, self._region_size, root)

    def remarks(self, name: str) -> list[str]:
        """That some files have several images."""
        several, first = self._cache(name).several
        if not several:
            return []
        more = f", like {plural(several - 1, 'other file')}" if several > 1 else ""
        return [f"{first}: {SEVERAL}{more}: the first one is read"]

    def side(self, tokenizer: Tokenizer) -> ImageSide:
        """Images of the corpus's size."""
        return ImageSide(*self._cache(TRAIN).size, self._region_size)

    def contents(self, name: str) -> Contents:
        """The images, from the work folder."""
        cache = self._cache(name)
        return lambda rows, texts: list(cache.pictures(rows))

    def model_parts(
        self, arch: str, decoder: str
    ) -> tuple[Mapping[str, object], Mapping[str, object]]:
        """What the regions are made of, and by what."""
        height, width = self._cache(TRAIN).size
        fixed = {
            "source": self._options.source,
            "image_encoder": self._options.image_encoder,
            "image_height": height,
            "image_width": width,
            "region_size": self._region_size,
        }
        return _FOR_IMAGES.get(arch, {}), fixed

    def _cache(self, name: str) -> ImageCache:
        return ImageCache(self._work, name)
