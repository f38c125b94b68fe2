"""Where a translation training's sources come from: the columns themselves, or files they name."""

from __future__ import annotations

import contextlib
from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from attn_cli.config.image import SourceConfig, SourceOptions
from attn_cli.data.corpus import Corpus, CorpusFiles, RowCheck, build_corpus
from attn_cli.data.split import hold_out, hold_out_groups
from attn_cli.lines.unusable import BadLines
from attn_cli.systems.translation.image_cache import ImageCache, ImageCacheWriter
from attn_cli.systems.translation.pairs import Contents, texts_alone
from attn_cli.systems.translation.sources import ImageSide, SourceSide, TextSide
from attn_cli.tokenizers.tokenizer import Tokenizer

TRAIN, DEV = "train", "dev"  # names of the corpora in the work folder


class TrainingSources(ABC):
    """What a kind of source adds to the preparation of a training and to its batches.

    Args:
        options: how sources are read.
        work: where corpora are indexed.
        like: the model that is trained further, if one is: it decides how.

    Attributes:
        no_pair: what a corpus without a pair should have had.
        text_columns: for each tokenizer that is to be trained, the columns that it is trained on.
        refused: options of a corpus that such a source can't have, and how they are spelt.
    """

    no_pair: ClassVar[str]
    refused: ClassVar[Mapping[str, str]] = {}
    text_columns: list[tuple[int, ...]]

    def __init__(
        self, options: SourceOptions, work: Path, like: SourceConfig | None, *, share_vocab: bool
    ) -> None:
        self._options = options
        self._work = work
        self._like = like

    @abstractmethod
    def index(self, files: CorpusFiles, name: str, bad: BadLines, check: RowCheck) -> Corpus:
        """Checks every line of a corpus, `TRAIN` first, and indexes the usable ones."""

    @abstractmethod
    def hold_out(self, corpus: Corpus, seed: int) -> NDArray[np.int64]:
        """Rows of the training corpus that validate; see `split.hold_out`."""

    @abstractmethod
    def side(self, tokenizer: Tokenizer) -> SourceSide:
        """What the model reads, once the training corpus is indexed."""

    @abstractmethod
    def contents(self, name: str) -> Contents:
        """What the source columns of a corpus stand for."""

    @abstractmethod
    def groups(self, name: str, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        """Equal numbers for rows whose targets are references of one source. Shape: (M,)."""

    @abstractmethod
    def fingerprint(self, name: str) -> str:
        """Follows from what a corpus's sources stand for, beyond its lines."""

    @abstractmethod
    def model_parts(self, arch: str) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
        """Parts of a model's configuration: what suits the architecture, and what is fixed."""


class TextSources(TrainingSources):
    """Texts: the columns themselves."""

    no_pair: ClassVar[str] = "lines are source<TAB>target"

    def __init__(
        self, options: SourceOptions, work: Path, like: SourceConfig | None, *, share_vocab: bool
    ) -> None:
        super().__init__(options, work, like, share_vocab=share_vocab)
        self.text_columns = [(0, 1)] if share_vocab else [(0,), (1,)]

    def index(self, files: CorpusFiles, name: str, bad: BadLines, check: RowCheck) -> Corpus:
        """See `TrainingSources`."""
        return build_corpus(files, self._work, name, bad, check)

    def hold_out(self, corpus: Corpus, seed: int) -> NDArray[np.int64]:
        """Pairs that stand once in the corpus."""
        return hold_out(corpus, seed)

    def side(self, tokenizer: Tokenizer) -> TextSide:
        """Its tokens."""
        return TextSide(tokenizer)

    def contents(self, name: str) -> Contents:
        """The texts."""
        return texts_alone

    def groups(self, name: str, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        """Each pair by itself."""
        return np.arange(len(rows))

    def fingerprint(self, name: str) -> str:
        """Nothing beyond them."""
        return ""

    def model_parts(self, arch: str) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
        """None."""
        return {}, {}


# --arch -> what suits images better than the preset: a recurrent decoder attends to the regions
# themselves (Xu et al. 2015).
_FOR_IMAGES: Mapping[str, Mapping[str, Any]] = {"rnn": {"n_encoder_layers": 0}}


class ImageSources(TrainingSources):
    """Images: files that the column names, decoded once into the work folder."""

    no_pair: ClassVar[str] = "lines are image<TAB>caption"
    refused: ClassVar[Mapping[str, str]] = {
        "--share-vocab": "--separate-vocab",
        "--embeddings": "--embeddings",
    }
    text_columns: list[tuple[int, ...]] = [(1,)]

    def __init__(
        self, options: SourceOptions, work: Path, like: SourceConfig | None, *, share_vocab: bool
    ) -> None:
        super().__init__(options, work, like, share_vocab=share_vocab)
        self._region_size = like.region_size if like else options.region_size
        self._size = (like.image_height, like.image_width) if like else options.size

    def index(self, files: CorpusFiles, name: str, bad: BadLines, check: RowCheck) -> Corpus:
        """See `TrainingSources`; every image is decoded."""
        size = self._size if name == TRAIN else self._cache(TRAIN).size
        place = self._work, name, size, self._region_size, self._options.image_root
        with contextlib.closing(ImageCacheWriter(*place)) as writer:
            corpus = build_corpus(
                files,
                self._work,
                name,
                bad,
                check,
                lambda fields, folder: writer.problem(fields[0], folder),
            )
            writer.finish()
        return corpus

    def hold_out(self, corpus: Corpus, seed: int) -> NDArray[np.int64]:
        """Whole images: no caption of a held-out one is trained on."""
        return hold_out_groups(np.asarray(self._cache(TRAIN).numbers), seed)

    def side(self, tokenizer: Tokenizer) -> ImageSide:
        """Images of the corpus's size."""
        return ImageSide(*self._cache(TRAIN).size, self._region_size)

    def contents(self, name: str) -> Contents:
        """The images, from the work folder."""
        cache = self._cache(name)
        return lambda rows, texts: list(cache.pictures(rows))

    def groups(self, name: str, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        """Captions of one image together."""
        return self._cache(name).numbers[rows]

    def fingerprint(self, name: str) -> str:
        """Of the pixels."""
        return self._cache(name).fingerprint

    def model_parts(self, arch: str) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
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


SOURCES: dict[str, type[TrainingSources]] = {"text": TextSources, "image": ImageSources}
