"""What `attn attend` does: a source of maps, chosen by the model's task, and what they become."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from attn_cli.config import nearest, shown
from attn_cli.config.attending import AttendOptions
from attn_cli.config.runtime import RuntimeOptions, StreamOptions
from attn_cli.errors import AttnError, DataError, UsageError
from attn_cli.lines.unusable import BadLines
from attn_cli.models.directory import read_config
from attn_cli.viz.choice import Choice
from attn_cli.viz.maps import SOURCES, LineMaps, MapSource


@dataclass(frozen=True)
class AttendJob:
    """What was asked for.

    Attributes:
        model: the model directory.
        options: what is drawn, and how.
        stream: columns of the input, and whether unusable lines are accepted.
        runtime: seed, threads, device.
        bad: is told of unusable lines.
        say: is told what else a user should know.
        on_terminal: whether standard output is one.
    """

    model: str
    options: AttendOptions
    stream: StreamOptions
    runtime: RuntimeOptions
    bad: BadLines
    say: Callable[[str], None]
    on_terminal: bool = False


class Sink(Protocol):
    """Makes something of maps."""

    def add(self, line: LineMaps) -> list[str]:
        """Takes a line's maps; the lines that standard output gets for it now."""

    def close(self) -> list[str]:
        """Ends the last file; the lines that standard output gets now."""


# What is made of maps -> where that is: called with an `AttendJob` and a `Choice`.
SINKS = {
    "heat": "heat:HeatSink",
    "tsv": "table:TableSink",
    ".png": "picture:PictureSink",
    ".svg": "picture:PictureSink",
    ".pdf": "picture:DocumentSink",
    ".html": "page:PageSink",
}


def attend(job: AttendJob, path: str) -> Iterator[list[str]]:
    """The lines for standard output, some at a time; files are written on the way.

    Args:
        job: what was asked for.
        path: the input: a file, `-`, or a graph's directory.

    Raises:
        DataError: the model directory is missing or damaged, or models of its task have no
            attention to draw.
        UsageError: what the model does not have, or an unknown kind of file.
        AttnError: a file can't be written.
    """
    made = _made(job)
    source = open_source(job)
    choice = Choice.parse(job.options, source.heads, everything=made == ".html")
    draw_whole = getattr(source, "draw", None)  # a graph is one picture, not one a line
    if draw_whole and made in (".png", ".svg", ".pdf"):
        yield draw_whole(path, choice)
        return
    sink: Sink = _find("attn_cli.viz", SINKS[made])(job, choice)
    for lines in source.lines(path):
        for line in lines:
            yield sink.add(_chosen(line, choice, job.options.words))
    yield sink.close()


def open_source(job: AttendJob) -> MapSource:
    """What gives the maps of the model.

    Raises:
        DataError, UsageError: see `attend`.
    """
    if "," in job.model:
        raise UsageError(f"-m {job.model}: attention is that of one model; name one")
    task = read_config(Path(job.model)).task
    if task not in SOURCES:
        raise DataError(f"{job.model}: this model's task is {shown(task)}{nearest(task, SOURCES)}")
    if job.options.task is not None and task != "predict":
        raise UsageError(
            f"--task {job.options.task[:80]}: {job.model} is no model of several tasks"
        )
    source: MapSource = _find("attn_cli.viz", SOURCES[task])(job)
    if not source.heads:
        raise DataError(f"{job.model}: this model has no attention to draw")
    return source


def _made(job: AttendJob) -> str:
    """A key of `SINKS`; that a file can be written is asked before anything is computed."""
    options = job.options
    if options.output is None:
        return options.format if options.format != "auto" else _shown_as(job.on_terminal)
    ending = Path(options.output).suffix.lower()
    endings = [key for key in SINKS if key.startswith(".")]
    if ending not in endings:
        raise UsageError(f"-o {options.output}: a name that ends in {', '.join(endings)} is needed")
    folder = Path(options.output).parent
    if not folder.is_dir():
        raise AttnError(f"{folder}: no such directory; make it first")
    return ending


def _shown_as(on_terminal: bool) -> str:
    return "heat" if on_terminal else "tsv"


def _find(room: str, place: str) -> Any:
    module, name = place.split(":")
    return getattr(importlib.import_module(f"{room}.{module}"), name)


def _chosen(line: LineMaps, choice: Choice, words: bool) -> LineMaps:
    """The maps of the chosen kinds, kind by kind; between words where that is wanted."""
    kept = [m for kind in choice.kinds for m in line.maps if m.kind == kind]
    maps = tuple(one.by_word() if words else one for one in kept)
    return LineMaps(line.number, line.texts, maps)
