"""The variants of recurrent sequence to sequence."""

from __future__ import annotations

from dataclasses import dataclass

from attn_cli.config import option
from attn_cli.config.transformer import NORMALIZATIONS, SCORE_FUNCTIONS

CELL_NAMES = ("lstm", "gru", "rnn")


@dataclass(frozen=True, kw_only=True)
class RecurrentOptions:
    """Which recurrent model: the choices that a size does not make.

    Raises:
        ValueError: the choices exclude each other.
    """

    attention: str = option(
        "general",
        "Score function; none: the decoder sees the encoder's last state alone.",
        choices=(*SCORE_FUNCTIONS, "none"),
    )
    normalize: str = option(
        "softmax",
        "From scores to weights: softmax, softplus divided by its sum, or hard: one position, "
        "drawn in training.",
        choices=(*NORMALIZATIONS, "hard"),
    )
    projections: str = option(
        "none", "Project states to queries, keys and values, or not.", choices=("learned", "none")
    )
    tie_key_value: bool = option(False, "One projection for keys and values.")
    attend_from: str = option(
        "current",
        "The decoder state that asks: of this step (Luong) or of the one before (Bahdanau).",
        choices=("current", "previous"),
        rare=True,
    )
    input_feeding: bool = option(
        False, "The cell also reads what attention found (slower to train).", rare=True
    )
    cell: str = option("lstm", "Recurrent cell.", choices=CELL_NAMES, rare=True)
    bidirectional: bool = option(
        True,
        "The encoder reads in both directions, or forward.",
        flag="--bidirectional/--unidirectional",
        rare=True,
    )
    tie_embeddings: bool = option(True, "One matrix for target embeddings and output layer.")

    def __post_init__(self) -> None:
        if self.projections == "none" and self.tie_key_value:
            raise ValueError("tie_key_value needs projections learned: there is nothing to tie")
        if self.attention == "none" and self.normalize != "softmax":
            raise ValueError("attention none has no weights that normalize could change")
        if self.attention == "none" and self.projections != "none":
            raise ValueError("attention none leaves projections nothing to project")
        if self.attention == "none" and self.attend_from != "current":
            raise ValueError("attention none does not ask, from no state")
        if self.attention == "mean" and self.normalize == "hard":
            raise ValueError("normalize hard needs scores: attention mean gives all states one")
