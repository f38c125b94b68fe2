"""The kinds of sources that `train-mt --source` names, and what finds them."""

from __future__ import annotations

from dataclasses import dataclass

from attn_cli.config import choose
from attn_cli.config.source import SourceConfig
from attn_cli.systems.translation.audio_source import AudioSide, AudioSources
from attn_cli.systems.translation.image_source import ImageSide, ImageSources
from attn_cli.systems.translation.source_base import SourceSide, TrainingSources
from attn_cli.systems.translation.text_source import TextSide, TextSources
from attn_cli.tokenizers.tokenizer import Tokenizer


@dataclass(frozen=True)
class SourceKind:
    """A kind of source.

    Attributes:
        side: what a model reads of it.
        training: what it adds to the preparation of a training.
    """

    side: type[SourceSide]
    training: type[TrainingSources]


SOURCES: dict[str, SourceKind] = {
    "text": SourceKind(TextSide, TextSources),
    "image": SourceKind(ImageSide, ImageSources),
    "audio": SourceKind(AudioSide, AudioSources),
}


def source_kind(name: str) -> SourceKind:
    """The kind of source of this name."""
    return choose(SOURCES, name, "kind of source")


def source_side(config: SourceConfig, tokenizer: Tokenizer) -> SourceSide:
    """What a model reads, by its configuration."""
    return source_kind(config.source).side.of(config, tokenizer)
