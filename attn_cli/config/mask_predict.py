"""The conditional masked language model: a transformer that predicts its output's length."""

from __future__ import annotations

from dataclasses import MISSING, dataclass

from attn_cli.config import option
from attn_cli.config.transformer import TransformerConfig


@dataclass(frozen=True, kw_only=True)
class MaskPredictConfig(TransformerConfig):
    """What a saved model of `train-mt --decoder mask-predict` is made of."""

    n_lengths: int = option(
        MISSING, "Target lengths told apart: 0, 1, … and at least N - 1.", low=2, high=1 << 16
    )
