"""Pairs of lines -> batches of which some target tokens are hidden.

Shapes: B batch, T target length.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from attn_cli.data.masking import any_number
from attn_cli.systems.translation.pairs import PairReader, Seq2SeqBatch

_MASKS = 1  # sets the numbers that hide tokens apart from those that order a pool
_NOT_ASKED = -1


@dataclass(frozen=True)
class MaskedPairs(Seq2SeqBatch):
    """Padded pairs; of the targets (never their end) the hidden tokens are to be predicted.

    Attributes:
        lengths: tokens of each target without bos and eos, which are to be predicted, too; -1
            where they are not. Shape: (B,).
    """

    lengths: Tensor

    @property
    def n_tokens(self) -> int:
        """What is to be predicted: hidden tokens and lengths."""
        return int(self.tgt_mask.sum()) + int((self.lengths != _NOT_ASKED).sum())

    @property
    def n_read(self) -> int:
        """Tokens that the decoder reads, hidden or not."""
        return int(self.lengths.clamp(min=0).sum())

    @property
    def inner(self) -> Tensor:
        """The targets without bos and eos; what is not real may be anything. Shape: (B, T - 1)."""
        return self.tgt_ids[:, 1:-1]

    @property
    def hidden(self) -> Tensor:
        """Which of `inner` are to be predicted. Shape: (B, T - 1), boolean."""
        return self.tgt_mask[:, :-1]

    @property
    def real(self) -> Tensor:
        """Which of `inner` are no padding. Shape: (B, T - 1), boolean."""
        places = torch.arange(self.hidden.shape[1], device=self.lengths.device)
        return places < self.lengths[:, None]

    def without_targets(self) -> Self:
        """See `Seq2SeqBatch.without_targets`."""
        nothing = torch.zeros_like(self.tgt_mask)
        not_asked = torch.full_like(self.lengths, _NOT_ASKED)
        return dataclasses.replace(self, tgt_mask=nothing, lengths=not_asked)

    def _tensors(self) -> tuple[Tensor, ...]:
        return *super()._tensors(), self.lengths


class MaskedPairReader(PairReader):
    """A `PairReader` that hides tokens anew each time a pair comes by.

    Which ones follows from the pool's seed, so a training that resumes hides the same as one that
    was never stopped, whatever the number of processes.
    """

    def batches(self, numbers: NDArray[np.int64], seed: int) -> list[Seq2SeqBatch]:
        """The pairs with these numbers as shuffled batches of `MaskedPairs`."""
        rng = np.random.default_rng((seed, _MASKS))
        return [_masked(batch, rng) for batch in super().batches(numbers, seed)]


def _masked(batch: Seq2SeqBatch, rng: np.random.Generator) -> MaskedPairs:
    lengths = batch.tgt_mask.sum(1) - 1  # without eos
    hidden = any_number(lengths.numpy(), batch.tgt_mask.shape[1], rng)
    tensors = batch.src_ids, batch.src_mask, batch.tgt_ids
    return MaskedPairs(*tensors, torch.from_numpy(hidden), lengths)
