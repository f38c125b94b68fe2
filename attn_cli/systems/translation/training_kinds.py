"""How translators of each kind learn and are validated."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from attn_cli.config.translation import TrainMtCommand
from attn_cli.models.seq2seq_base import AutoregressiveModel, Seq2SeqModel
from attn_cli.systems.translation.ctc_training import CtcObjective, ctc_weight
from attn_cli.systems.translation.likelihood import TranslationObjective
from attn_cli.systems.translation.mask_predict import MaskPredictor
from attn_cli.systems.translation.mask_predict_training import (
    MaskedPairReader,
    mask_predict_objective,
)
from attn_cli.systems.translation.pairs import PairReader, Seq2SeqBatch
from attn_cli.systems.translation.sequence_level import SequenceObjective
from attn_cli.systems.translation.translator import AutoregressiveTranslator, Translator
from attn_cli.train.objective import Objective


@dataclass(frozen=True)
class TrainingKind:
    """The parts of a training that the kind of model decides.

    Attributes:
        reader: makes batches of pairs.
        translator: decodes, in validation as afterwards.
        objective: makes what is minimized, of a model, the options and its translator.
    """

    reader: type[PairReader]
    translator: type[Translator]
    objective: Callable[[Seq2SeqModel, TrainMtCommand, Translator], Objective[Seq2SeqBatch]]


def _autoregressive_objective(
    model: Seq2SeqModel, options: TrainMtCommand, translator: Translator
) -> TranslationObjective:
    """The likelihood, beside it CTC, or the criterion that samples outputs if one was asked for.

    Raises:
        UsageError: the model, or another option, does not go with it.
    """
    assert isinstance(model, AutoregressiveModel)
    smoothing, penalty = options.training.label_smoothing, options.objective.head_penalty
    weight = ctc_weight(model, options)
    if weight:
        return CtcObjective(model, smoothing, weight, penalty, options.learning)
    if not options.criterion.samples_outputs:
        return TranslationObjective(model, smoothing, penalty, options.learning)
    return SequenceObjective(
        model, smoothing, translator, options.criterion, penalty, options.learning
    )


# By the model's task.
TRAINING_KINDS = {
    "translate": TrainingKind(PairReader, AutoregressiveTranslator, _autoregressive_objective),
    "mask-predict": TrainingKind(MaskedPairReader, MaskPredictor, mask_predict_objective),
}
