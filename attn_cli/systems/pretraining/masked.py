"""The objective of masked language models, with or without next-sentence prediction.

Shapes: B batch, n hidden tokens, D d_model.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

import torch
from torch import Tensor
from torch.nn import functional as F

from attn_cli.models.text import TextModel
from attn_cli.nn.losses import linear_cross_entropy
from attn_cli.systems.pretraining.masked_reader import MaskedBatch
from attn_cli.train.objective import Objective

_SLICE = 1 << 20  # scores of a validation at a time


class MaskedObjective(Objective[MaskedBatch]):
    """-Σ ln p(wᵢ) over hidden tokens, and -ln p(B follows A) (Devlin et al. 2019, 3.1).

    The second term is there if the model has a head `nsp`. Only the vectors of hidden tokens (and
    of [CLS]) go through the last feed-forward network and the vocabulary, the expensive parts.
    """

    model: TextModel

    def __init__(self, model: TextModel, label_smoothing: float) -> None:
        super().__init__(model)
        self.label_smoothing = label_smoothing

    def forward(self, batch: MaskedBatch) -> tuple[Tensor, Tensor]:
        """The loss, a sum over hidden tokens and weighted pairs; and the tokens' without smoothing.

        Divided by the hidden tokens of a whole batch it is the mean over them plus the mean over
        pairs.
        """
        vectors, pairs = self._outputs(batch)
        weight, bias = self.model.vocabulary_layer
        gold = batch.gold[batch.masked]
        loss, nll = linear_cross_entropy(vectors, weight, bias, gold, self.label_smoothing)
        if pairs is not None:
            asked = F.cross_entropy(pairs, batch.labels, ignore_index=-1, reduction="sum")
            loss = loss + batch.pair_weight * asked
        return loss, nll

    def _outputs(self, batch: MaskedBatch) -> tuple[Tensor, Tensor | None]:
        """What the vocabulary scores are made of, and the scores of the pairs.

        Shape: (n, D), (B, 2).
        """
        model, masked = self.model, batch.masked
        if "nsp" not in model.heads:
            vectors = model.trunk.at(batch.ids, batch.mask, batch.segments, masked)
            return model.heads["mlm"](vectors), None
        first = torch.zeros_like(masked)
        first[:, 0] = True
        chosen = masked | first
        vectors = model.trunk.at(batch.ids, batch.mask, batch.segments, chosen)
        pooled = model.trunk.pool(vectors[first[chosen]][:, None], batch.mask)
        return model.heads["mlm"](vectors[masked[chosen]]), model.heads["nsp"](pooled).float()

    @torch.inference_mode()
    def figures(self, batches: Iterable[MaskedBatch]) -> dict[str, float]:
        """Loss, perplexity and accuracy of hidden tokens, and accuracy of pairs."""
        sums = torch.zeros(6, dtype=torch.float64)
        for batch in batches:
            sums += self._measured(batch.to(next(self.parameters()).device))
        tokens, nll, right, n_pairs, pair_nll, pairs_right = sums.tolist()
        figures = {"loss": nll / max(tokens, 1)}
        figures["perplexity"] = math.exp(min(figures["loss"], 700))
        figures["mlm_accuracy"] = right / max(tokens, 1)
        if n_pairs:
            figures["loss"] += pair_nll / n_pairs
            figures["nsp_accuracy"] = pairs_right / n_pairs
        return figures

    def _measured(self, batch: MaskedBatch) -> Tensor:
        """Of hidden tokens and of pairs each: how many, their loss, how many right. Shape: (6,)."""
        vectors, pairs = self._outputs(batch)
        weight, bias = self.model.vocabulary_layer
        gold = batch.gold[batch.masked]
        nll = right = 0.0
        rows = max(1, _SLICE // len(weight))
        for some, wanted in zip(vectors.split(rows), gold.split(rows), strict=True):
            logits = F.linear(some, weight, bias).float()
            nll += float(F.cross_entropy(logits, wanted, reduction="sum"))
            right += int((logits.argmax(1) == wanted).sum())
        sums = [len(gold), nll, right, 0.0, 0.0, 0.0]
        if pairs is not None:
            pair_nll = F.cross_entropy(pairs, batch.labels, reduction="sum")
            pairs_right = (pairs.argmax(1) == batch.labels).sum()
            sums[3:] = [len(pairs), float(pair_nll), int(pairs_right)]
        return torch.tensor(sums, dtype=torch.float64)
