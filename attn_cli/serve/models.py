"""Which models are served, what each is asked for, and the threads that answer."""

from __future__ import annotations

import re
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from attn_cli.config import changed, long_flags
from attn_cli.config.decoding import SearchOptions
from attn_cli.config.embedding import EmbedOptions
from attn_cli.config.runtime import StreamOptions
from attn_cli.config.serving import ServeCommand
from attn_cli.device import set_up
from attn_cli.embed.embedder import Embedder
from attn_cli.embed.encoder import TokenEncoder
from attn_cli.errors import AttnError, UsageError
from attn_cli.serve.answering import ANSWERS, Answers, DetectorAnswers, Entry, flat_texts
from attn_cli.serve.batcher import Batcher
from attn_cli.serve.embedding import TextVector, Vectors
from attn_cli.serve.meter import Meter
from attn_cli.serve.writing import Ask, HeardNotices, Input, Writer, Written, settled
from attn_cli.systems.base import SYSTEMS, DecodeJob, System, open_decoder, system_of
from attn_cli.systems.generation.lines import LineDecoder
from attn_cli.systems.pretraining.detector import ReplacedDetector
from attn_cli.systems.tasks.answers import Answerer
from attn_cli.wording import them

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

K = TypeVar("K", bound=Hashable)
I = TypeVar("I")  # noqa: E741 - item
R = TypeVar("R")
D = TypeVar("D", bound="DataclassInstance")

_LANGUAGE = "[A-Za-z]{2,3}(?:_[A-Za-z0-9]+)*"
_PAIR = re.compile(f"({_LANGUAGE})-({_LANGUAGE})")
_LONGEST_NAME = 200


@dataclass(frozen=True)
class Place:
    """A model to be served: what requests call it, and its directory."""

    name: str
    path: str

    @property
    def pair(self) -> tuple[str, str] | None:
        """The languages that its name says, source and target."""
        found = _PAIR.fullmatch(self.name)
        return (found[1], found[2]) if found else None


@dataclass(frozen=True)
class ServedWriter:
    """A model that writes texts.

    Attributes:
        name: what requests call it.
        pair: source and target language; None: it is asked for any.
        search: how outputs are looked for where a request does not say.
        seed: for sampling, likewise.
        batcher: answers.
    """

    name: str
    pair: tuple[str, str] | None
    search: SearchOptions
    seed: int
    batcher: Batcher[Ask, Input, list[Written]]


@dataclass(frozen=True)
class Models:
    """All models that are served, by name and by what they are asked for.

    Attributes:
        translators: source to target.
        language_models: prompt to continuation.
        answerers: input to entry.
        encoders: text to vector.
    """

    translators: dict[str, ServedWriter] = field(default_factory=dict)
    language_models: dict[str, ServedWriter] = field(default_factory=dict)
    answerers: dict[str, Batcher[None, object, Entry]] = field(default_factory=dict)
    encoders: dict[str, Batcher[None, str, TextVector]] = field(default_factory=dict)

    @property
    def names(self) -> list[str]:
        """What all of them are called."""
        groups = (self.translators, self.language_models, self.answerers, self.encoders)
        return sorted(name for group in groups for name in group)

    def close(self, seconds: float) -> None:
        """Ends their threads."""
        for writer in (*self.translators.values(), *self.language_models.values()):
            writer.batcher.close(seconds)
        for answerer in self.answerers.values():
            answerer.close(seconds)
        for encoder in self.encoders.values():
            encoder.close(seconds)


def places_of(spec: str) -> list[Place]:
    """Reads `DIR` or `NAME=DIR,NAME=DIR`.

    Raises:
        UsageError: a name is missing, or stands for two models.
    """
    if Path(spec).is_dir():
        return [Place(_name_of(spec), spec)]
    places = []
    for part in spec.split(","):
        name, mark, path = part.partition("=")
        if not mark or Path(part).is_dir():
            name, path = _name_of(part), part
        if not name.strip() or not path.strip() or len(name) > _LONGEST_NAME:
            raise UsageError(f"-m {spec[:200]}: write DIR, or NAME=DIR,NAME=DIR")
        places.append(Place(name.strip(), path.strip()))
    names = [place.name for place in places]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise UsageError(
            f"-m {spec[:200]}: two models are called {twice[0]}; give each a name of its own: "
            "NAME=DIR,NAME=DIR"
        )
    return places


def _name_of(path: str) -> str:
    """What a model without a name is called: as its directory."""
    return Path(path).resolve().name[:_LONGEST_NAME] or "model"


def open_models(command: ServeCommand, meter: Meter, say: Callable[[str], None]) -> Models:
    """Loads the models, each once.

    Args:
        command: what is served, and how.
        meter: is told of each batch.
        say: is told what a user should know.

    Raises:
        DataError: a model directory is missing or damaged.
        UsageError: a model that can't be asked over HTTP, or options that nothing would read.
    """
    places = places_of(command.model.path)
    systems = [system_of(place.path) for place in places]
    read = frozenset[str]().union(*(system.options for system in systems))
    given = changed(command.search, command.decoding)
    if vain := [flag for flag in given if flag not in read]:
        raise UsageError(f"{', '.join(vain)}: no model here reads that; leave {them(vain)} out")
    models = Models()
    opening = _Opening(command, meter, say)
    for place, system in zip(places, systems, strict=True):
        opening.add(models, place, system)
    return models


@dataclass(frozen=True)
class _Opening:
    """What all models are loaded with."""

    command: ServeCommand
    meter: Meter
    say: Callable[[str], None]

    def add(self, models: Models, place: Place, system: System) -> None:
        """Loads a model and starts its thread."""
        if system is SYSTEMS["fill"]:
            models.encoders[place.name] = self._batcher(place, self._vectors(place).answer, len)
            return
        job = self._job(place, system)
        decoder = open_decoder(job)
        if isinstance(decoder, LineDecoder):
            self._add_writer(models, place, decoder, job)
            return
        answers: Answers
        if isinstance(decoder, Answerer):
            answers = ANSWERS[decoder.predictor.task.format](decoder)
        elif isinstance(decoder, ReplacedDetector):
            answers = DetectorAnswers(decoder)
        else:
            raise UsageError(
                f"-m {place.path}: is {system.called}, which is asked about a whole file: attn "
                "decode does that"
            )
        models.answerers[place.name] = self._batcher(place, answers.answer, _size)

    def _job(self, place: Place, system: System) -> DecodeJob:
        """What is asked of `decode`, with the options that this model reads."""
        command = self.command
        decoding = _read_by(system, command.decoding).decoding()
        return DecodeJob(
            model=place.path,
            search=_read_by(system, command.search),
            decoding=replace(decoding, format="json"),
            stream=StreamOptions(),
            runtime=command.runtime,
            bad=HeardNotices(self.say),
            given=command.given,
        )

    def _add_writer(
        self, models: Models, place: Place, decoder: LineDecoder, job: DecodeJob
    ) -> None:
        generator = decoder.generator
        if generator.reads_files:
            raise UsageError(
                f"-m {place.path}: reads images, which a request could only name by files of this "
                "machine: attn decode does that"
            )
        assert isinstance(job.bad, HeardNotices)
        writer = Writer(decoder, replace(job.decoding, format="text"), job.bad)
        served = ServedWriter(
            name=place.name,
            pair=place.pair,
            search=settled(decoder.search, decoder.search.n_best),
            seed=job.runtime.seed,
            batcher=self._batcher(place, writer.answer, lambda line: len(line.text)),
        )
        group = models.translators if generator.has_source else models.language_models
        group[place.name] = served

    def _vectors(self, place: Place) -> Vectors:
        encoder = TokenEncoder.load(place.path, set_up(self.command.runtime))
        return Vectors(Embedder(encoder, EmbedOptions()), encoder.tokenizer)

    def _batcher(
        self,
        place: Place,
        answer: Callable[[K, Sequence[I]], Sequence[R | AttnError]],
        size: Callable[[I], int],
    ) -> Batcher[K, I, R]:
        limits = self.command.limits
        return Batcher(
            place.name,
            answer,
            size=size,
            most=limits.max_batch,
            room=limits.max_queue,
            meter=self.meter,
        )


def _read_by(system: System, settings: D) -> D:
    """The options that a system reads; the others by default."""
    unread = {
        option.name: option.default
        for option in fields(settings)
        if long_flags(option)[0] not in system.options
    }
    return replace(settings, **unread)


def _size(value: object) -> int:
    """Characters of an input."""
    return sum(map(len, flat_texts(value) or ()))
