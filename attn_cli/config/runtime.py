"""Options that several commands share, each declared once."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from attn_cli.config import NO_NAME, option, with_default
from attn_cli.errors import UsageError


@dataclass(frozen=True, kw_only=True)
class SpeechOptions:
    """How much is said on stderr."""

    quiet: bool = option(False, "Say nothing on stderr but warnings and errors.")


@dataclass(frozen=True, kw_only=True)
class StreamOptions:
    """How lines are taken in and unusable ones are met."""

    columns: str | None = option(
        None,
        "Columns to work on, in order: 2,1 by number, src,tgt by header, or by key of JSON lines.",
        show="the first ones, no header",
    )
    skip_bad: bool = option(False, "Accept unusable lines: leave them out or empty, exit 0.")


@dataclass(frozen=True, kw_only=True)
class SeedOptions:
    """How random choices begin."""

    seed: int = option(1, "Seed of every random choice.", low=0, high=2**31 - 1)


@dataclass(frozen=True, kw_only=True)
class ThreadOptions:
    """How much of the processor is used."""

    threads: int | None = option(
        None, "CPU threads, or processes.", low=1, high=1024, show="all cores"
    )


@dataclass(frozen=True, kw_only=True)
class DeviceOptions(ThreadOptions):
    """Where a model runs."""

    device: str = option("auto", "Where the model runs.", choices=("auto", "cpu", "cuda", "mps"))


@dataclass(frozen=True, kw_only=True)
class RuntimeOptions(SeedOptions, DeviceOptions):
    """Where and how reproducibly a model runs."""


@dataclass(frozen=True, kw_only=True)
class ModelOptions:
    """Which model a command uses, or which several."""

    model: str = option(
        "",
        "Model directory; several joined by commas work as an ensemble.",
        flag="--model,-m",
        show="$ATTN_MODEL, else ./attn-model",
        place="DIR",
    )

    def __post_init__(self) -> None:
        if not all(map(str.strip, self.path.split(","))) and not Path(self.path).is_dir():
            raise UsageError(f"-m {self.path[:200]}: {NO_NAME}, beside a comma")

    @property
    def path(self) -> str:
        """The model directory (or directories) to use."""
        return self.model or os.environ.get("ATTN_MODEL") or "attn-model"


@dataclass(frozen=True, kw_only=True)
class OneModelOptions(ModelOptions):
    """Which model a command uses that uses one alone."""

    model: str = with_default(ModelOptions, "model", "", help="Model directory.")

    def __post_init__(self) -> None:
        if "," in self.path and not Path(self.path).is_dir():
            raise ValueError(f"-m {self.path[:200]}: here one model is used; name one of them")
