"""What `attn attend` does: maps, and what they become."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from attn_cli.config.attending import AttendOptions
from attn_cli.config.runtime import RuntimeOptions, StreamOptions
from attn_cli.errors import AttnError, UsageError
from attn_cli.lines.unusable import BadLines
from attn_cli.viz.choice import Choice
from attn_cli.viz.maps import LineMaps, MapSource


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


def attend(
    job: AttendJob, open_source: Callable[[AttendJob], MapSource], path: str
) -> Iterator[list[str]]:
    """The lines for standard output, some at a time; files are written on the way.

    Args:
        job: what was asked for.
        open_source: opens the model's maps.
        path: the input: a file, `-`, or a graph's directory.

    Raises:
        DataError: the input can't be read.
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
    module, name = SINKS[made].split(":")
    sink: Sink = getattr(importlib.import_module(f"attn_cli.viz.{module}"), name)(job, choice)
    for lines in source.lines(path):
        for line in lines:
            yield sink.add(_chosen(line, choice, job.options.words))
    yield sink.close()


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


def _chosen(line: LineMaps, choice: Choice, words: bool) -> LineMaps:
    """The maps of the chosen kinds, kind by kind; between words where that is wanted."""
    kept = [m for kind in choice.kinds for m in line.maps if m.kind == kind]
    maps = tuple(one.by_word() if words else one for one in kept)
    return LineMaps(line.number, line.texts, maps)
