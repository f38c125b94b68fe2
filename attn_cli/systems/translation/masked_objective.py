"""The objective of conditional masked language models.

Shapes: B batch, T target length, D d_model, L target lengths told apart.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor
from torch.nn import functional as F

from attn_cli.config import changed
from attn_cli.errors import UsageError
from attn_cli.nn.losses import linear_cross_entropy
from attn_cli.systems.translation.likelihood import TranslationObjective
from attn_cli.systems.translation.masked_pairs import MaskedPairs
from attn_cli.systems.translation.pairs import Seq2SeqBatch
from attn_cli.systems.translation.start import TranslationOptions
from attn_cli.systems.translation.translator import Translator


class MaskPredictObjective(TranslationObjective):
    """-Σ ln p(yᵢ | X, tokens that are not hidden) - Σ ln p(N | X) (Ghazvininejad et al. 2019, 3.1).

    The first sum is over hidden tokens, with label smoothing; the second over the targets' lengths
    N, the longest told apart standing for all that are longer.

    Args:
        model: a `models.mask_predict.MaskPredict`.
        label_smoothing: ε.
    """

    def __init__(self, model: Any, label_smoothing: float) -> None:
        super().__init__(model, label_smoothing)

    def forward(self, batch: Seq2SeqBatch) -> tuple[Tensor, Tensor]:
        """Sums over what is predicted, tokens and lengths: the loss, and the unsmoothed one."""
        assert isinstance(batch, MaskedPairs)
        source = batch.src_ids, batch.src_mask
        vectors, lengths = self.model(*source, batch.inner, batch.hidden, batch.real)
        weight, bias = self.model.output_layer
        gold = batch.inner[batch.hidden]
        loss, nll = linear_cross_entropy(
            vectors[batch.hidden], weight, bias, gold, self.label_smoothing
        )
        longest = lengths.shape[1] - 1
        length_nll = F.cross_entropy(
            lengths.float(), batch.lengths.clamp(max=longest), ignore_index=-1, reduction="sum"
        )
        return loss + length_nll, nll + length_nll.detach()


def mask_predict_objective(
    model: Any, options: TranslationOptions, translator: Translator
) -> MaskPredictObjective:
    """What the training of a mask-predict model minimizes.

    Raises:
        UsageError: terms of a decoder that writes one token after another.
    """
    groups = (options.objective, options.learning, options.criterion)
    if refused := [flag for group in groups for flag in changed(group)]:
        raise UsageError(
            f"--decoder mask-predict learns hidden tokens by their likelihood alone: leave out "
            f"{', '.join(refused)}"
        )
    return MaskPredictObjective(model, options.training.label_smoothing)
