"""What `attn attend` does: maps, and what they become."""

from __future__ import annotations

import importlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from attn_cli.config.attending import AttendOptions
from attn_cli.config.runtime import RuntimeOptions, StreamOptions
from attn_cli.errors import AttnError, UsageError
from attn_cli.lines.unusable import BadLines
from attn_cli.viz.maps import AttentionMap, LineMaps
from attn_cli.viz.selection import Heads, HeadSelection


@dataclass(frozen=True)
class AttendJob:
    """What was asked for.

    Attributes:
        model: the model directory, or several joined by commas.
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


class MapSource(ABC):
    """Turns an input into maps: what a system's model attends to.

    Attributes:
        heads: for each kind of attention of the model, the best known first, the number of heads in
            every layer.
        score: the model's score function, if it is known.
        name: what pictures call the model.
    """

    heads: Mapping[str, Sequence[int]]
    score: str = ""
    name: str = ""

    @property
    def title(self) -> str:
        """The model's name and its score function."""
        return f"{self.name}, {self.score}" if self.score else self.name

    @property
    def models(self) -> Heads:
        """The heads of each model, by its title."""
        return {self.title: self.heads}

    @abstractmethod
    def lines(self, path: str) -> Iterator[list[LineMaps]]:
        """The maps of every line of an input, in order, as soon as they are there, some at a time.

        Raises:
            DataError: the input can't be read.
        """

    def draw(self, path: str, selection: HeadSelection) -> list[str] | None:
        """Draws an input that is one picture, as a graph is, into `--output`.

        Returns:
            The lines for standard output; None where each line is a picture of its own.
        """
        return None


class Sink(ABC):
    """Makes something of maps.

    Args:
        job: what was asked for.
        selection: what is drawn.
    """

    def __init__(self, job: AttendJob, selection: HeadSelection) -> None:
        self._job = job
        self._selection = selection

    @abstractmethod
    def add(self, line: LineMaps) -> list[str]:
        """Takes a line's maps; the lines that standard output gets for it now."""

    def close(self) -> list[str]:
        """Ends the last file; the lines that standard output gets now."""
        return []


# What is made of maps -> the `Sink` for it.
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
    kind = _output_kind(job)
    source = open_source(job)
    selection = HeadSelection.parse(job.options, source.models, everything=kind == ".html")
    drawn_whole = source.draw(path, selection) if kind in (".png", ".svg", ".pdf") else None
    if drawn_whole is not None:
        yield drawn_whole
        return
    module, name = SINKS[kind].split(":")
    sink: Sink = getattr(importlib.import_module(f"attn_cli.viz.{module}"), name)(job, selection)
    for lines in source.lines(path):
        for line in lines:
            maps = chosen_maps(line, source.title, selection, words=job.options.words)
            yield sink.add(LineMaps(line.number, line.texts, maps))
    yield sink.close()


def chosen_maps(
    line: LineMaps, title: str, selection: HeadSelection, *, words: bool
) -> tuple[AttentionMap, ...]:
    """The maps of a line that are of the chosen kinds, kind by kind; between words if so wanted.

    Args:
        line: the line's maps.
        title: of the model, where a map does not say which it is of.
        selection: the kinds.
        words: whether maps are between words.
    """
    named = [found if found.model else replace(found, model=title) for found in line.maps]
    maps = [found for kind in selection.kinds for found in named if found.kind == kind]
    maps = [found for found in maps if found.kind in selection.layers[found.model]]
    return tuple(found.by_word() if words else found for found in maps)


def _output_kind(job: AttendJob) -> str:
    """A key of `SINKS`; that a file can be written is asked before anything is computed."""
    options = job.options
    if options.output is None:
        by_terminal = "heat" if job.on_terminal else "tsv"
        return by_terminal if options.format == "auto" else options.format
    ending = Path(options.output).suffix.lower()
    endings = [key for key in SINKS if key.startswith(".")]
    if ending not in endings:
        raise UsageError(f"-o {options.output}: a name that ends in {', '.join(endings)} is needed")
    folder = Path(options.output).parent
    if not folder.is_dir():
        raise AttnError(f"{folder}: no such directory; make it first")
    return ending
