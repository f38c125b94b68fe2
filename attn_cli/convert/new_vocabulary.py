"""A model directory with another tokenizer."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch

from attn_cli.convert.output import replace_directory
from attn_cli.convert.stored_weights import Stored, said_sizes, write_changed
from attn_cli.convert.vocabulary import SOURCE, TARGET, Origins, sides_of, with_tokens
from attn_cli.data.templates import TEMPLATES
from attn_cli.errors import DataError
from attn_cli.models.directory import ModelConfig, load_model, read_config
from attn_cli.models.shortlist import SHORTLIST
from attn_cli.models.text import TextModel
from attn_cli.tokenizers.matching import counterparts
from attn_cli.tokenizers.tokenizer import Tokenizer
from attn_cli.tokenizers.tokenizer_files import (
    FILE_NAMES,
    load_tokenizer,
    read_tokenizers,
    write_tokenizers,
)
from attn_cli.wording import plural

_TOKENIZERS = {*FILE_NAMES, *(f"src.{name}" for name in FILE_NAMES)}
_CPU = torch.device("cpu")


@dataclass(frozen=True)
class Side:
    """A vocabulary of a model: its tokenizer before and after, and what each piece is made of."""

    before: Tokenizer
    after: Tokenizer
    origins: Origins

    @property
    def sizes(self) -> str:
        """The numbers of pieces, in words."""
        return f"{self.before.vocab_size:,} pieces before, {self.after.vocab_size:,} after"


def with_tokenizer(
    folder: Path,
    output: Path,
    say: Callable[[str], None],
    *,
    tokenizer: str,
    tell: Callable[[str], None],
    overwrite: bool = False,
) -> None:
    """Writes a model directory with another tokenizer.

    Pieces that both have keep their vectors, others begin as the mean of what they were cut into.

    Args:
        folder: the model directory.
        output: the directory to write.
        say: is told of a shortlist that is left out.
        tokenizer: a tokenizer's file, or a directory with one, or one each for source and target.
        tell: is told of sizes and of how many pieces match.
        overwrite: whether a model in `output` may be replaced.

    Raises:
        DataError: the directory is damaged, or the model can't have such a tokenizer.
        UsageError: `output` holds a model.
    """
    config = read_config_with_pieces(folder)
    before = read_tokenizers(folder)
    after = _tokenizers(tokenizer)
    sides = {
        side: Side(old, new, counterparts(old, new))
        for side, old, new in zip((SOURCE, TARGET), before, after, strict=True)
        if side in sides_of(config)
    }
    if SOURCE not in sides and before[0] is before[1] and after[0] is not after[1]:
        raise DataError(
            f"{tokenizer}: has a tokenizer each for source and target, but {folder} has one "
            "vocabulary for both"
        )
    if (folder / SHORTLIST).exists():
        say(f"{folder}: its shortlist is of the old pieces: left out; --shortlist makes a new one")
    write_sides(folder, output, config, sides, after, tell, overwrite=overwrite)
    for side, each in sides.items():
        same = sum(len(set(ids)) == 1 for ids in each.origins)
        made = sum(len(set(ids)) > 1 for ids in each.origins)
        tell(
            f"{_name(output, side, sides)}: {plural(same, 'piece')} have the vector of one that "
            f"was there, {made:,} begin as the mean of several, "
            f"{len(each.origins) - same - made:,} as the mean of all"
        )


def read_config_with_pieces(folder: Path) -> ModelConfig:
    """The configuration of a model that has a vocabulary.

    Raises:
        DataError: the directory is damaged, or the model has none.
    """
    config = read_config(folder)
    if not sides_of(config):
        raise DataError(f"{folder}: a {config.arch!r} reads no text: it has no vocabulary")
    return config


def _tokenizers(path: str) -> tuple[Tokenizer, Tokenizer]:
    """The tokenizers of source and target at a place: the same where there is one.

    Raises:
        DataError: there is none, or it lacks a padding, begin or end token.
    """
    if any((Path(path) / name).exists() for name in _TOKENIZERS if name.startswith("src.")):
        return read_tokenizers(Path(path))
    tokenizer = load_tokenizer(path)
    tokenizer.require_specials(path)
    return tokenizer, tokenizer


def write_sides(
    folder: Path,
    output: Path,
    config: ModelConfig,
    sides: dict[str, Side],
    tokenizers: tuple[Tokenizer, Tokenizer],
    tell: Callable[[str], None],
    *,
    overwrite: bool,
    also: Callable[[Path], None] = lambda stage: None,
) -> None:
    """Writes the model with other pieces; `also` writes what else is made for them."""
    _, model = load_model(folder, _CPU)
    if isinstance(model, TextModel):  # which refuses a tokenizer without its special tokens
        TEMPLATES[model.backbone.template](tokenizers[1], model.backbone.max_len or 1)
    changed, tensors = with_tokens(config, model, {s: each.origins for s, each in sides.items()})
    before = Stored.read(folder)
    with replace_directory(output, folder, overwrite) as stage:
        write_changed(stage, folder, changed, tensors, {*_TOKENIZERS, SHORTLIST})
        write_tokenizers(stage, *tokenizers)
        also(stage)
    for side, each in sides.items():
        tell(f"{_name(output, side, sides)}: {each.sizes}")
    tell(said_sizes(output, before, Stored.read(output)))


def _name(output: Path, side: str, sides: dict[str, Side]) -> str:
    """What messages call a side of a model; the model itself where it has one."""
    return f"{output}, {side}" if len(sides) > 1 else str(output)
