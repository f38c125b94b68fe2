"""Architectures of sequence to sequence: one set of flags for all of them.

Each architecture declares its own options, with its own defaults; a flag that several of them have
is one flag. A flag that was not given stays None, so that one given in vain is found.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import Field, dataclass
from typing import Any

from attn_cli.config import field_types, option, said_default
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


def _merged(variants: Mapping[str, type]) -> type:
    """A dataclass with the fields of all variants, each None where it is not given."""
    fields: dict[str, dict[str, Field]] = {}
    types: dict[str, type] = {}
    for arch, variant in variants.items():
        for field in dataclasses.fields(variant):
            fields.setdefault(field.name, {})[arch] = field
            types[field.name] = field_types(variant)[field.name][0]
    return dataclasses.make_dataclass(
        "Seq2SeqVariantOptions",
        [(name, types[name] | None, _one_flag(own, variants)) for name, own in fields.items()],
        frozen=True,
        kw_only=True,
    )


def _one_flag(own: Mapping[str, Field], variants: Mapping[str, type]) -> Any:
    """The flag of one option of several architectures."""
    first = next(iter(own.values()))
    choices = dict.fromkeys(word for field in own.values() for word in field.metadata["choices"])
    longest = max((field.metadata["help"] for field in own.values()), key=len)
    return dataclasses.field(
        default=None,
        metadata={
            **first.metadata,
            "help": longest,
            "choices": tuple(choices),
            "show": _said_defaults(own, variants),
        },
    )


def _said_defaults(own: Mapping[str, Field], variants: Mapping[str, type]) -> str:
    """The defaults by architecture, in words: `scaled-dot; rnn: general`."""
    said = {arch: said_default(field.default) for arch, field in own.items()}
    if len(set(said.values())) == 1:
        default = next(iter(said.values()))
        return default if len(said) == len(variants) else f"{', '.join(said)}: {default}"
    return "; ".join(f"{arch}: {default}" for arch, default in said.items())


Seq2SeqVariantOptions = _merged(VARIANTS)


@dataclass(frozen=True, kw_only=True)
class LearningOptions:
    """What a decoder reads and whom it must please while it learns."""

    scheduled_sampling: str = option(
        "none",
        "The decoder reads more and more of its own tokens: how their share grows over the run.",
        choices=("none", "linear", "exponential", "inverse-sigmoid"),
    )
    sampling_rate: float = option(
        0.25, "Scheduled sampling: share of own tokens at the end of the run.", low=0.0, high=1.0
    )
    sampling_choice: str = option(
        "sampled",
        "Scheduled sampling: own tokens are drawn from the model, or the best ones.",
        choices=("sampled", "argmax"),
    )
    professor_forcing: float = option(
        0.0,
        "Weight of a discriminator's verdict that the model writes by itself (--arch rnn; slower);"
        " 0: none.",
        low=0.0,
        high=1e6,
    )
