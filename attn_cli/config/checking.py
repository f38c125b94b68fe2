"""Options of `check`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from attn_cli.config import option
from attn_cli.config.command import Command, group
from attn_cli.config.runtime import SpeechOptions, StreamOptions

KINDS = ("auto", "translate", "text", "classify", "multilabel", "regress", "pair", "tag", "qa")


@dataclass(frozen=True, kw_only=True)
class CheckOptions:
    """What is looked at, beside what, and what is printed."""

    task: str = option(
        "auto",
        "What DATA is for. translate: source, target (train-mt); text: one column; the others as "
        "finetune has them. auto: as the first lines look, which is said.",
        choices=KINDS,
    )
    dev: str | None = option(None, "Development data, of the same form.", place="FILE")
    test: str | None = option(None, "Test data, of the same form.", place="FILE")
    near: float = option(
        0.8,
        "How alike inputs of two parts are that count as a leak: the Jaccard index of their pairs "
        "of words, case and punctuation left out. 1: all of them in common.",
        low=0.5,
        high=1.0,
    )
    ratio: float = option(
        3.0,
        "translate: lengths are odd where target/source is so many times what is usual here, or "
        "so many times less.",
        low=1.1,
        high=1000.0,
    )
    json: bool = option(False, "Print JSON, with what was not found, too.", flag="--json")
    filter: bool = option(
        False,
        "Write the lines of DATA without leaks and faults to stdout as they are, the table to "
        "stderr.",
        flag="--filter",
    )


@dataclass(frozen=True, kw_only=True)
class CheckCommand(Command):
    """All options of `attn check`."""

    name: ClassVar[str] = "check"

    checking: CheckOptions = group(CheckOptions, "Options")
    stream: StreamOptions = group(StreamOptions, "Lines")
    speech: SpeechOptions = group(SpeechOptions, "Running")
