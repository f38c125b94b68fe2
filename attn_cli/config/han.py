"""What suits hierarchical attention networks where no option says otherwise."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from attn_cli.config import load_json, option
from attn_cli.config.tokenizing import SENTENCEPIECE_TYPES, TokenizerOptions
from attn_cli.config.training import FinetuneTrainingOptions, again
from attn_cli.errors import DataError


@dataclass(frozen=True, kw_only=True)
class HanTrainingOptions(FinetuneTrainingOptions):
    """How a hierarchical attention network is trained: an update sees several whole documents."""

    batch_tokens: int = again("batch_tokens", 16384)


@dataclass(frozen=True, kw_only=True)
class HanTokenizerOptions(TokenizerOptions):
    """What a hierarchical attention network reads: words."""

    type: str = option(
        "wordpiece",
        "Kind of pieces.",
        choices=("wordpiece", *SENTENCEPIECE_TYPES),
        flag="--type,--tokenizer-type",
    )


def is_han(given: Mapping[str, Any]) -> bool:
    """Whether these options of `finetune` train a hierarchical attention network."""
    if given.get("init"):
        try:
            return load_json(Path(given["init"]) / "config.json").get("arch") == "han"
        except DataError:
            return False  # what is wrong with it is said where it is loaded
    return given.get("arch") == "han"
