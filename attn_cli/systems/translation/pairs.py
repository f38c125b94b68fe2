"""Pairs of lines -> batches for sequence to sequence.

Shapes: B batch, S source length, T target length.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence, Sized
from dataclasses import dataclass
from typing import Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from attn_cli.data.batching import Batch, RowReader, RowSource, cut_by_budget, moved
from attn_cli.data.corpus import Corpus
from attn_cli.data.padding import cut_ids, pad
from attn_cli.data.split import RowNumbers
from attn_cli.systems.translation.source_base import Contents, SourceSide
from attn_cli.systems.translation.text_source import texts_alone
from attn_cli.tokenizers.tokenizer import Tokenizer

_LOOKED_AT = 2000  # pairs by whose words sides are told apart


@dataclass(frozen=True)
class Seq2SeqBatch(Batch):
    """Padded pairs.

    Attributes:
        src_ids: what the model reads: source tokens and eos, (B, S), or an image's pixels.
        src_mask: of its tokens or regions. Shape: (B, S), boolean.
        tgt_ids: bos, target tokens, eos. Shape: (B, T + 1).
        tgt_mask: which of `tgt_ids[:, 1:]` are to be predicted. Shape: (B, T), boolean.
    """

    src_ids: Tensor
    src_mask: Tensor
    tgt_ids: Tensor
    tgt_mask: Tensor

    def __len__(self) -> int:
        return len(self.src_ids)

    @property
    def n_tokens(self) -> int:
        """Tokens to be predicted."""
        return int(self.tgt_mask.sum())

    def rows(self, which: slice | Tensor) -> Self:
        """Some of the pairs."""
        return type(self)(*(tensor[which] for tensor in self._tensors()))

    def without_targets(self) -> Self:
        """The same shapes with nothing to predict: what an idle rank computes to keep step."""
        return dataclasses.replace(self, tgt_mask=torch.zeros_like(self.tgt_mask))

    def to(self, device: torch.device) -> Self:
        """The batch on a device."""
        return type(self)(*(moved(tensor, device) for tensor in self._tensors()))

    def _tensors(self) -> tuple[Tensor, ...]:
        return self.src_ids, self.src_mask, self.tgt_ids, self.tgt_mask


Encoded = tuple[Sized, Sequence[int]]  # a pair: what the model reads, target tokens


@dataclass
class PairReader(RowReader[Seq2SeqBatch, Encoded]):
    """Reads, tokenizes and cuts pairs into batches.

    Attributes:
        corpus: rows of source and target.
        rows: which rows of the corpus are used. Shape: (n,).
        src: what sources are.
        tgt_tokenizer: of the target.
        batch_tokens: the budget of a batch.
        max_len: longer lines are cut after so many tokens.
        n_positions: of a text that the model tells apart; None: any number.
        say: is told, once, that lines are cut.
        sample_alpha: strength of subword regularization; 0: always the best segmentation.
        contents: what the sources of rows stand for.
    """

    corpus: Corpus
    rows: RowNumbers
    src: SourceSide
    tgt_tokenizer: Tokenizer
    batch_tokens: int
    max_len: int
    n_positions: int | None = None
    sample_alpha: float = 0.0
    say: Callable[[str], None] | None = None
    contents: Contents = texts_alone

    def source(self) -> RowSource[Seq2SeqBatch, Encoded]:
        """What `batching.stream` walks."""
        each = self.src.n_bytes
        sizes: Callable = lambda n: self.corpus.sizes(self.rows[n]) + each  # noqa: E731
        return RowSource(len(self.rows), sizes, self, is_shared=not self.src.reads_files)

    def read(self, numbers: NDArray[np.int64]) -> list[tuple[str, Sized, str]]:
        """Source column, what it stands for, and target of the pairs with these numbers."""
        rows = self.rows[numbers]
        pairs = self.corpus.read(rows)
        contents = self.contents(rows, [pair[0] for pair in pairs])
        return [(src, content, tgt) for (src, tgt), content in zip(pairs, contents, strict=True)]

    def lengths(self, numbers: NDArray[np.int64]) -> list[int]:
        """What a batch counts of the pairs with these numbers: the tokens of the longer side."""
        pairs, limit = self.read(numbers), self.max_len
        src, _ = self.src.learnt([content for _, content, _ in pairs], limit, 0.0, 0)
        tgt, _ = cut_ids(self.tgt_tokenizer, [text for _, _, text in pairs], limit - 1, 0.0, 0)
        return [max(len(s), len(t) + 1) for s, t in zip(src, tgt, strict=True)]

    def encode(self, numbers: NDArray[np.int64], seed: int) -> list[Encoded]:
        """The pairs with these numbers as tokens."""
        pairs = self.read(numbers)
        alpha, limit = self.sample_alpha, min(self.max_len, self.batch_tokens)
        limit = min(limit, max(2, self.n_positions or limit))
        src, cut = self.src.learnt([content for _, content, _ in pairs], limit, alpha, seed)
        self._say_cut(cut, numbers, 0, limit)
        texts = [text for _, _, text in pairs]
        tgt, cut = cut_ids(self.tgt_tokenizer, texts, limit - 1, alpha, seed + 1)
        self._say_cut(cut, numbers, 1, limit)
        return list(zip(src, tgt, strict=True))

    def cut(self, items: Sequence[Encoded], seed: int) -> list[Seq2SeqBatch]:
        """Pairs as shuffled batches."""
        lengths = [(len(src), len(tgt) + 1) for src, tgt in items]
        groups = cut_by_budget(lengths, self.batch_tokens, seed)
        return [self._batch([items[i] for i in group]) for group in groups]

    def _say_cut(
        self, cut: Sequence[int], numbers: NDArray[np.int64], side: int, limit: int
    ) -> None:
        """Says, once, that some lines of a side, 0 or 1, are cut."""
        if cut and self.say:
            options = "--max-len, --batch-tokens"
            if limit < min(self.max_len, self.batch_tokens):
                options = "--max-positions"
            where = self.corpus.where(int(self.rows[numbers[cut[:1]]][0]), side)
            self.say(
                f"{where}: a {('source', 'target')[side]} of more than {limit - 1:,} tokens, cut "
                f"there, as {len(cut):,} of the first {len(numbers):,} are "
                f"({options})"
            )
            self.say = None

    def _batch(self, items: Sequence[Encoded]) -> Seq2SeqBatch:
        src_ids, src_mask = self.src.collate([src for src, _ in items])
        tgt_bos, tgt_eos = self.tgt_tokenizer.bos_id, self.tgt_tokenizer.eos_id
        padded = [[tgt_bos, *ids, tgt_eos] for _, ids in items]
        tgt_ids, tgt_mask = pad(padded, self.tgt_tokenizer.pad_id)
        return Seq2SeqBatch(src_ids, src_mask, tgt_ids, tgt_mask[:, 1:])


def sides_swapped(train: Corpus, dev: Corpus) -> bool:
    """Whether the dev pairs' sources are in the language of the training's targets, and vice versa.

    Told by the words that they share, of the first pairs of both; sides of one language never are.
    """
    src, tgt = (_words(train, side) for side in (0, 1))
    dev_src, dev_tgt = (_words(dev, side) for side in (0, 1))
    straight = _share(dev_src, src) + _share(dev_tgt, tgt)
    crossed = _share(dev_src, tgt) + _share(dev_tgt, src)
    return crossed > 0.5 and crossed > 2 * straight


def _words(corpus: Corpus, side: int) -> set[str]:
    rows = corpus.read(np.arange(min(len(corpus), _LOOKED_AT)))
    return {word for row in rows for word in row[side].lower().split()}


def _share(words: set[str], known: set[str]) -> float:
    return len(words & known) / max(1, len(words))
