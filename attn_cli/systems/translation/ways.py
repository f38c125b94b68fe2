"""How translators of each kind learn and are validated: the table by their task."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from attn_cli.systems.translation.likelihood import TranslationObjective
from attn_cli.systems.translation.mask_predict import MaskPredictor
from attn_cli.systems.translation.masked_objective import mask_predict_objective
from attn_cli.systems.translation.masked_pairs import MaskedPairReader
from attn_cli.systems.translation.pairs import PairReader
from attn_cli.systems.translation.sequence_level import translation_objective
from attn_cli.systems.translation.start import TranslationOptions
from attn_cli.systems.translation.translator import Translator


@dataclass(frozen=True)
class Way:
    """The parts of a training that a kind of model decides.

    Attributes:
        reader: makes batches of pairs.
        translator: decodes, in validation as afterwards.
        objective: what is minimized, of a model, the options and its translator.
    """

    reader: type[PairReader]
    translator: type[Translator]
    objective: Callable[[Any, TranslationOptions, Translator], TranslationObjective]


# `Seq2SeqModel.task` -> its way to learn.
WAYS = {
    "translate": Way(PairReader, Translator, translation_objective),
    "mask-predict": Way(MaskedPairReader, MaskPredictor, mask_predict_objective),
}
