"""Options of `serve`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from attn_cli.config import option, with_default
from attn_cli.config.command import Command, group
from attn_cli.config.decoding import AnswerOptions, DecodeOptions, SearchOptions
from attn_cli.config.runtime import ModelOptions, RuntimeOptions, SpeechOptions


@dataclass(frozen=True, kw_only=True)
class ServedModelsOptions(ModelOptions):
    """Which models are served."""

    model: str = with_default(
        ModelOptions,
        "model",
        "",
        help="Model directory, or several: NAME=DIR,NAME=DIR; a translator called en-de is asked "
        "for that pair, one that is called otherwise for any.",
    )


@dataclass(frozen=True, kw_only=True)
class PlaceOptions:
    """Where requests come in, and whose are answered."""

    host: str = option("127.0.0.1", "Address to listen on; 0.0.0.0: all of this machine's.")
    port: int = option(8000, "Port to listen on; 0: a free one.", low=0, high=65535)
    api_keys: str | None = option(
        None,
        "File of keys, one a line: who shows none of them (Authorization: Bearer KEY, or api_key) "
        "is refused.",
        show="nobody is refused",
        place="FILE",
    )


@dataclass(frozen=True, kw_only=True)
class LimitOptions:
    """What a request, and all of them together, may take.

    Raises:
        ValueError: a request that may be made could never wait.
    """

    max_body: int = option(1 << 20, "Most bytes of a request.", low=1, high=1 << 30)
    max_lines: int = option(512, "Most lines of a request.", low=1, high=1 << 20)
    max_chars: int = option(50_000, "Most characters of a request.", low=1, high=1 << 24)
    max_batch: int = option(
        64, "Most lines that are answered together.", low=1, high=1 << 16, rare=True
    )
    max_queue: int = option(
        2048,
        "Most lines that wait for a model; who brings more is told to retry.",
        low=1,
        rare=True,
    )
    max_connections: int = option(
        2048, "Most connections at a time.", low=2, high=1 << 20, rare=True
    )
    timeout: float = option(
        60.0, "Seconds that a request may take, its coming in included.", low=0.01, high=86400.0
    )

    def __post_init__(self) -> None:
        if self.max_lines > self.max_queue:
            raise ValueError(
                f"--max-lines {self.max_lines} is above --max-queue {self.max_queue}: such a "
                "request could never wait"
            )


@dataclass(frozen=True, kw_only=True)
class ServedDecodingOptions(AnswerOptions):
    """How models read, as in `decode`."""

    task: str | None = with_default(DecodeOptions, "task", None)
    max_input: int | None = with_default(DecodeOptions, "max_input", None)
    batch_tokens: int = with_default(DecodeOptions, "batch_tokens", DecodeOptions.batch_tokens)
    precision: str = with_default(DecodeOptions, "precision", DecodeOptions.precision)

    def decoding(self) -> DecodeOptions:
        """The same, as options of `decode`."""
        return DecodeOptions(**vars(self))


@dataclass(frozen=True, kw_only=True)
class ServeCommand(Command):
    """All options of `attn serve`."""

    name: ClassVar[str] = "serve"

    model: ServedModelsOptions = group(ServedModelsOptions, "Models")
    place: PlaceOptions = group(PlaceOptions, "Place")
    limits: LimitOptions = group(LimitOptions, "Limits")
    search: SearchOptions = group(SearchOptions, "Search")
    decoding: ServedDecodingOptions = group(ServedDecodingOptions, "Reading", rare=True)
    runtime: RuntimeOptions = group(RuntimeOptions, "Running")
    speech: SpeechOptions = group(SpeechOptions, "Running")
