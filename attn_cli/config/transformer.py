"""The transformer's sizes and variants."""

from __future__ import annotations

from dataclasses import dataclass

from attn_cli.config import option

SCORE_FUNCTIONS = ("scaled-dot", "dot", "general", "additive", "cosine", "mean")
NORMALIZATIONS = ("softmax", "sum")
POSITION_ENCODINGS = ("sinusoidal", "sinusoidal-halves", "learned", "relative", "rotary", "none")
ACTIVATIONS = ("gelu", "gelu-tanh", "relu")
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


@dataclass(frozen=True, kw_only=True)
class VariantOptions(AttentionOptions):
    """Which transformer: the choices that a size does not make."""

    max_positions: int = option(
        1024,
        "Vectors of learned positions; later ones share the last.",
        low=1,
        high=1 << 20,
        rare=True,
    )
    norm: str = option(
        "pre",
        "Normalize before each sublayer, or after as published.",
        choices=("pre", "post"),
        rare=True,
    )
    tie_embeddings: bool = option(
        True, "One matrix for target embeddings and output layer.", rare=True
    )


@dataclass(frozen=True, kw_only=True)
class SizeOptions:
    """How large: a preset, each part of which can be set by itself."""

    size: str = option(
        "auto",
        "Preset; auto: by corpus size and device.",
        choices=("auto", "tiny", "small", "base", "big"),
    )
    d_model: int | None = option(
        None, "Width of the model.", low=1, high=1 << 16, show="by size", rare=True
    )
    d_ff: int | None = option(
        None, "Width of the feed-forward networks.", low=1, high=1 << 20, show="by size", rare=True
    )
    n_heads: int | None = option(
        None, "Attention heads.", low=1, high=1024, show="by size", rare=True
    )
    n_encoder_layers: int | None = option(
        None, "Encoder layers.", low=0, high=256, show="by size", rare=True
    )
    n_decoder_layers: int | None = option(
        None, "Decoder layers.", low=1, high=256, show="by size", rare=True
    )
    dropout: float | None = option(
        None, "Dropout of every sublayer.", low=0.0, high=0.99, show="by size and corpus"
    )
