"""Pairs of lines -> batches for sequence to sequence.

Shapes: B batch, S source length, T target length.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from attn_cli.data.batching import RowSource, cut_by_budget
from attn_cli.data.corpus import Corpus
from attn_cli.data.tokenizer import Tokenizer

_CHARS_PER_TOKEN = 32  # more than tokens have on the average of a line's beginning


@dataclass(frozen=True)
class Seq2SeqBatch:
    """Padded pairs.

    Attributes:
        src_ids: source tokens and eos. Shape: (B, S).
        src_mask: which of them are real. Shape: (B, S), boolean.
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

    def rows(self, which: slice) -> Seq2SeqBatch:
        """Some of the pairs."""
        return Seq2SeqBatch(*(tensor[which] for tensor in self._tensors()))

    def without_targets(self) -> Seq2SeqBatch:
        """The same shapes with nothing to predict: what an idle rank computes to keep step."""
        return Seq2SeqBatch(*self._tensors()[:3], torch.zeros_like(self.tgt_mask))

    def to(self, device: torch.device) -> Seq2SeqBatch:
        """The batch on a device."""
        return Seq2SeqBatch(*(tensor.to(device, non_blocking=True) for tensor in self._tensors()))

    def _tensors(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        return self.src_ids, self.src_mask, self.tgt_ids, self.tgt_mask


def pad(rows: Sequence[Sequence[int]], pad_id: int) -> tuple[Tensor, Tensor]:
    """Token lists as one matrix, and which of it is real. Shape: (B, longest) each."""
    width = max((len(row) for row in rows), default=0)
    ids = np.full((len(rows), width), pad_id, np.int64)
    mask = np.zeros((len(rows), width), bool)
    for i, row in enumerate(rows):
        ids[i, : len(row)] = row
        mask[i, : len(row)] = True
    return torch.from_numpy(ids), torch.from_numpy(mask)


class RowNumbers(Protocol):
    """Which rows of a corpus are used: an array of their numbers, or a rule (`split.Rows`)."""

    def __len__(self) -> int:
        """How many rows."""

    def __getitem__(self, numbers: NDArray[np.int64], /) -> NDArray[np.int64]:
        """Rows of the corpus, given numbers among the used ones. Shape: (M,) -> (M,)."""


@dataclass
class PairReader:
    """Reads, tokenizes and cuts pairs into batches.

    Attributes:
        corpus: rows of source and target.
        rows: which rows of the corpus are used. Shape: (n,).
        src_tokenizer: of the source.
        tgt_tokenizer: of the target.
        batch_tokens: the budget of a batch.
        max_len: longer lines are cut after so many tokens.
        say: is told, once, that lines are cut.
        sample_alpha: strength of subword regularization; 0: always the best segmentation.
    """

    corpus: Corpus
    rows: RowNumbers
    src_tokenizer: Tokenizer
    tgt_tokenizer: Tokenizer
    batch_tokens: int
    max_len: int
    sample_alpha: float = 0.0
    say: Callable[[str], None] | None = None

    def source(self) -> RowSource:
        """What `batching.stream` walks."""
        return RowSource(len(self.rows), lambda n: self.corpus.sizes(self.rows[n]), self.batches)

    def batches(self, numbers: NDArray[np.int64], seed: int) -> list[Seq2SeqBatch]:
        """The pairs with these numbers as shuffled batches."""
        pairs = self.corpus.read(self.rows[numbers])
        src = self._encode(self.src_tokenizer, [pair[0] for pair in pairs], seed)
        tgt = self._encode(self.tgt_tokenizer, [pair[1] for pair in pairs], seed + 1)
        lengths = [(len(s) + 1, len(t) + 1) for s, t in zip(src, tgt, strict=True)]
        groups = cut_by_budget(lengths, self.batch_tokens, seed)
        return [self._batch([src[i] for i in group], [tgt[i] for i in group]) for group in groups]

    def _encode(self, tokenizer: Tokenizer, texts: list[str], seed: int) -> list[list[int]]:
        limit = min(self.max_len, self.batch_tokens) - 1
        # A tokenizer needs hundreds of bytes a character: not for what is cut off anyway.
        texts = [text[: (limit + 1) * _CHARS_PER_TOKEN] for text in texts]
        if self.sample_alpha:
            encoded = tokenizer.sample(texts, self.sample_alpha, seed)
        else:
            encoded = tokenizer.encode(texts)
        n_cut = sum(len(ids) > limit for ids in encoded)
        if n_cut and self.say:
            self.say(
                f"{n_cut} of the first {len(encoded)} lines of one side are longer than {limit} "
                "tokens and are cut there (--max-len, --batch-tokens)"
            )
            self.say = None
        return [ids[:limit] for ids in encoded]

    def _batch(self, src: list[list[int]], tgt: list[list[int]]) -> Seq2SeqBatch:
        src_eos, tgt_bos, tgt_eos = (
            self.src_tokenizer.eos_id,
            self.tgt_tokenizer.bos_id,
            self.tgt_tokenizer.eos_id,
        )
        src_ids, src_mask = pad([[*ids, src_eos] for ids in src], self.src_tokenizer.pad_id)
        padded = [[tgt_bos, *ids, tgt_eos] for ids in tgt]
        tgt_ids, tgt_mask = pad(padded, self.tgt_tokenizer.pad_id)
        return Seq2SeqBatch(src_ids, src_mask, tgt_ids, tgt_mask[:, 1:])
