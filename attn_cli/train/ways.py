"""How translators of each kind learn and are validated: the table by their task."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from attn_cli.data.masked_pairs import MaskedPairReader
from attn_cli.data.parallel import PairReader
from attn_cli.decode.mask_predict import MaskPredictor
from attn_cli.decode.translator import Translator
from attn_cli.train.mask_predict import mask_predict_objective
from attn_cli.train.objectives import TranslationObjective
from attn_cli.train.sequence_level import translation_objective
from attn_cli.train.translation_model import TranslationOptions


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
