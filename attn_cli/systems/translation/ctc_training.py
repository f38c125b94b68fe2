"""How the encoder's own output is learnt beside the decoder's: joint CTC and attention.

Shapes: B batch, T target length, S positions of the source.
"""

from __future__ import annotations

from torch import Tensor

from attn_cli.config.audio import CTC_WEIGHT
from attn_cli.config.seq2seq import LearningOptions
from attn_cli.config.translation import TrainMtCommand
from attn_cli.errors import UsageError
from attn_cli.models.seq2seq_base import AutoregressiveModel, DecoderOutput, Seq2SeqModel
from attn_cli.nn.beam_state import BeamState
from attn_cli.nn.ctc import ctc_nll
from attn_cli.systems.translation.likelihood import TranslationObjective
from attn_cli.systems.translation.pairs import Seq2SeqBatch


class CtcObjective(TranslationObjective):
    """λ L_ctc + (1 - λ) L_att (Watanabe et al. 2017, eq. 15), sums over the batch.

    Both read what the encoder gave once. L_att is the likelihood and what is added to it; not in
    training it is all there is. A target that is longer than its source leaves λ L_ctc out.

    Args:
        model: what is trained; its encoder has an output.
        label_smoothing: ε of the likelihood.
        weight: λ.
        head_penalty: see `TranslationObjective`.
        learning: likewise.

    Raises:
        UsageError: with a head penalty, for which the encoder's vectors are not at hand.
    """

    def __init__(
        self,
        model: AutoregressiveModel[BeamState],
        label_smoothing: float,
        weight: float,
        head_penalty: float = 0.0,
        learning: LearningOptions | None = None,
    ) -> None:
        super().__init__(model, label_smoothing, head_penalty, learning)
        if head_penalty > 0:
            raise UsageError("--head-penalty does not go with CTC: add --ctc-weight 0")
        self.ctc_weight = weight
        self.likelihood_weight = 1.0 - weight

    def terms(self, output: DecoderOutput, batch: Seq2SeqBatch) -> list[Tensor]:
        """See `TranslationObjective.terms`; -ln P of the targets by the encoder's output."""
        assert self.model.ctc is not None
        lengths = batch.tgt_mask.sum(1) - 1  # without the end, which CTC does not say
        nll = ctc_nll(self.model.ctc(output.encoded), batch.src_mask, batch.tgt_ids[:, 1:], lengths)
        return [*super().terms(output, batch), self.ctc_weight * nll.sum()]


def ctc_weight(model: Seq2SeqModel, options: TrainMtCommand) -> float:
    """λ of a training; 0: there is no such loss.

    Raises:
        UsageError: it was asked for, and the model has no such output, or the criterion no place
            for it.
    """
    asked = options.source.ctc_weight
    if model.ctc is None:
        if asked:
            raise UsageError(
                "--ctc-weight: the encoder of this model has no output of its own, as that of a "
                "model for recordings has that writes one token after another"
            )
        return 0.0
    if options.criterion.samples_outputs:
        if asked:
            raise UsageError(f"--ctc-weight: --criterion {options.criterion.criterion} has none")
        return 0.0
    return CTC_WEIGHT if asked is None else asked
