"""`attn finetune --task classify --source audio`: from labelled recordings to a model directory."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch

from attn_cli.config.finetuning import FinetuneCommand
from attn_cli.config.training import TrainingOptions
from attn_cli.data.batching import stream
from attn_cli.data.corpus import Corpus
from attn_cli.data.entries import CorpusFiles
from attn_cli.data.label_files import labels_problem, read_labels, write_labels
from attn_cli.data.line_index import RowCheck
from attn_cli.errors import DataError, UsageError
from attn_cli.lines.columns import Columns
from attn_cli.metrics.base import Segment
from attn_cli.metrics.scoring import chosen_metrics, score_corpus
from attn_cli.models.directory import CONFIG, ModelConfig
from attn_cli.systems.recipe import DEV, TRAIN, CorpusRecipe, each_row, n_weights
from attn_cli.systems.recordings.batches import (
    RecordingBatch,
    RecordingObjective,
    RecordingReader,
)
from attn_cli.systems.recordings.start import ARCH, begun, starting_point
from attn_cli.systems.suited import Amount, Suited, Usual, mean_tokens, suited
from attn_cli.systems.tasks.classify import Classify
from attn_cli.systems.tasks.recipe import labels_of
from attn_cli.systems.tasks.training import balanced_weights, known_labels_only, rare_remarks
from attn_cli.systems.translation.audio_source import AudioSources
from attn_cli.train.loop import Training
from attn_cli.train.monitor import Speaker
from attn_cli.train.processes import Processes
from attn_cli.train.run import Plan
from attn_cli.train.spread import Spread, alone
from attn_cli.wording import plural

TASK = "recordings"
USUAL = Usual(
    batch_tokens=(256, 2048),
    updates_a_pass=50,
    examples_a_batch=8,
    warmup=100,
    examples_seen=100_000,
    passes=(5, 60),
    fewest_updates=1000,
    most_passes=200,
)
_VALIDATING = 0.4  # the time of a recording in a validation, in that of one in training


class RecordingLabel(Classify):
    """What a line of a corpus is: the name of a file, and the label of what is in it."""

    columns: ClassVar[tuple[str, ...]] = ("recording", "label")


class RecordingRecipe(CorpusRecipe[RecordingBatch, FinetuneCommand]):
    """Prepares and opens a training on labelled recordings.

    Args:
        files: TSV files of them; standard input if there are none.
        options: of the command.
        speaker: is told what was found and chosen.

    Raises:
        DataError: the directory to start from is none of a model that reads recordings.
        UsageError: options contradict it, or one another.
    """

    noun: ClassVar[str] = "recording"
    dev_limit: ClassVar[int] = 5000

    def __init__(self, files: list[str], options: FinetuneCommand, speaker: Speaker) -> None:
        super().__init__(files, options, speaker)
        if len(options.finetuning.dev) > 1:
            raise UsageError("one task is validated on one --dev file")
        begun(options)

    @property
    def inputs(self) -> Iterable[str | None]:
        """Labelled recordings."""
        return [*self.files, *self.options.finetuning.dev]

    def prepare(self, output: Path, work: Path) -> None:
        """Reads every recording, holds some out, finds the labels."""
        sources = self._sources(work)
        corpus = self._index(sources, tuple(self.files), TRAIN, RecordingLabel.problem)
        counts = labels_of(RecordingLabel, each_row(corpus, np.arange(len(corpus))))
        labels = sorted(counts)
        if not (output / CONFIG).exists():
            where = ", ".join(self.files)
            if problem := labels_problem(labels):
                raise DataError(f"{where}: label {problem}")
            if len(labels) < 2:
                raise DataError(f"{where}: only one label, {labels[0]}: nothing to learn")
            output.mkdir(parents=True, exist_ok=True)
            write_labels(output, labels)
        dev = None
        if self.options.finetuning.dev:
            check = known_labels_only(RecordingLabel, read_labels(output))
            dev = self._index(sources, self.options.finetuning.dev, DEV, check)
        self.hold_out(work, corpus, dev, sources.hold_out)
        self._say_rare(work, corpus, counts)

    def open(self, output: Path, work: Path, processes: Processes) -> Plan[RecordingBatch]:
        """The model with the weights it starts from, its batches, its validation."""
        options, sources = self.options, self._sources(work)
        split = self.split(work, has_dev=bool(options.finetuning.dev))
        labels = read_labels(output)
        start = starting_point(options, sources, labels)
        model = start.build(self.seed)
        weights = None
        if options.finetuning.balance:
            rows = each_row(split.train, split.rows)
            weights = torch.tensor(balanced_weights(RecordingLabel, rows, labels))
        objective = RecordingObjective(model, options.training.label_smoothing, weights)
        objective.to(processes.device)
        read = RecordingReader(
            corpus=split.train,
            rows=split.rows,
            side=sources.side(),
            contents=sources.contents(TRAIN),
            numbers={label: number for number, label in enumerate(labels)},
            batch_tokens=1,
        )
        chosen = self._suited(read, sources.longest)
        read = dataclasses.replace(read, batch_tokens=chosen.training.batch_tokens)
        train = dataclasses.replace(read, contents=sources.learnt_contents(TRAIN))
        dev_name = DEV if options.finetuning.dev else TRAIN
        dev = dataclasses.replace(
            read, corpus=split.dev, rows=split.dev_rows, contents=sources.contents(dev_name)
        )
        contents = "".join(map(sources.fingerprint, dict.fromkeys((TRAIN, dev_name))))
        fingerprint = split.train.fingerprint + split.dev.fingerprint + contents
        return Plan(
            Training(
                objective=objective,
                stream=lambda position, peers: stream(train.source(), self.seed, position, peers),
                validate=RecordingValidation(objective, dev, labels),
                validation_epochs=_VALIDATING * len(split.dev_rows) / max(1, len(split.rows)),
            ),
            chosen.training,
            ModelConfig(
                ARCH,
                TASK,
                start.config,
                self.saved_options(fingerprint, len(split.rows), len(split.dev_rows)),
            ),
            [
                f"{len(split.rows):,} recordings to train on, {len(split.dev_rows):,} to validate "
                f"on; {plural(len(labels), 'label')}",
                f"{start.why}: {n_weights(model):,} weights",
                *chosen.said,
            ],
        )

    def _sources(self, work: Path) -> AudioSources:
        before = begun(self.options)
        return AudioSources(self.options.sound.read_as, work, before, share_vocab=False)

    def _index(
        self, sources: AudioSources, paths: tuple[str, ...], name: str, check: RowCheck
    ) -> Corpus:
        columns, remedy = self.options.stream.columns, "lines are recording<TAB>label"
        files = CorpusFiles(paths, Columns.parse(columns, 2), remedy=remedy, even=not columns)
        corpus = sources.index(files, name, self.bad_lines(), check, self.speaker.say)
        if not len(corpus):
            raise DataError(f"{', '.join(paths)}: no recording to work with; {remedy}")
        self.say_unread(corpus, files)
        return corpus

    def _say_rare(self, work: Path, corpus: Corpus, counts: Counter[str]) -> None:
        """Says which labels are hardly learnt."""
        held_out = np.load(work / "held-out.npy", allow_pickle=False)
        found = labels_of(RecordingLabel, each_row(corpus, held_out))
        for remark in rare_remarks(counts, found):
            self.speaker.warn(f"{', '.join(self.files)}: {remark}")

    def _suited(self, reader: RecordingReader, longest: int) -> Suited:
        """The options with what they leave open decided by the corpus.

        Args:
            reader: of the recordings that are trained on.
            longest: positions of the longest one.
        """
        count = len(reader.rows)
        amount = Amount(self.noun, count, count * mean_tokens(reader.rows, reader.lengths))
        return suited(_with_metric(self.options.training), USUAL, amount, longest)


class RecordingValidation:
    """Loss of the dev recordings, and the figures of the likeliest labels."""

    def __init__(
        self, objective: RecordingObjective, reader: RecordingReader, labels: list[str]
    ) -> None:
        self._objective = objective
        self._reader = reader
        self._labels = labels

    @torch.inference_mode()
    def __call__(self, spread: Spread = alone) -> dict[str, float]:
        """The figures by name."""
        numbers = np.arange(len(self._reader.rows))
        device = next(self._objective.parameters()).device

        def measured(batch: RecordingBatch) -> tuple[float, list[int]]:
            placed = batch.to(device)
            outputs = self._objective.model(placed.source, placed.mask)
            loss = float(self._objective.losses(outputs, placed.targets)[1])
            return loss, outputs.argmax(-1).tolist()

        places, batches = zip(
            *self._reader.numbered(self._reader.encode(numbers, 0), 0), strict=True
        )
        loss, answers = 0.0, [""] * len(numbers)
        for group, (part, best) in zip(places, spread(measured, batches), strict=True):
            loss += part
            for place, label in zip(group, best, strict=True):
                answers[place] = self._labels[label]
        gold = self._reader.labels(numbers)
        segments = [Segment(*pair) for pair in zip(answers, ((one,) for one in gold), strict=True)]
        scores = score_corpus(RecordingLabel.measures, segments)
        return {"loss": loss / len(numbers), **{s.name.lower(): s.value for s in scores}}


def _with_metric(training: TrainingOptions) -> TrainingOptions:
    """The options with the metric decided.

    Raises:
        UsageError: it is none of labels'.
    """
    if training.metric == "auto":
        return dataclasses.replace(training, metric=RecordingLabel.metric)
    measured = [name for m in chosen_metrics(RecordingLabel.measures) for name in m.names]
    known = [*(name.lower() for name in measured), "loss"]
    if training.metric not in known:
        raise UsageError(f"--metric {training.metric}: this has {', '.join(known)}")
    return training
