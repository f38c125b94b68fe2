"""Architectures of sequence to sequence: one set of flags for all of them.

Each architecture declares its own options, with its own defaults; a flag that several of them have
is one flag. A flag that was not given stays None, so that one given in vain is found.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

from attn_cli.config import option, said_default, with_default
from attn_cli.config.convolutional import ConvolutionalOptions
from attn_cli.config.recurrent import RecurrentOptions
from attn_cli.config.transformer import VariantOptions

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
        "Continue from this translator's directory: its architecture, sizes, tokenizer, weights.",
        show="random weights",
    )

    @property
    def arch_of_new(self) -> str:
        """The architecture of a model that starts from random weights."""
        return self.arch or "transformer"

    @property
    def decoder_of_new(self) -> str:
        """The kind of decoder of such a model."""
        return self.decoder or "autoregressive"


def _not_given(name: str) -> Any:
    """The one flag of an option of one architecture or several, None where it is not given."""
    having = {
        arch: field
        for arch, variant in VARIANTS.items()
        for field in dataclasses.fields(variant)
        if field.name == name
    }
    words = dict.fromkeys(word for field in having.values() for word in field.metadata["choices"])
    said = {arch: said_default(field.default) for arch, field in having.items()}
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
