"""How conditional masked language models learn: hidden target tokens and the target's length.

Shapes: B batch, T target length, D d_model, L target lengths told apart.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from attn_cli.config import changed
from attn_cli.config.translation import TrainMtCommand
from attn_cli.data.masking import any_number
from attn_cli.errors import UsageError
from attn_cli.models.mask_predict import MaskPredict
from attn_cli.models.seq2seq_base import Seq2SeqModel
from attn_cli.nn.losses import linear_cross_entropy
from attn_cli.systems.translation.pairs import Encoded, PairReader, Seq2SeqBatch
from attn_cli.systems.translation.translator import Translator
from attn_cli.train.objective import Objective

_MASKS = 1  # sets the numbers that hide tokens apart from those that order a pool
IGNORE_INDEX = -1  # a length that is not to be learnt


@dataclass(frozen=True)
class MaskedPairs(Seq2SeqBatch):
    """Padded pairs; of the targets (never their end) the masked tokens are to be predicted.

    Attributes:
        lengths: tokens of each target without bos and eos, which are to be predicted, too; -1
            where they are not. Shape: (B,).
    """

    lengths: Tensor

    @property
    def n_tokens(self) -> int:
        """What is to be predicted: hidden tokens and lengths."""
        return int(self.tgt_mask.sum()) + int((self.lengths != IGNORE_INDEX).sum())

    @property
    def n_read(self) -> int:
        """Tokens that the decoder reads, hidden or not."""
        return int(self.lengths.clamp(min=0).sum())

    @property
    def tokens(self) -> Tensor:
        """The targets without bos and eos; what is not valid may be anything. Shape: (B, T - 1)."""
        return self.tgt_ids[:, 1:-1]

    @property
    def masked(self) -> Tensor:
        """Which of `tokens` are to be predicted. Shape: (B, T - 1), boolean."""
        return self.tgt_mask[:, :-1]

    @property
    def valid(self) -> Tensor:
        """Which of `tokens` are no padding. Shape: (B, T - 1), boolean."""
        positions = torch.arange(self.masked.shape[1], device=self.lengths.device)
        return positions < self.lengths[:, None]

    def without_targets(self) -> Self:
        """See `Seq2SeqBatch.without_targets`."""
        tgt_mask = torch.zeros_like(self.tgt_mask)
        lengths = torch.full_like(self.lengths, IGNORE_INDEX)
        return dataclasses.replace(self, tgt_mask=tgt_mask, lengths=lengths)

    def _tensors(self) -> tuple[Tensor, ...]:
        return *super()._tensors(), self.lengths


class MaskedPairReader(PairReader):
    """A `PairReader` that hides tokens anew each time a pair comes by.

    Which ones follows from the pool's seed, so a training that resumes hides the same as one that
    was never stopped, whatever the number of processes.
    """

    def cut(self, items: Sequence[Encoded], seed: int) -> list[Seq2SeqBatch]:
        """Pairs as shuffled batches of `MaskedPairs`."""
        rng = np.random.default_rng((seed, _MASKS))
        return [_masked(batch, rng) for batch in super().cut(items, seed)]


class MaskPredictObjective(Objective[Seq2SeqBatch]):
    """-Σ ln p(yᵢ | X, tokens that are not hidden) - Σ ln p(N | X) (Ghazvininejad et al. 2019, 3.1).

    The first sum is over hidden tokens, with label smoothing; the second over the targets' lengths
    N, the longest told apart standing for all that are longer.

    Args:
        model: what is trained.
        label_smoothing: ε.
    """

    model: MaskPredict

    def __init__(self, model: MaskPredict, label_smoothing: float) -> None:
        super().__init__(model)
        self.label_smoothing = label_smoothing

    def forward(self, batch: Seq2SeqBatch) -> tuple[Tensor, Tensor]:
        """Sums over what is predicted, tokens and lengths: the loss, and the unsmoothed one."""
        assert isinstance(batch, MaskedPairs)
        vectors, lengths = self.model(
            batch.src_ids, batch.src_mask, batch.tokens, batch.masked, batch.valid
        )
        weight, bias = self.model.output_layer
        gold = batch.tokens[batch.masked]
        loss, nll = linear_cross_entropy(
            vectors[batch.masked], weight, bias, gold, self.label_smoothing
        )
        longest = lengths.shape[1] - 1
        length_nll = F.cross_entropy(
            lengths.float(),
            batch.lengths.clamp(max=longest),
            ignore_index=IGNORE_INDEX,
            reduction="sum",
        )
        return loss + length_nll, nll + length_nll.detach()


def mask_predict_objective(
    model: Seq2SeqModel, options: TrainMtCommand, translator: Translator
) -> MaskPredictObjective:
    """What the training of a mask-predict model minimizes.

    Raises:
        UsageError: terms of a decoder that writes one token after another.
    """
    refused = changed(options.objective, options.learning, options.criterion)
    if refused := refused + ["--ctc-weight"] * bool(options.source.ctc_weight):
        raise UsageError(
            f"--decoder mask-predict learns hidden tokens by their likelihood alone: leave out "
            f"{', '.join(refused)}"
        )
    assert isinstance(model, MaskPredict)
    return MaskPredictObjective(model, options.training.label_smoothing)


def _masked(batch: Seq2SeqBatch, rng: np.random.Generator) -> MaskedPairs:
    lengths = batch.tgt_mask.sum(1) - 1  # without eos
    hidden = any_number(lengths.numpy(), batch.tgt_mask.shape[1], rng)
    tensors = batch.src_ids, batch.src_mask, batch.tgt_ids
    return MaskedPairs(*tensors, torch.from_numpy(hidden), lengths)
