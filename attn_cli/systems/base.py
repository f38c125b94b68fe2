"""`SYSTEMS`, the one table of what attn does by the task of a model, and what finds its entries.

Nothing of a system is imported before it is asked for.
"""

from __future__ import annotations

import copy
import importlib
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeVar, cast

from attn_cli.config import changed, flags, nearest, shown
from attn_cli.config.decoding import DecodeOptions, SearchOptions
from attn_cli.config.runtime import RuntimeOptions, StreamOptions
from attn_cli.errors import DataError, UsageError
from attn_cli.lines.notices import Notices
from attn_cli.lines.reading import LineReader
from attn_cli.model_files import read_plain_config
from attn_cli.wording import them

if TYPE_CHECKING:
    import torch

    from attn_cli.systems.generation.generator import Generator
    from attn_cli.viz.job import AttendJob, MapSource

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class System:
    """What attn does with models of one task.

    Attributes:
        does: that, in words.
        called: what one of its models is.
        decoder: where its `Decoder` is, as module:name under `systems`; called with a `DecodeJob`.
            None: its models answer nothing by themselves.
        options: flags of the options that the decoder reads.
        generator: where the `Generator` is whose `load` reads its models, if they write texts.
        by: the same for other ways to write them, by `SearchOptions.way`.
        maps: where its `viz.job.MapSource` is; called with an `AttendJob`.
    """

    does: str
    called: str
    decoder: str | None = None
    options: frozenset[str] = frozenset()
    generator: str | None = None
    by: Mapping[str, str] = field(default_factory=dict)
    maps: str


ATTRIBUTED = ("translate", "predict")  # tasks whose outputs have a probability to be attributed
TRANSLATED = ("translate", "mask-predict")  # those whose outputs are words beside a source
_OF_ANSWERS = frozenset({"--task", "--stride", "--max-answer-len", "--no-answer-threshold"})
_OF_BOTH = frozenset({"--scores", "--format", "--buffer", "--precision", "--n-best"})
_OF_TEXTS = flags(SearchOptions, DecodeOptions) - _OF_ANSWERS

SYSTEMS: dict[str, System] = {
    "translate": System(
        does="writes texts",
        called="a translator",
        decoder="generation.markup:open_text_decoder",
        options=_OF_TEXTS,
        generator="translation.translator:AutoregressiveTranslator",
        by={"ctc": "translation.ctc:CtcTranslator"},
        maps="translation.maps:PairSource",
    ),
    "mask-predict": System(
        does="writes texts",
        called="a mask-predict translator",
        decoder="generation.markup:open_text_decoder",
        options=_OF_TEXTS,
        generator="translation.mask_predict:MaskPredictor",
        maps="translation.maps:PairSource",
    ),
    "continue": System(
        does="writes texts",
        called="a language model",
        decoder="generation.markup:open_text_decoder",
        options=_OF_TEXTS,
        generator="pretraining.continuer:Continuer",
        maps="tasks.maps:BackboneSource",
    ),
    "fill": System(
        does="encodes texts",
        called="an encoder",
        maps="tasks.maps:BackboneSource",
    ),
    "detect": System(
        does="says how likely each word is a replacement",
        called="a detector of replaced tokens",
        decoder="pretraining.detector:ReplacedDetector",
        options=frozenset({"--format", "--buffer", "--precision"}),
        maps="tasks.maps:BackboneSource",
    ),
    "predict": System(
        does="gives answers",
        called="a model that answers (finetune)",
        decoder="tasks.answers:open_answerer",
        options=_OF_ANSWERS | _OF_BOTH,
        maps="tasks.maps:open_texts",
    ),
    "recordings": System(
        does="labels recordings",
        called="a classifier of recordings",
        decoder="recordings.decoder:RecordingDecoder",
        options=frozenset({"--scores", "--format", "--buffer", "--precision", "--batch-tokens"})
        | {"--image-root", "--max-seconds"},
        maps="recordings.maps:RecordingSource",
    ),
    "nodes": System(
        does="labels nodes",
        called="a model of a graph's nodes",
        decoder="nodes.decoder:NodeDecoder",
        options=frozenset({"--scores", "--format"}),
        maps="nodes.maps:NodeSource",
    ),
}


class Kept:
    """What several jobs with one model directory have in common: it is read once.

    A command has one job; a program that holds a model gives it one after the other.
    """

    def __init__(self) -> None:
        self._things: dict[tuple[Hashable, ...], object] = {}

    def once(self, key: tuple[Hashable, ...], read: Callable[[], T]) -> T:
        """What `read` gives, or gave for this key before; nobody changes it."""
        if key not in self._things:
            self._things[key] = read()
        return cast(T, self._things[key])


@dataclass(frozen=True)
class DecodeJob:
    """What was asked for.

    Attributes:
        model: the model directory, or several joined by commas.
        search: how outputs are looked for.
        decoding: what is read and written.
        stream: columns of the input, and whether unusable lines are accepted.
        runtime: seed, threads, device.
        bad: is told of unusable lines, and what else a user should know.
        given: the names of the options that were asked for; the others may be the model's own.
        kept: what earlier jobs with this model, on this device, have read.
    """

    model: str
    search: SearchOptions
    decoding: DecodeOptions
    stream: StreamOptions
    runtime: RuntimeOptions
    bad: Notices
    given: frozenset[str] = frozenset()
    kept: Kept = field(default_factory=Kept)

    def say(self, text: str) -> None:
        """Tells what a user should know."""
        self.bad.say(text)


class Decoder(Protocol):
    """Answers an input."""

    def results(self, reader: LineReader) -> Iterator[list[str]]:
        """The output lines for an input, or pieces of a file, as they come, some at a time."""


def find(place: str) -> Any:
    """What is at a place, module:name under `systems`."""
    module, name = place.split(":")
    return getattr(importlib.import_module(f"attn_cli.systems.{module}"), name)


def system_of(path: str) -> System:
    """The system of a model directory.

    Raises:
        DataError: the directory is missing or damaged, or its task is none of `SYSTEMS`.
    """
    task = read_plain_config(Path(path))["task"]
    if task not in SYSTEMS:
        raise DataError(
            f"{path}: config.json says task {shown(task)}{nearest(task, SYSTEMS)}, which this attn "
            "does not know"
        )
    return SYSTEMS[task]


def open_decoder(job: DecodeJob) -> Decoder:
    """The decoder for the model's task.

    Raises:
        DataError: the model directory is missing or damaged, or models of this task are not
            decoded.
        UsageError: options that nothing would read.
    """
    from attn_cli.models.directory import note_of

    path = job.model.split(",")[0]
    system = system_of(path)
    if system.decoder is None:
        raise DataError(
            f"{path}: an encoder from attn pretrain answers nothing by itself; attn finetune "
            "--init teaches it a task, attn embed gives its vectors"
        )
    given = changed(job.search, job.decoding)
    if vain := [flag for flag in given if flag not in system.options]:
        raise UsageError(f"{', '.join(vain)}: {path} {system.does}: leave {them(vain)} out")
    decoder: Decoder = find(system.decoder)(job)
    for each in job.model.split(","):
        if note := note_of(Path(each)):
            job.say(f"{each}: {note}")
    return decoder


def load_generator(
    paths: str,
    device: torch.device,
    *,
    precision: str = "float32",
    say: Callable[[str], None] | None = None,
    way: str = "",
    prepared: bool = True,
    kept: Kept | None = None,
) -> Generator:
    """Reads one model directory, or several joined by commas, to be used as they are.

    Args:
        paths: the directories.
        device: where the models run.
        precision: see `decode`; its default here is what scores and pictures take.
        say: is told what a user should know of it.
        way: a key of `System.by`; "": the usual one.
        prepared: whether models only answer; False: their gradients are wanted, too.
        kept: what was read of these directories before, to run on this device.

    Raises:
        DataError: a directory is missing, foreign or damaged, or its model generates no text.
        UsageError: the models of an ensemble do not fit together, or not the precision; or they
            can't write so.
    """
    from attn_cli.systems.precision import in_int8, prepare_models

    first = paths.split(",")[0]
    system = system_of(first)
    if system.generator is None:
        raise DataError(
            f"{first}: is {system.called}, which has no probability of a text; attn train-mt and "
            "attn pretrain --objective clm make models that have one"
        )
    if way and way not in system.by:
        raise UsageError(
            f"--{way}: {first} is {system.called}, whose encoder says no text by itself"
        )
    kind = find(system.by[way] if way else system.generator)

    def read() -> Generator:
        generator: Generator = kind.load(paths, device)
        if prepared:
            prepare_models(generator.models, paths, precision, device, say)
        return generator

    key = ("generator", way, prepared, *in_int8(paths, precision, device))
    # A copy: what is set on it for a job is not there for the next one.
    return copy.copy((kept or Kept()).once(key, read))


def open_map_source(job: AttendJob) -> MapSource:
    """What gives the maps of a model's attention, or of several models'.

    Raises:
        DataError: a model directory is missing or damaged, or its models have no attention.
        UsageError: models that do not read the same, or a task of a model that has none.
    """
    from attn_cli.viz.lines import LineSource
    from attn_cli.viz.side_by_side import SideBySide

    paths = [job.model] if Path(job.model).is_dir() else job.model.split(",")
    names = _names(paths)
    sources = [_map_source(replace(job, model=path)) for path in paths]
    for source, name in zip(sources, names, strict=True):
        source.name = name
    if len(sources) == 1:
        return sources[0]
    texts = [source for source in sources if isinstance(source, LineSource)]
    if len(texts) < len(sources):
        raise UsageError(f"-m {job.model[:200]}: models of graphs are drawn one by one")
    return SideBySide(texts)


def _map_source(job: AttendJob) -> MapSource:
    system = system_of(job.model)
    if job.options.task is not None and system is not SYSTEMS["predict"]:
        raise UsageError(
            f"--task {job.options.task[:80]}: {job.model} is no model of several tasks"
        )
    for flag, given, tasks, whose in (
        ("--attribute", job.options.attribute, ATTRIBUTED, "translators and classifiers"),
        ("--word", job.options.word, TRANSLATED, "translators"),
    ):
        if given and not any(system is SYSTEMS[task] for task in tasks):
            raise UsageError(f"{flag}: {job.model} is {system.called}; it is for {whose}")
    source: MapSource = find(system.maps)(job)
    if not source.heads:
        raise DataError(f"{job.model}: this model has no attention to draw")
    return source


def _names(paths: Sequence[str]) -> list[str]:
    """What pictures call models: the last parts of their paths, where these tell them apart.

    Raises:
        UsageError: a model is named twice.
    """
    if len({Path(path).resolve() for path in paths}) < len(paths):
        raise UsageError(f"-m {','.join(paths)[:200]}: one of the models is named twice")
    names = [Path(path).resolve().name for path in paths]
    return names if len(set(names)) == len(names) else list(paths)
