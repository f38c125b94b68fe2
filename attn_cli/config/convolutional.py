"""The convolutional sequence-to-sequence model's sizes and variants."""

from __future__ import annotations

from dataclasses import MISSING, dataclass

from attn_cli.config import option
from attn_cli.config.image import SourceConfig
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
    kernel_size: int = option(3, "Width of the convolutions in tokens.", low=1, high=255)
    tie_embeddings: bool = option(True, "One matrix for target embeddings and output layer.")


@dataclass(frozen=True, kw_only=True)
class ConvolutionalConfig(SourceConfig, ConvolutionalOptions):
    """What a saved convolutional model is made of: every part decided.

    Raises:
        ValueError: the parts do not fit together.
    """

    d_model: int = option(MISSING, "Width of the model.", low=1, high=1 << 16)
    n_encoder_layers: int = option(MISSING, "Encoder layers.", low=0, high=256)
    n_decoder_layers: int = option(MISSING, "Decoder layers.", low=1, high=256)
    dropout: float = option(MISSING, "Dropout of every layer's input.", low=0.0, high=0.99)
    src_vocab: int = option(MISSING, "Source tokens.", low=0, high=1 << 24)
    tgt_vocab: int = option(MISSING, "Target tokens.", low=1, high=1 << 24)
    share_embeddings: bool = option(MISSING, "One matrix for source and target embeddings.")

    def __post_init__(self) -> None:
        if self.kernel_size % 2 == 0:
            raise ValueError(f"kernel_size {self.kernel_size} is even: no token is its middle")
        self.check_source(self.src_vocab, share_embeddings=self.share_embeddings)
        if self.share_embeddings and self.src_vocab != self.tgt_vocab:
            raise ValueError("shared embeddings need one vocabulary for source and target")
