"""Options of `embed`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from attn_cli.config import option
from attn_cli.config.command import Command, group
from attn_cli.config.runtime import DeviceOptions, OneModelOptions, SpeechOptions, StreamOptions


@dataclass(frozen=True, kw_only=True)
class EmbedOptions:
    """Which vectors are made of a line, and how they are written.

    Raises:
        ValueError: options that exclude each other.
    """

    layer: str = option(
        "-1", "Layer: a number (0: embeddings, -1: the last), all, sum4 or concat4 (last four)."
    )
    pool: str | None = option(
        None,
        "One vector of a line's tokens; none: a vector for each.",
        choices=("mean", "cls", "max", "none"),
        show="mean; none with --words",
    )
    words: bool = option(False, "A vector for each word, the mean of its tokens' vectors.")
    normalize: bool = option(False, "Scale every vector to length 1.")
    format: str = option(
        "auto",
        "JSON lines on stdout, or a NumPy array in --output; auto: an array where -o names a .npy.",
        choices=("auto", "json", "npy"),
    )
    output: str | None = option(
        None, "File of the array, a row a line.", flag="-o,--output", show="stdout", place="FILE"
    )
    stride: int | None = option(
        None, "Tokens by which windows of a long line advance.", low=1, show="half a window"
    )
    batch_tokens: int = option(4096, "Tokens of one batch, padding included.", low=1)
    buffer: int = option(1024, "Most lines that are read before the first is answered.", low=1)

    def __post_init__(self) -> None:
        if self.words and self.pool not in (None, "none"):
            raise ValueError(
                f"--words gives a vector a word, --pool {self.pool} one a line: choose"
            )
        output = self.output or "vectors.npy"
        if self.format == "auto" and not output.endswith(".npy"):
            raise ValueError(f"--output {output[:80]} is no .npy; say --format npy all the same")
        if self.format != "auto" and (self.format == "npy") != (self.output is not None):
            raise ValueError("--format npy and --output go together")
        if self.output is not None and self.pooling == "none":
            raise ValueError(
                "--format npy has one row a line; vectors of tokens need --format json"
            )

    @property
    def pooling(self) -> str:
        """`pool`, decided."""
        return self.pool or ("none" if self.words else "mean")


@dataclass(frozen=True, kw_only=True)
class EmbedCommand(Command):
    """All options of `attn embed`."""

    name: ClassVar[str] = "embed"

    model: OneModelOptions = group(OneModelOptions, "Model")
    embedding: EmbedOptions = group(EmbedOptions, "Vectors")
    stream: StreamOptions = group(StreamOptions, "Lines")
    device: DeviceOptions = group(DeviceOptions, "Running")
    speech: SpeechOptions = group(SpeechOptions, "Running")
