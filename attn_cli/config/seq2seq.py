"""Architectures of sequence to sequence: one set of flags for all of them.

Each architecture declares its own options, with its own defaults; a flag that several of them have
is one flag. A flag that was not given stays None, so that one given in vain is found.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

from attn_cli.config import option, said_default, with_default
from attn_cli.config.attention import NORMALIZATIONS, SCORE_FUNCTIONS, AttentionOptions

CELL_NAMES = ("lstm", "gru", "rnn")


@dataclass(frozen=True, kw_only=True)
class VariantOptions(AttentionOptions):
    """Which transformer: the choices that a size does not make."""

    # Distances, not places: better than sinusoids on two language pairs, long sentences most.
    positions: str = with_default(
        AttentionOptions, "positions", "rotary", show="rotary, sinusoidal where that suits"
    )
    max_positions: int = option(
        1024,
        "Vectors of learned positions: longer texts are cut in training, decoded in parts.",
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
            raise ValueError("--tie-key-value needs --projections learned: there is nothing to tie")
        if self.attention == "none" and self.normalize != "softmax":
            raise ValueError("--attention none has no weights that --normalize could change")
        if self.attention == "none" and self.projections != "none":
            raise ValueError("--attention none leaves --projections nothing to project")
        if self.attention == "none" and self.attend_from != "current":
            raise ValueError("--attention none does not ask, from no state")
        if self.attention == "mean" and self.normalize == "hard":
            raise ValueError("--normalize hard needs scores: --attention mean gives all states one")


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
        1024,
        "Vectors of learned positions: longer texts are cut in training, decoded in parts.",
        low=1,
        high=1 << 20,
    )
    kernel_size: int = option(3, "Width of the convolutions in tokens.", low=1, high=255, rare=True)
    tie_embeddings: bool = option(True, "One matrix for target embeddings and output layer.")


VARIANTS: dict[str, type] = {
    "transformer": VariantOptions,
    "rnn": RecurrentOptions,
    "cnn": ConvolutionalOptions,
}


@dataclass(frozen=True, kw_only=True)
class ArchOptions:
    """Which kind of model, and what it starts from."""

    arch: str | None = option(
        None, "Architecture.", choices=tuple(VARIANTS), show="that of --init, else transformer"
    )
    decoder: str | None = option(
        None,
        "Write one token after another, or all at once and the doubtful ones again (transformer).",
        choices=("autoregressive", "mask-predict"),
        show="that of --init, else autoregressive",
        rare=True,
    )
    init: str | None = option(
        None,
        "Continue from this translator: its architecture, sizes, tokenizer, weights.",
        show="random weights",
        place="DIR",
    )

    @property
    def arch_of_new(self) -> str:
        """The architecture of a model that starts from random weights."""
        return self.arch or "transformer"

    @property
    def decoder_of_new(self) -> str:
        """The kind of decoder of such a model."""
        return self.decoder or "autoregressive"


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


def _not_given(name: str) -> Any:
    """The one flag of an option of one architecture or several, None where it is not given."""
    having = {
        arch: field
        for arch, variant in VARIANTS.items()
        for field in dataclasses.fields(variant)
        if field.name == name
    }
    words = dict.fromkeys(word for field in having.values() for word in field.metadata["choices"])
    said = {
        arch: field.metadata["show"] or said_default(field.default)
        for arch, field in having.items()
    }
    show = "; ".join(f"{arch}: {default}" for arch, default in said.items())
    if len(set(said.values())) == 1:
        (default,) = set(said.values())
        show = default if len(said) == len(VARIANTS) else f"{', '.join(said)}: {default}"
    first, *_ = having
    return with_default(
        VARIANTS[first],
        name,
        None,
        help=max((field.metadata["help"] for field in having.values()), key=len),
        choices=tuple(words),
        show=show,
    )


@dataclass(frozen=True, kw_only=True)
class Seq2SeqVariantOptions:
    """The choices of all architectures that a size does not make; None: the architecture's own."""

    attention: str | None = _not_given("attention")
    normalize: str | None = _not_given("normalize")
    projections: str | None = _not_given("projections")
    tie_key_value: bool | None = _not_given("tie_key_value")
    combine: str | None = _not_given("combine")
    positions: str | None = _not_given("positions")
    max_distance: int | None = _not_given("max_distance")
    max_positions: int | None = _not_given("max_positions")
    norm: str | None = _not_given("norm")
    tie_embeddings: bool | None = _not_given("tie_embeddings")
    attend_from: str | None = _not_given("attend_from")
    input_feeding: bool | None = _not_given("input_feeding")
    cell: str | None = _not_given("cell")
    bidirectional: bool | None = _not_given("bidirectional")
    kernel_size: int | None = _not_given("kernel_size")


@dataclass(frozen=True, kw_only=True)
class LearningOptions:
    """What a decoder reads and whom it must please while it learns."""

    scheduled_sampling: str = option(
        "none",
        "The decoder reads more and more of its own tokens: how their share grows over the run.",
        choices=("none", "linear", "exponential", "inverse-sigmoid"),
        rare=True,
    )
    sampling_rate: float = option(
        0.25,
        "Scheduled sampling: share of own tokens at the end of the run.",
        low=0.0,
        high=1.0,
        rare=True,
    )
    sampling_choice: str = option(
        "sampled",
        "Scheduled sampling: own tokens are drawn from the model, or the best ones.",
        choices=("sampled", "argmax"),
        rare=True,
    )
    professor_forcing: float = option(
        0.0,
        "Weight of a discriminator's verdict that the model writes by itself (--arch rnn; slower);"
        " 0: none.",
        low=0.0,
        high=1e6,
        rare=True,
    )
