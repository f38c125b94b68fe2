"""What a kind of source is: how it is read, by a translator and by its training.

The loop, the search and the commands know a source as an item with a length, and what a model takes
as two tensors: a batch of items, and their mask.

Shapes: B batch, S positions of a source (tokens or regions).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence, Sized
from pathlib import Path
from typing import Any, ClassVar, Generic, Self, TypeAlias, TypeVar

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from attn_cli.config.source import SourceConfig, SourceOptions
from attn_cli.data.corpus import Corpus
from attn_cli.data.entries import CorpusFiles
from attn_cli.data.line_index import RowCheck
from attn_cli.data.split import RowNumbers
from attn_cli.lines.unusable import BadLines
from attn_cli.tokenizers.tokenizer import Tokenizer
from attn_cli.viz.maps import Axis

# Numbers of rows of a corpus and their source columns -> what these stand for.
Contents = Callable[[NDArray[np.int64], list[str]], Sequence[Sized]]
Content = TypeVar("Content", bound=Sized)  # what a line stands for: a text, a picture
Config = TypeVar("Config", bound=SourceConfig)
Item = TypeVar("Item", bound=Sized)  # what a model reads of it: tokens, a picture


class Side(ABC, Generic[Content, Item]):
    """One side of pairs.

    Attributes:
        reads_files: whether a line names a file, which is what is read.
        vocab_size: of the model's embeddings of it; 0 where it has none.
        n_bytes: that an item needs besides its line.
        most_lines: that are held in memory at once.
        output_len: tokens of an output, from which its limit is derived; None: those of the item.
        longest: positions of an item that is read whole, unless another bound is asked for; None:
            as many as a text may have.
        positions_a_second: of sound; None: it is none.
        limit_flag: the option that bounds an item.
    """

    reads_files: ClassVar[bool]
    positions_a_second: ClassVar[float | None] = None
    limit_flag: ClassVar[str] = "--max-input"
    vocab_size: int
    n_bytes: int = 0
    most_lines: int = 1 << 30
    output_len: int | None = None
    longest: int | None = None

    @classmethod
    @abstractmethod
    def of(cls, config: SourceConfig, tokenizer: Tokenizer) -> Self:
        """What a model of this configuration and tokenizer reads."""

    @abstractmethod
    def read(self, text: str, folder: str) -> Content:
        """What a line that is not blank stands for: its text, or what is in the file it names.

        Args:
            text: the line.
            folder: where relative names start.

        Raises:
            DataError: the file can't be used.
        """

    def knows(self, content: Content) -> bool:
        """Whether any of it is known, as it is of all pictures."""
        return True

    def unread(self, content: Content) -> str | None:
        """What of it is not read, in words; None if all of it is."""
        return None

    def pieces(self, content: Content, limit: int) -> list[Content]:
        """What is in a file, in parts of at most `limit` positions if it can be cut."""
        return [content]

    @abstractmethod
    def parts(self, text: str, limit: int) -> list[str]:
        """The parts of at most `limit` tokens in which a line is read."""

    @abstractmethod
    def encode(self, contents: Sequence[Content]) -> list[Item]:
        """Items of what `read` gave."""

    @abstractmethod
    def learnt(
        self, contents: Sequence[Content], limit: int, alpha: float, seed: int
    ) -> tuple[list[Item], list[int]]:
        """Items as a training sees them, and which of them were cut.

        Args:
            contents: what `read` gave.
            limit: of an item's length.
            alpha: of subword regularization; 0: none.
            seed: of it.
        """

    @abstractmethod
    def collate(self, items: Sequence[Item]) -> tuple[Tensor, Tensor]:
        """What a model takes: the items, and their mask, (B, S)."""

    @abstractmethod
    def words(self, item: Item) -> list[int]:
        """For each position that can be aligned: the word it belongs to, or the region it is."""

    @abstractmethod
    def axis(self, item: Item, text: str) -> Axis:
        """The axis of an item, and of the line that it was read from, in an attention map."""

    @property
    @abstractmethod
    def blank(self) -> Item:
        """The smallest item."""

    @property
    @abstractmethod
    def fingerprint(self) -> bytes:
        """Equal for sides that read alike."""


SourceSide: TypeAlias = Side[Any, Any]  # of one kind or another


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
    def index(
        self,
        files: CorpusFiles,
        name: str,
        bad: BadLines,
        check: RowCheck,
        say: Callable[[str], None],
    ) -> Corpus:
        """Checks every line of a corpus, `TRAIN` first, and indexes the usable ones.

        Args:
            files: of the corpus.
            name: its name in the work folder.
            bad: is told of every unusable line.
            check: says what is wrong with a pair.
            say: is told how far it is.
        """

    def remarks(self, name: str) -> list[str]:
        """What a user should know of a corpus's sources, once it is indexed."""
        return []

    def tokenizer_type(self, n_pairs: int) -> str:
        """The kind of pieces that suits targets of so many such sources; auto: the text decides."""
        return "auto"

    @abstractmethod
    def hold_out(self, corpus: Corpus, seed: int) -> NDArray[np.int64]:
        """Rows of the training corpus that validate; see `split.hold_out`."""

    @abstractmethod
    def side(self, tokenizer: Tokenizer) -> SourceSide:
        """What the model reads, once the training corpus is indexed."""

    @abstractmethod
    def contents(self, name: str) -> Contents:
        """What the source columns of a corpus stand for."""

    def learnt_contents(self, name: str) -> Contents:
        """The same as `Side.learnt` takes it: with what varies from pass to pass."""
        return self.contents(name)

    @abstractmethod
    def groups(self, name: str, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        """Equal numbers for rows whose targets are references of one source. Shape: (M,)."""

    @abstractmethod
    def fingerprint(self, name: str) -> str:
        """Follows from what a corpus's sources stand for, beyond its lines."""

    def remarks_on_pairs(self, corpus: Corpus, rows: RowNumbers, tokenizer: Tokenizer) -> list[str]:
        """What a user should know of the pairs that are trained on, once targets are tokens."""
        return []

    def continued(self, config: Config) -> Config:
        """The configuration of a model that goes on learning."""
        return config

    @abstractmethod
    def model_parts(
        self, arch: str, decoder: str
    ) -> tuple[Mapping[str, object], Mapping[str, object]]:
        """Parts of a model's configuration: what suits the architecture, and what is fixed.

        Args:
            arch: of `--arch`.
            decoder: a key of `models.SEQ2SEQ`.
        """
