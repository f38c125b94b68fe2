"""What a model reads: texts as tokens, or images as regions; the table by `SourceConfig.source`.

The loop, the search and the commands know a source as an item with a length, and what a model takes
as two tensors: a batch of items, and which of their places are real.

Shapes: B batch, S places of a source (tokens or regions), h height, w width in pixels.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar, Self

import numpy as np
import torch
from torch import Tensor

from attn_cli.config import choose
from attn_cli.config.image import SourceConfig
from attn_cli.data.images import Picture, image_path, read_pixels
from attn_cli.data.long_input import split_long
from attn_cli.data.padding import cut_ids, pad
from attn_cli.errors import DataError
from attn_cli.tokenizers.tokenizer import Tokenizer
from attn_cli.tokenizers.words import words_of_tokens

Ids = tuple[int, ...]
_IMAGE_BYTES = 1 << 28  # of the images that are held at once
_CAPTION = 64  # tokens that an image's caption is expected to have at most, and half of the limit


class SourceSide(ABC):
    """One side of pairs.

    Attributes:
        reads_files: whether a line names a file, which is what is read.
        vocab_size: of the model's embeddings of it; 0 where it has none.
        n_bytes: that an item needs besides its line.
        most_lines: that are held in memory at once.
    """

    reads_files: ClassVar[bool]
    vocab_size: int
    n_bytes: int = 0
    most_lines: int = 1 << 30

    @abstractmethod
    def read(self, text: str, folder: str) -> Any:
        """What a line that is not blank stands for: its text, or what is in the file it names.

        Args:
            text: the line.
            folder: where relative names start.

        Raises:
            DataError: the file can't be used.
        """

    @abstractmethod
    def parts(self, text: str, limit: int) -> list[str]:
        """The parts of at most `limit` tokens in which a line is read."""

    @abstractmethod
    def encode(self, contents: Sequence[Any]) -> list[Any]:
        """Items of what `read` gave."""

    @abstractmethod
    def learnt(
        self, contents: Sequence[Any], limit: int, alpha: float, seed: int
    ) -> tuple[list[Any], int]:
        """Items as a training sees them, and how many of them were cut.

        Args:
            contents: what `read` gave.
            limit: of an item's length.
            alpha: of subword regularization; 0: none.
            seed: of it.
        """

    @abstractmethod
    def collate(self, items: Sequence[Any]) -> tuple[Tensor, Tensor]:
        """What a model takes: the items, and which of their places are real, (B, S)."""

    @abstractmethod
    def output_len(self, item: Any) -> int:
        """The length of an output, in tokens, that a limit on it is derived from."""

    @abstractmethod
    def words(self, item: Any) -> list[int]:
        """For each place that can be aligned, which word it belongs to, or which region it is."""

    @property
    @abstractmethod
    def blank(self) -> Any:
        """The smallest item."""

    @property
    @abstractmethod
    def fingerprint(self) -> bytes:
        """Equal for sides that read alike."""


class TextSide(SourceSide):
    """Texts as tokens and their end."""

    reads_files: ClassVar[bool] = False

    def __init__(self, tokenizer: Tokenizer) -> None:
        self.tokenizer = tokenizer
        self.vocab_size = tokenizer.vocab_size

    @classmethod
    def of(cls, config: SourceConfig, tokenizer: Tokenizer) -> Self:
        """What a model of this configuration and tokenizer reads."""
        return cls(tokenizer)

    def read(self, text: str, folder: str) -> str:
        """The text itself."""
        return text

    def parts(self, text: str, limit: int) -> list[str]:
        """Cut at sentence ends (see `long_input`)."""
        return split_long(text, self.tokenizer, limit)

    def encode(self, contents: Sequence[str]) -> list[Ids]:
        """Tokens and eos."""
        return [(*ids, self.tokenizer.eos_id) for ids in self.tokenizer.encode(contents)]

    def learnt(
        self, contents: Sequence[str], limit: int, alpha: float, seed: int
    ) -> tuple[list[Ids], int]:
        """Tokens, cut after `limit` - 1, and eos."""
        found, n_cut = cut_ids(self.tokenizer, contents, limit - 1, alpha, seed)
        return [(*ids, self.tokenizer.eos_id) for ids in found], n_cut

    def collate(self, items: Sequence[Ids]) -> tuple[Tensor, Tensor]:
        """Padded tokens. Shape: (B, S), (B, S)."""
        return pad(items, self.tokenizer.pad_id)

    def output_len(self, item: Ids) -> int:
        """The text's own."""
        return len(item) - 1

    def words(self, item: Ids) -> list[int]:
        """Words as white space separates them, without eos."""
        return words_of_tokens(self.tokenizer, item[:-1])

    @property
    def blank(self) -> Ids:
        """A text without tokens."""
        return (self.tokenizer.eos_id,)

    @property
    def fingerprint(self) -> bytes:
        """The tokenizer's bytes."""
        return self.tokenizer.to_bytes()


class ImageSide(SourceSide):
    """Images of one size as regions in reading order."""

    reads_files: ClassVar[bool] = True
    vocab_size = 0

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
        return Picture(read_pixels(image_path(text, folder), *self._size), self._region_size)

    def parts(self, text: str, limit: int) -> list[str]:
        """An image is one part."""
        return [text]

    def encode(self, contents: Sequence[Picture]) -> list[Picture]:
        """The images: their model makes regions of them."""
        return list(contents)

    def learnt(
        self, contents: Sequence[Picture], limit: int, alpha: float, seed: int
    ) -> tuple[list[Picture], int]:
        """The images as they are: of a mirrored one, words for left and right would be wrong."""
        return list(contents), 0

    def collate(self, items: Sequence[Picture]) -> tuple[Tensor, Tensor]:
        """Bytes from 0 to 255. Shape: (B, h, w, 3), (B, S)."""
        pixels = torch.from_numpy(np.stack([item.pixels for item in items]))
        return pixels, torch.ones(len(items), len(items[0]), dtype=torch.bool)

    def output_len(self, item: Picture) -> int:
        """That of a caption, which has nothing to do with the number of regions."""
        return _CAPTION

    def words(self, item: Picture) -> list[int]:
        """The regions' numbers."""
        return list(range(len(item)))

    @property
    def blank(self) -> Picture:
        """A black image."""
        return Picture(np.zeros((*self._size, 3), np.uint8), self._region_size)

    @property
    def fingerprint(self) -> bytes:
        """Size and regions."""
        return repr((self._size, self._region_size)).encode()


SIDES: dict[str, type[TextSide] | type[ImageSide]] = {"text": TextSide, "image": ImageSide}


def source_side(config: SourceConfig, tokenizer: Tokenizer) -> SourceSide:
    """What a model reads, by its configuration."""
    return choose(SIDES, config.source, "kind of source").of(config, tokenizer)
