"""What `attn decode` does, by the task of the model: the table, and what all entries are given."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from attn_cli.config import nearest, shown
from attn_cli.config.decoding import DecodeOptions, SearchOptions
from attn_cli.config.runtime import RuntimeOptions, StreamOptions
from attn_cli.errors import DataError
from attn_cli.models.directory import read_config
from attn_cli.text import BadLines, LineReader


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


# A model's task (`ModelConfig.task`) -> where its decoder is: called with a `DecodeJob`.
DECODERS = {
    "translate": "stream:open_line_decoder",
    "mask-predict": "stream:open_line_decoder",
    "continue": "stream:open_line_decoder",
    "predict": "answers:open_answerer",
    "nodes": "nodes:NodeDecoder",
}


def open_decoder(job: DecodeJob) -> Decoder:
    """The decoder for the model's task.

    Raises:
        DataError: the model directory is missing or damaged, or models of this task are not
            decoded.
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
    module, name = DECODERS[task].split(":")
    opened: Any = getattr(importlib.import_module(f"attn_cli.decode.{module}"), name)(job)
    return opened
