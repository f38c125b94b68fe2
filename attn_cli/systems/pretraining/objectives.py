"""What `attn pretrain --objective` stands for: the table."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

from attn_cli.config.pretraining import StackSizeOptions, StackVariantOptions
from attn_cli.data.entries import Blocks
from attn_cli.models.backbone import BackboneConfig
from attn_cli.models.sizes import bilm_config, stack_config
from attn_cli.models.text import HeadConfig
from attn_cli.systems.pretraining.base import DocumentReader, PretrainingObjective
from attn_cli.systems.pretraining.bidirectional import BidirectionalObjective, SentenceReader
from attn_cli.systems.pretraining.causal import LanguageObjective, LanguageReader
from attn_cli.systems.pretraining.masked import MaskedObjective, MaskedReader, PairedReader
from attn_cli.systems.pretraining.replaced import ReplacedObjective, ReplacedReader


class ConfigMaker(Protocol):
    """Makes a backbone's configuration."""

    def __call__(
        self,
        options: StackSizeOptions,
        variant: StackVariantOptions,
        preset: str,
        vocab_size: int,
    ) -> BackboneConfig:
        """From a preset, what the options set by themselves, and the vocabulary."""


@dataclass(frozen=True)
class PretrainingKind:
    """What `--objective` stands for.

    Attributes:
        arch: a key of `models.BACKBONES`.
        task: what the model is for afterwards, see `ModelConfig.task`.
        heads: the output layers, given the size of the vocabulary.
        reader: reads documents.
        objective: what is minimized.
        tokenizer_type: of a tokenizer trained for it.
        specials: tokens that the tokenizer must have.
        config: makes the backbone's configuration.
        pairs: whether it needs two documents, one of them with two sentences.
        blocks: what a row of its corpus is, given the tokens of an input.
        lossless: whether its tokens must give every character back.
    """

    arch: str
    task: str
    heads: Callable[[int], tuple[HeadConfig, ...]]
    reader: type[DocumentReader[Any, Any]]
    objective: type[PretrainingObjective[Any]]
    tokenizer_type: str
    specials: tuple[str, ...]
    config: ConfigMaker
    pairs: bool = False
    blocks: Callable[[int], Blocks] = lambda max_len: Blocks(split=True)  # noqa: E731
    lossless: bool = False


def _mlm(vocab_size: int) -> tuple[HeadConfig, ...]:
    return (HeadConfig(name="mlm", kind="mlm", n_outputs=vocab_size),)


def _mlm_and_nsp(vocab_size: int) -> tuple[HeadConfig, ...]:
    return (*_mlm(vocab_size), HeadConfig(name="nsp", kind="text", n_outputs=2))


def _rtd(vocab_size: int) -> tuple[HeadConfig, ...]:
    return (HeadConfig(name="rtd", kind="rtd", n_outputs=1),)


def _running_text(max_len: int) -> Blocks:
    """Rows of about eight windows: the last one of a row is shorter than the others."""
    return Blocks(limit=32 * max_len, split=True, across=True)


# As GPT-2 (Radford et al. 2019), but for the positions: with rotary ones a small model leaves the
# plateau of word frequencies in a fraction of the steps (so does the masked one below).
_GPT = {
    "norm": "pre",
    "norm_eps": 1e-5,
    "embedding_norm": False,
    "positions": "rotary",
    "n_segments": 0,
    "activation": "gelu-tanh",
}
# WordPiece parts words at punctuation before it cuts them, so that taggers and question answering
# find the borders of what they look for; and its vocabulary is what other BERTs read.
_BERT = PretrainingKind(
    arch="bert",
    task="fill",
    heads=_mlm_and_nsp,
    reader=PairedReader,
    objective=MaskedObjective,
    tokenizer_type="wordpiece",
    specials=("pad", "mask", "cls", "sep"),
    config=partial(stack_config, usual={"norm": "pre", "positions": "rotary"}),
    pairs=True,
)
OBJECTIVES: dict[str, PretrainingKind] = {
    "mlm+nsp": _BERT,
    "mlm": dataclasses.replace(_BERT, heads=_mlm, reader=MaskedReader, pairs=False),
    "rtd": dataclasses.replace(
        _BERT,
        task="detect",
        heads=_rtd,
        reader=ReplacedReader,
        objective=ReplacedObjective,
        pairs=False,
    ),
    "clm": PretrainingKind(
        arch="gpt",
        task="continue",
        heads=lambda vocab_size: (),
        reader=LanguageReader,
        objective=LanguageObjective,
        tokenizer_type="bpe",
        specials=("pad", "bos", "eos"),
        config=partial(stack_config, usual=_GPT),
        blocks=_running_text,
        lossless=True,
    ),
    "bilm": PretrainingKind(
        arch="bilm",
        task="fill",
        heads=lambda vocab_size: (),
        reader=SentenceReader,
        objective=BidirectionalObjective,
        tokenizer_type="wordpiece",
        specials=("pad", "bos", "eos"),
        config=bilm_config,
    ),
}
