"""What `attn decode` does, by the task of the model: the table, and what all entries are given."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from attn_cli.config import changed, flags, nearest, shown
from attn_cli.config.decoding import DecodeOptions, SearchOptions
from attn_cli.config.runtime import RuntimeOptions, StreamOptions
from attn_cli.errors import DataError, UsageError
from attn_cli.lines.reading import LineReader
from attn_cli.lines.unusable import BadLines
from attn_cli.models.directory import read_config


@dataclass(frozen=True)
class DecodeJob:
    """What was asked for.

    Attributes:
        model: the model directory, or several joined by commas.
        search: how outputs are looked for.
        decoding: what is read and written.
        stream: columns of the input, and whether unusable lines are accepted.
        runtime: seed, threads, device.
        bad: is told of unusable lines.
        say: is told what else a user should know.
    """

    model: str
    search: SearchOptions
    decoding: DecodeOptions
    stream: StreamOptions
    runtime: RuntimeOptions
    bad: BadLines
    say: Callable[[str], None]


class Decoder(Protocol):
    """Answers an input."""

    def results(self, reader: LineReader) -> Iterator[list[str]]:
        """The output lines for an input, as they come, some at a time."""


@dataclass(frozen=True)
class DecoderEntry:
    """A decoder of `DECODERS`.

    Attributes:
        place: where it is: called with a `DecodeJob`.
        does: what its models do, in words.
        reads: flags of the options that it reads.
    """

    place: str
    does: str
    reads: frozenset[str]


_OF_ANSWERS = frozenset({"--task", "--stride", "--max-answer-len", "--no-answer-threshold"})
_OF_BOTH = frozenset({"--scores", "--format", "--buffer", "--precision", "--n-best"})
_OF_TEXTS = frozenset({*flags(SearchOptions), *flags(DecodeOptions)} - _OF_ANSWERS)
_WRITES = DecoderEntry("stream:open_line_decoder", "writes texts", _OF_TEXTS)
_ANSWERS = DecoderEntry("answers:open_answerer", "gives answers", _OF_ANSWERS | _OF_BOTH)
_LABELS = DecoderEntry("nodes:NodeDecoder", "labels nodes", frozenset({"--scores", "--format"}))
# A model's task (`ModelConfig.task`) -> what decodes with it.
DECODERS = {
    "translate": _WRITES,
    "mask-predict": _WRITES,
    "continue": _WRITES,
    "predict": _ANSWERS,
    "nodes": _LABELS,
}


def open_decoder(job: DecodeJob) -> Decoder:
    """The decoder for the model's task.

    Raises:
        DataError: the model directory is missing or damaged, or models of this task are not
            decoded.
        UsageError: options that nothing would read.
    """
    path = job.model.split(",")[0]
    task = read_config(Path(path)).task
    if task == "fill":
        raise DataError(
            f"{path}: an encoder from attn pretrain answers nothing by itself; attn finetune "
            "--init teaches it a task, attn embed gives its vectors"
        )
    if task not in DECODERS:
        raise DataError(f"{path}: this model's task is {shown(task)}{nearest(task, DECODERS)}")
    entry = DECODERS[task]
    given = (*changed(job.search), *changed(job.decoding))
    if vain := [flag for flag in given if flag not in entry.reads]:
        raise UsageError(f"{', '.join(vain)}: {path} {entry.does}: leave it out")
    module, name = entry.place.split(":")
    opened: Any = getattr(importlib.import_module(f"attn_cli.decode.{module}"), name)(job)
    return opened
