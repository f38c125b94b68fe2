"""Which tokens were replaced: batches and objective of a detector (Clark et al. 2020, ELECTRA).

Shapes: B batch, T length, D d_model, n hidden tokens, N tokens that are asked about.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from attn_cli.config.pretraining import PretrainCommand
from attn_cli.data.masking import REPLACEMENT, uniform
from attn_cli.models.stack import Bert
from attn_cli.models.text import TextModel
from attn_cli.nn.losses import linear_cross_entropy
from attn_cli.systems.pretraining.base import PretrainingObjective
from attn_cli.systems.pretraining.generator import Generator, drawn_tokens
from attn_cli.systems.pretraining.masked import MaskedBatch, MaskedReader
from attn_cli.train.spread import Spread, alone

_STEPS = 1 << 24  # of a random number: all of them are float32


@dataclass(frozen=True)
class ReplacedBatch(MaskedBatch):
    """Padded inputs with hidden tokens, and what decides which tokens come in their place.

    Attributes:
        asked: which tokens the detector judges: all but special ones and padding. Shape: (B, T),
            boolean.
        numbers: uniform in [0, 1), what a replacement is drawn by. Shape: (B, T).
        detection_weight: of a judged token's loss; it makes the sum over the whole batch, divided
            by the hidden tokens, λ times the mean over judged ones. Parts of a batch keep it.
    """

    asked: Tensor
    numbers: Tensor
    detection_weight: float = field(kw_only=True)

    def without_targets(self) -> Self:
        """See `Batch`."""
        return dataclasses.replace(super().without_targets(), asked=torch.zeros_like(self.asked))


@dataclass
class ReplacedReader(MaskedReader):
    """Full sentences with hidden tokens, for a generator and a detector."""

    def completed(self, batch: MaskedBatch, keys: NDArray[np.uint64], seed: int) -> ReplacedBatch:
        """See `MaskedReader`."""
        asked = self.masker.maskable[batch.gold.numpy()]
        numbers = np.floor(uniform(keys, seed, REPLACEMENT) * _STEPS) / _STEPS
        weight = self.masking.detection_weight * batch.n_tokens / max(1, int(asked.sum()))
        return ReplacedBatch(
            **vars(batch),
            asked=torch.from_numpy(asked),
            numbers=torch.from_numpy(numbers.astype(np.float32)),
            detection_weight=weight,
        )


class Detected(NamedTuple):
    """What came of a batch.

    Attributes:
        loss: the generator's, a sum over hidden tokens, with label smoothing.
        nll: the same without.
        logits: of having been replaced. Shape: (N,).
        replaced: whether it was. Shape: (N,), boolean.
    """

    loss: Tensor
    nll: Tensor
    logits: Tensor
    replaced: Tensor

    @property
    def detection_loss(self) -> Tensor:
        """A sum over the tokens that were asked about."""
        gold = self.replaced.to(self.logits.dtype)
        return F.binary_cross_entropy_with_logits(self.logits, gold, reduction="sum")


class ReplacedObjective(PretrainingObjective[ReplacedBatch]):
    """min -Σ ln p_G(wᵢ) - λ Σ [ln D(w̃ₜ) or ln(1 - D(w̃ₜ))] (Clark et al. 2020, section 2).

    The generator G predicts hidden tokens; what is drawn from it comes in their place; the detector
    D says of every token whether it was replaced. A token that is drawn as it was is an original.
    No gradient flows through the draws, and G does not try to deceive D. λ stands in the batch.

    Args:
        model: the detector, a BERT with a head `rtd`.
        label_smoothing: ε, of the generator.
        share: the generator's width, in widths of the detector.
    """

    partner: Generator

    def __init__(self, model: TextModel, label_smoothing: float, share: float = 0.25) -> None:
        assert isinstance(model.backbone, Bert)
        super().__init__(model, label_smoothing, Generator(model.backbone.config, share))

    @classmethod
    def as_asked(cls, model: TextModel, options: PretrainCommand) -> Self:
        """See `PretrainingObjective`."""
        return cls(model, options.training.label_smoothing, options.masking.generator_size)

    @property
    def averaged(self) -> nn.Module:
        """Detector and generator: a validation computes with both, on one table of embeddings."""
        return self

    @property
    def unused(self) -> Iterable[nn.Parameter]:
        """The pooler."""
        return self._backbone.pooler.parameters()

    @property
    def _backbone(self) -> Bert:
        backbone = self.model.backbone
        assert isinstance(backbone, Bert)
        return backbone

    def forward(self, batch: ReplacedBatch) -> tuple[Tensor, Tensor]:
        """The loss, a sum over hidden tokens and weighted judged ones; and the generator's own."""
        found = self.detected(batch)
        return found.loss + batch.detection_weight * found.detection_loss, found.nll

    def detected(self, batch: ReplacedBatch) -> Detected:
        """Replaces the hidden tokens of a batch, and judges all of its tokens."""
        backbone = self._backbone
        embedded = backbone.embedding(batch.ids, batch.segments)
        vectors = self.partner(embedded, batch.mask, batch.masked)
        weight, bias = backbone.token_vectors.weight, self.partner.head.output_bias
        gold = batch.gold[batch.masked]
        loss, nll = linear_cross_entropy(vectors, weight, bias, gold, self.label_smoothing)
        drawn = drawn_tokens(vectors, weight, bias, batch.numbers[batch.masked])
        read = batch.gold.masked_scatter(batch.masked, drawn)
        judged = backbone.at(read, batch.mask, batch.segments, batch.asked)
        logits = self.model.heads["rtd"](judged).float()
        return Detected(loss, nll, logits, (read != batch.gold)[batch.asked])

    @torch.inference_mode()
    def figures(self, batches: Sequence[ReplacedBatch], spread: Spread = alone) -> dict[str, float]:
        """The loss, the generator's perplexity, and how well its tokens are detected."""
        device = next(self.parameters()).device

        def measured(batch: ReplacedBatch) -> tuple[float, float, NDArray, NDArray]:
            found = self.detected(batch.to(device))
            logits, replaced = found.logits.cpu().numpy(), found.replaced.cpu().numpy()
            return float(found.nll), float(found.detection_loss), logits, replaced

        nlls, losses, logits, replaced = zip(*spread(measured, batches), strict=True)
        nll, scores, gold = sum(nlls), np.concatenate(logits), np.concatenate(replaced)
        weight = sum(batch.detection_weight * int(batch.asked.sum()) for batch in batches)
        tokens = max(sum(batch.n_tokens for batch in batches), 1)
        mean = sum(losses) / max(len(gold), 1)
        return {
            "loss": nll / tokens + weight / tokens * mean,
            "perplexity": math.exp(min(nll / tokens, 700)),
            "detection_loss": mean,
            **detection_figures(scores, gold),
        }


def detection_figures(scores: NDArray[np.float32], gold: NDArray[np.bool_]) -> dict[str, float]:
    """How well scores above 0 tell the replaced ones.

    Accuracy; F1 of what was replaced; and the area under the ROC curve, the probability that a
    replaced token has a higher score than an original, equal scores counting half (Mann & Whitney
    1947).

    Args:
        scores: Shape: (N,).
        gold: which of them belong to a replaced token. Shape: (N,).
    """
    called = scores > 0
    right = int((called & gold).sum())
    positive, negative = int(gold.sum()), int((~gold).sum())
    _, group, sizes = np.unique(scores, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(sizes) - (sizes - 1) / 2)[group]
    above = float(ranks[gold].sum()) - positive * (positive + 1) / 2
    return {
        "detection_accuracy": float((called == gold).mean()) if len(gold) else 0.0,
        "detection_f1": 2 * right / max(1, int(called.sum()) + positive),
        "detection_auc": above / (positive * negative) if positive and negative else 0.5,
    }
