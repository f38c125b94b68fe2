"""What a sequence-to-sequence model reads: texts, or what is in the files that lines name."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

from attn_cli.config import changed, flags, option, with_default
from attn_cli.config.audio import AudioConfig, AudioOptions, RecordingOptions
from attn_cli.config.image import ImageConfig, ImageOptions


@dataclass(frozen=True, kw_only=True)
class RootOptions:
    """Where files are that lines name."""

    image_root: str | None = option(
        None,
        "Of images and recordings: folder where their relative paths start.",
        flag="--image-root,--audio-root",
        show="that of the file that names them; the current one for standard input",
        place="DIR",
        rare=True,
    )


class FileKind(NamedTuple):
    """A kind of files as sources.

    Attributes:
        noun: what is in them.
        options: how they are read.
        check_options: raises ValueError if they can't be read so.
        check_config: raises ValueError if no saved model can read them so.
    """

    noun: str
    options: type
    check_options: Callable[[SourceOptions], None]
    check_config: Callable[[SourceConfig], None]


# `--source` -> what is in the files that lines name.
FILE_KINDS: dict[str, FileKind] = {
    "image": FileKind("images", ImageOptions, ImageOptions.check_images, ImageConfig.check_images),
    "audio": FileKind(
        "recordings", AudioOptions, AudioOptions.check_audio, AudioConfig.check_audio
    ),
}
SOURCES = ("text", *FILE_KINDS)


@dataclass(frozen=True, kw_only=True)
class SourceNameOptions:
    """What the first column holds."""

    source: str = option("text", "What the first column is, or names.", choices=SOURCES)


# Of several bases, the fields of the last one come first.
@dataclass(frozen=True, kw_only=True)
class SourceOptions(AudioOptions, ImageOptions, SourceNameOptions, RootOptions):
    """What the first column holds, and how it is read.

    Raises:
        ValueError: options of another source, or options that exclude each other.
    """

    def __post_init__(self) -> None:
        for name, kind in FILE_KINDS.items():
            in_vain = changed(self, among=flags(kind.options))
            if name != self.source and in_vain:
                raise ValueError(f"{', '.join(in_vain)} without --source {name}")
        if self.source not in FILE_KINDS:
            if in_vain := changed(self, among=flags(RootOptions)):
                raise ValueError(f"{in_vain[0]} without --source {' or '.join(FILE_KINDS)}")
            return
        FILE_KINDS[self.source].check_options(self)


@dataclass(frozen=True, kw_only=True)
class LabelledSourceOptions(RecordingOptions, RootOptions):
    """What is labelled, and how it is read.

    Raises:
        ValueError: options of recordings for texts.
    """

    source: str = option(
        "text",
        "What the first column is, or names: texts, or recordings (with --task classify).",
        choices=("text", "audio"),
    )
    image_root: str | None = with_default(
        RootOptions,
        "image_root",
        None,
        flag="--audio-root",
        help="Of recordings: folder where their relative paths start.",
    )

    def __post_init__(self) -> None:
        if self.source == "text" and (in_vain := changed(self)):
            raise ValueError(f"{', '.join(in_vain)} without --source audio")
        self.check_audio()

    @property
    def read_as(self) -> SourceOptions:
        """The same as a source takes them."""
        return SourceOptions(**vars(self))


@dataclass(frozen=True, kw_only=True)
class SourceName:
    """The kind of source of a saved model."""

    source: str = option("text", "What the model reads.", choices=SOURCES)


@dataclass(frozen=True, kw_only=True)
class SourceConfig(AudioConfig, ImageConfig, SourceName):
    """What a saved model reads; a part of the configuration of each architecture."""

    def check_source(self, src_vocab: int, *, share_embeddings: bool) -> None:
        """Raises ValueError if texts have no vocabulary, or files are not what can be read."""
        if self.source not in FILE_KINDS:
            if not src_vocab:
                raise ValueError("src_vocab: a source of texts needs a vocabulary")
            return
        kind = FILE_KINDS[self.source]
        if src_vocab or share_embeddings:
            raise ValueError(f"a source of {kind.noun} has no vocabulary, and none to share")
        kind.check_config(self)
