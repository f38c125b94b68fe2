"""Options of attention: the same choices in every model made of heads."""

from __future__ import annotations

from dataclasses import dataclass

from attn_cli.config import option

SCORE_FUNCTIONS = ("scaled-dot", "dot", "general", "additive", "cosine", "mean")
NORMALIZATIONS = ("softmax", "sum")
POSITION_ENCODINGS = ("sinusoidal", "sinusoidal-halves", "learned", "relative", "rotary", "none")
ACTIVATIONS = ("gelu", "gelu-tanh", "gelu-sigmoid", "relu", "swish")
COMBINATIONS = ("concat-linear", "concat", "mean")


@dataclass(frozen=True, kw_only=True)
class AttentionOptions:
    """Which attention: the same choices in every model made of heads.

    Raises:
        ValueError: the choices exclude each other.
    """

    attention: str = option("scaled-dot", "Score function.", choices=SCORE_FUNCTIONS)
    normalize: str = option(
        "softmax",
        "From scores to weights: softmax, or softplus divided by its sum.",
        choices=NORMALIZATIONS,
        rare=True,
    )
    projections: str = option(
        "learned",
        "Project vectors to queries, keys and values, or not.",
        choices=("learned", "none"),
        rare=True,
    )
    tie_key_value: bool = option(False, "One projection for keys and values.", rare=True)
    combine: str = option(
        "concat-linear",
        "Join heads: concatenated and projected, concatenated, or the mean of heads as wide as the "
        "model.",
        choices=COMBINATIONS,
        rare=True,
    )
    positions: str = option("sinusoidal", "Position encoding.", choices=POSITION_ENCODINGS)
    max_distance: int = option(
        16, "Distances of relative positions are clipped here.", low=1, high=4096, rare=True
    )

    def __post_init__(self) -> None:
        if self.projections == "none" and self.tie_key_value:
            raise ValueError("projections none leaves tie_key_value nothing to tie")
        if self.projections == "none" and self.combine == "mean":
            raise ValueError("projections none makes all heads equal: combine mean needs learned")

    def d_head(self, d_model: int, n_heads: int) -> int:
        """The width of a head.

        Raises:
            ValueError: the heads do not fit the model.
        """
        if d_model % n_heads:
            raise ValueError(f"d_model {d_model} is not a multiple of n_heads {n_heads}")
        d_head = d_model if self.combine == "mean" else d_model // n_heads
        if self.positions == "rotary" and d_head % 2:
            raise ValueError(f"positions rotary need heads of even width, not {d_head}")
        return d_head
