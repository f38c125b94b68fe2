"""A model directory and what was read of it; what the methods of `model.Model` stand on."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, TypeAlias, TypeVar

from attn_cli.api.calls import as_guest
from attn_cli.api.labels import label_scores
from attn_cli.api.outputs import (
    NO_SCORE,
    Attention,
    LineScore,
    Output,
    attention_of,
    read_output,
)
from attn_cli.api.speaking import CallNotices, Refusal, Voice
from attn_cli.config.attending import AttendCommand, AttendOptions
from attn_cli.config.command import CommandT
from attn_cli.config.decoding import DecodeCommand
from attn_cli.config.embedding import EmbedCommand
from attn_cli.config.keywords import Keywords, Value
from attn_cli.config.runtime import ModelOptions, StreamOptions
from attn_cli.errors import UsageError
from attn_cli.lines.columns import Columns
from attn_cli.lines.items import Item, ItemReader
from attn_cli.systems.base import SYSTEMS, DecodeJob, Kept, open_decoder, system_of
from attn_cli.workers import Crew

if TYPE_CHECKING:
    import torch

    from attn_cli.embed.embedder import Embedder
    from attn_cli.embed.encoder import TokenEncoder
    from attn_cli.embed.lines import LineVectors
    from attn_cli.viz.lines import LineSource

T = TypeVar("T")
Answering: TypeAlias = Callable[[ItemReader], Iterator[T]]

# What `load` takes, and how a command is read from and written to.
_NOT = frozenset(
    {"model", "device", "threads", "format", "columns", "skip_bad", "quiet", "output", "markup"}
)
DECODE = Keywords(DecodeCommand, _NOT)
EMBED = Keywords(EmbedCommand, _NOT)
_LABELLED = ("predict", "recordings")  # tasks whose answers are labels with a probability each
ATTEND = Keywords(AttendCommand, _NOT | {"peak"})  # brightness of a picture


class Opened:
    """A model directory; its weights are read when they are first needed.

    Args:
        path: the directory, or several joined by commas; "": the default one.
        device: where the model runs.
        threads: of this process, and processes beside it; None: PyTorch's own, and none.
        voice: is told what a user should know.

    Attributes:
        path: the directory, or several joined by commas.
        task: what the model does, a key of `SYSTEMS`.

    Raises:
        DataError: it is missing or damaged.
        UsageError: a device or a number of threads that is none.
    """

    def __init__(self, path: str, device: str, threads: int | None, voice: Voice) -> None:
        self.path = ModelOptions(model=path).path
        system = system_of(self.path.split(",")[0])
        self.task = next(task for task, known in SYSTEMS.items() if known is system)
        self._writes_texts = system.generator is not None
        self._fixed = {"model": self.path, "device": device, "threads": threads}
        self._plain = self.resolved(DECODE, {})
        self._alone = threads is None
        self._voice = voice
        self._kept = Kept()
        self._maps: tuple[AttendOptions, LineSource] | None = None

    def resolved(self, known: Keywords[CommandT], options: Mapping[str, Value]) -> CommandT:
        """The options of a call; raises UsageError."""
        return known.resolve(options, self._fixed)

    def outputs(self, asked: DecodeCommand) -> Answering[Output]:
        """What decodes items; the model is read now.

        Raises:
            UsageError: options that the model can't keep, or a model that reads no lines.
            DataError: the directory is damaged, or its model answers nothing.
        """
        self._require_lines("decode")
        decoding = asked.decoding
        tells_more = decoding.scores or decoding.align or asked.search.n_best > 1
        read: Callable[[str], Output] = Output
        if tells_more or not self._writes_texts:
            decoding, read = replace(decoding, format="json"), read_output
        job = DecodeJob(
            model=self.path,
            search=asked.search,
            decoding=decoding,
            stream=StreamOptions(),
            runtime=asked.runtime,
            bad=self._notices(),
            given=asked.given,
            kept=self._kept,
        )
        with as_guest():
            decoder = open_decoder(job)

        def outputs(reader: ItemReader) -> Iterator[Output]:
            for window in decoder.results(reader):
                yield from map(read, window)
            job.bad.finish(job.bad.outcome)

        return outputs

    def scores(self) -> Answering[LineScore]:
        """What scores items that have an output each; the model is read now.

        Raises:
            UsageError: the model gives no probability of a given output.
            DataError: the directory is damaged.
        """
        bad = self._notices()
        if self.task in _LABELLED:
            outputs = self.outputs(self._plain)
            return lambda reader: label_scores(outputs, reader, bad, self.path)
        from attn_cli.device import crew_for
        from attn_cli.systems.generation.scorer import load_scorer, score_lines

        generator = load_scorer(self.path, self._device(), self._kept)
        crew = Crew() if self._alone else crew_for(generator.device)

        def scores(reader: ItemReader) -> Iterator[LineScore]:
            for found in score_lines(generator, reader, None, bad, crew):
                yield LineScore(found.log_prob, found.tokens) if found else NO_SCORE
            bad.finish(bad.outcome)

        return scores

    def embedder(self, asked: EmbedCommand) -> Embedder:
        """What makes vectors; the model is read now.

        Raises:
            UsageError: the model has no such layer or prompt, or there are several.
            DataError: the directory is damaged, or its model has no vectors.
        """
        from attn_cli.embed.embedder import Embedder
        from attn_cli.embed.encoder import TokenEncoder

        def read() -> TokenEncoder:
            return TokenEncoder.load(asked.model.path, self._device())

        return Embedder(self._kept.once(("encoder",), read), asked.embedding)

    def vectors(
        self, embedder: Embedder, reader: ItemReader, asked: EmbedCommand
    ) -> Iterator[LineVectors]:
        """The vectors of items, one by one."""
        from attn_cli.embed.lines import embed_lines

        bad, columns = self._notices(), Columns.parse(None, 1)
        for window in embed_lines(embedder, reader, columns, bad, asked.embedding.buffer):
            yield from window
        bad.finish(bad.outcome)

    def attentions(self, asked: AttendCommand, item: Item) -> list[Attention]:
        """The attention of an item.

        Raises:
            UsageError: the model has no such attention, or reads no lines.
            DataError: the item can't be used, or the directory is damaged.
        """
        self._require_lines("attend")
        from attn_cli.viz.job import chosen_maps
        from attn_cli.viz.selection import HeadSelection

        source = self._map_source(asked)
        selection = HeadSelection.parse(asked.attending, source.models, everything=True)
        (lines,) = source.lines_of(ItemReader([item]))
        maps = chosen_maps(lines[0], source.title, selection, words=asked.attending.words)
        return [attention_of(found, selection) for found in maps]

    def _map_source(self, asked: AttendCommand) -> LineSource:
        """What gives maps; that of the last call serves again for another kind, layer or head."""
        options = replace(asked.attending, kind=None, layer=None, head=None, words=False)
        if self._maps is not None and self._maps[0] == options:
            return self._maps[1]
        from attn_cli.systems.base import open_map_source
        from attn_cli.viz.job import AttendJob
        from attn_cli.viz.lines import LineSource

        bad, say = Refusal(self._voice), self._voice.warn
        job = AttendJob(self.path, options, StreamOptions(), asked.runtime, bad, say)
        with as_guest():
            source = open_map_source(job)
        if not isinstance(source, LineSource):
            raise UsageError(f"{self.path}: attention is that of one model; load one")
        self._maps = options, source
        return source

    def _require_lines(self, verb: str) -> None:
        if self.task == "nodes":
            raise UsageError(
                f"{self.path}: labels the nodes of a graph, not lines: attn {verb} GRAPH does"
            )

    def _notices(self) -> CallNotices:
        return CallNotices(self._voice, alone=self._alone)

    def _device(self) -> torch.device:
        from attn_cli.device import set_up

        with as_guest():
            return set_up(self._plain.runtime)
