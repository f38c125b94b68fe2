"""The variants of convolutional sequence to sequence."""

from __future__ import annotations

from dataclasses import dataclass

from attn_cli.config import option
from attn_cli.config.transformer import NORMALIZATIONS, SCORE_FUNCTIONS


@dataclass(frozen=True, kw_only=True)
class ConvolutionalOptions:
    """Which convolutional model: the choices that a size does not make."""

    # Published with dot products of vectors that begin small; ours begin with unit variance.
    attention: str = option("scaled-dot", "Score function.", choices=SCORE_FUNCTIONS)
    normalize: str = option(
        "softmax",
        "From scores to weights: softmax, or softplus divided by its sum.",
        choices=NORMALIZATIONS,
    )
    positions: str = option(
        "learned", "Position encoding.", choices=("learned", "sinusoidal", "none")
    )
    max_positions: int = option(
        1024, "Vectors of learned positions; later ones share the last.", low=1, high=1 << 20
    )
    kernel_size: int = option(3, "Width of the convolutions in tokens.", low=1, high=255, rare=True)
    tie_embeddings: bool = option(True, "One matrix for target embeddings and output layer.")
