"""Texts as sources: the lines themselves, as tokens.

Shapes: B batch, S tokens.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import ClassVar, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from attn_cli.config.source import SourceConfig, SourceOptions
from attn_cli.data.corpus import Corpus, Indexing, build_corpus
from attn_cli.data.entries import CorpusFiles
from attn_cli.data.line_index import RowCheck
from attn_cli.data.long_input import split_long
from attn_cli.data.padding import cut_ids, pad
from attn_cli.data.split import hold_out
from attn_cli.lines.rows import is_blank
from attn_cli.lines.unusable import BadLines
from attn_cli.systems.translation.source_base import Contents, Side, TrainingSources
from attn_cli.threads import on_this_machine
from attn_cli.tokenizers.tokenizer import Tokenizer
from attn_cli.tokenizers.words import words_of_tokens
from attn_cli.viz.maps import Axis, token_axis
from attn_cli.workers import Crew

Ids = tuple[int, ...]


def texts_alone(rows: NDArray[np.int64], texts: list[str]) -> list[str]:
    """A text stands for itself."""
    return texts


class TextSide(Side[str, Ids]):
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

    def knows(self, content: str) -> bool:
        """Whether a piece of it is known."""
        return self.tokenizer.knows(self.tokenizer.encode([content])[0])

    def parts(self, text: str, limit: int) -> list[str]:
        """Cut at sentence ends (see `long_input`)."""
        if len(text) <= limit and not is_blank(text):
            return [text]
        return split_long(text, self.tokenizer, limit)

    def encode(self, contents: Sequence[str]) -> list[Ids]:
        """Tokens and eos."""
        return [(*ids, self.tokenizer.eos_id) for ids in self.tokenizer.encode(contents)]

    def learnt(
        self, contents: Sequence[str], limit: int, alpha: float, seed: int
    ) -> tuple[list[Ids], list[int]]:
        """Tokens, cut after `limit` - 1, and eos."""
        begun, cut = cut_ids(self.tokenizer, contents, limit - 1, alpha, seed)
        return [(*ids, self.tokenizer.eos_id) for ids in begun], cut

    def collate(self, items: Sequence[Ids]) -> tuple[Tensor, Tensor]:
        """Padded tokens. Shape: (B, S), (B, S)."""
        return pad(items, self.tokenizer.pad_id)

    def words(self, item: Ids) -> list[int]:
        """Words as white space separates them, without eos."""
        return words_of_tokens(self.tokenizer, item[:-1])

    def axis(self, item: Ids, text: str) -> Axis:
        """Its tokens, and their words."""
        return token_axis(self.tokenizer, item, [text])

    @property
    def blank(self) -> Ids:
        """A text without tokens."""
        return (self.tokenizer.eos_id,)

    @property
    def fingerprint(self) -> bytes:
        """The tokenizer's bytes."""
        return self.tokenizer.to_bytes()


class TextSources(TrainingSources):
    """Texts: the columns themselves."""

    no_pair: ClassVar[str] = (
        "lines are source<TAB>target; two parallel files are named by --src and --tgt"
    )

    def __init__(
        self, options: SourceOptions, work: Path, like: SourceConfig | None, *, share_vocab: bool
    ) -> None:
        super().__init__(options, work, like, share_vocab=share_vocab)
        self.text_columns = [(0, 1)] if share_vocab else [(0,), (1,)]

    def index(
        self,
        files: CorpusFiles,
        name: str,
        bad: BadLines,
        check: RowCheck,
        say: Callable[[str], None],
    ) -> Corpus:
        """See `TrainingSources`."""
        crew = Crew(on_this_machine(torch.get_num_threads()))
        return build_corpus(
            files, self._work, name, bad, check, indexing=Indexing(say=say, crew=crew)
        )

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

    def model_parts(
        self, arch: str, decoder: str
    ) -> tuple[Mapping[str, object], Mapping[str, object]]:
        """That it is of texts."""
        return {}, {"source": self._options.source}
