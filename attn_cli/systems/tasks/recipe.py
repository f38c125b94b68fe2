"""`attn finetune`: from labelled examples to a model directory, one task or several at once."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from attn_cli.config import saved
from attn_cli.config.finetuning import FinetuneCommand, FinetuningOptions, TaskSpec
from attn_cli.config.stack import HeadConfig
from attn_cli.config.training import TrainingOptions
from attn_cli.data.batching import stream
from attn_cli.data.corpus import Corpus, CorpusFiles, RowCheck, build_corpus
from attn_cli.data.label_files import labels_problem, read_labels, write_labels
from attn_cli.data.split import Rows, count_shared, hold_out
from attn_cli.errors import DataError, UsageError
from attn_cli.files import inside, writing
from attn_cli.lines.columns import Columns
from attn_cli.lines.unusable import BadLines
from attn_cli.models.directory import CONFIG, ModelConfig, read_config
from attn_cli.models.sizes import STACK_PRESETS
from attn_cli.systems.tasks import TASKS
from attn_cli.systems.tasks.base import Task
from attn_cli.systems.tasks.flatten import FLATTEN
from attn_cli.systems.tasks.predictor import Predictor, task_setting
from attn_cli.systems.tasks.reader import ExampleReader, MixedBatch, MixedReader
from attn_cli.systems.tasks.start import reads_documents, starting_point, what_learns
from attn_cli.systems.tasks.training import (
    FinetuneObjective,
    OpenTask,
    TaskFiles,
    TasksValidation,
    balanced_weights,
    class_report,
    each_row,
    known_figures,
    known_labels_only,
)
from attn_cli.tokenizers.tokenizer import Tokenizer
from attn_cli.tokenizers.tokenizer_files import load_tokenizer, read_tokenizers, write_tokenizers
from attn_cli.tokenizers.tokenizer_training import train_tokenizer
from attn_cli.train.embeddings import start_embeddings
from attn_cli.train.loop import Training
from attn_cli.train.monitor import Speaker
from attn_cli.train.processes import Processes
from attn_cli.train.run import DATA, Plan, Recipe, said_limits
from attn_cli.wording import plural

_DEV_LIMIT = 5000  # examples that a validation answers
_RATE, _RATE_OF_NEW_WEIGHTS = 2e-4, 1e-3
_EXAMPLES_SEEN = 40_000  # in a run, as far as 3 to 20 passes allow
_HELD_OUT_LIMIT = 2000  # of them, where a tenth is held out


class FinetuneRecipe(Recipe[MixedBatch]):
    """Prepares and opens a fine-tuning.

    Args:
        files: examples; none where several tasks name theirs.
        options: of the command.
        speaker: is told what was found and chosen.

    Raises:
        UsageError: the tasks can't be told, or do not go with other options.
    """

    def __init__(self, files: list[str], options: FinetuneCommand, speaker: Speaker) -> None:
        self._options = options
        self._speaker = speaker
        chosen, columns = options.finetuning, options.stream.columns
        try:
            self._specs = specs = chosen.specs(files)
            self._check_documents()
            self._dev_files = {spec.name: chosen.dev_file(spec, specs) for spec in specs}
            self._columns = {spec.name: chosen.columns(columns, spec, specs) for spec in specs}
        except ValueError as error:
            raise UsageError(str(error)) from error

    def prepare(self, output: Path, work: Path) -> None:
        """Checks every line, holds examples out, finds the labels, takes or trains a tokenizer."""
        corpora = [self._prepare_task(spec, output, work) for spec in self._specs]
        if not (output / CONFIG).exists():
            tokenizer = self._tokenizer(corpora)
            write_tokenizers(output, tokenizer, tokenizer)

    def open(self, output: Path, work: Path, processes: Processes) -> Plan[MixedBatch]:
        """The model with the weights it starts from, its batches, its validation."""
        options = self._options.finetuning
        tokenizer, _ = read_tokenizers(output)
        labels = {spec.name: self._labels(spec, output) for spec in self._specs}
        start = starting_point(options, self._options.size.size, tokenizer)
        files = {spec.name: self._files(spec, work) for spec in self._specs}
        heads = [
            self._head(spec, files[spec.name], labels[spec.name], start.pool(options.pool))
            for spec in self._specs
        ]
        model = start.build(heads, self._options.runtime.seed, options.dropout)
        said: list[str] = []
        if options.embeddings:
            weight, skip = model.backbone.token_vectors.weight, self._options.stream.skip_bad
            given = (weight, options.embeddings, tokenizer, self._speaker)
            said.append(start_embeddings(*given, skip_bad=skip))
        rates = what_learns(model, options)
        model.to(processes.device)
        parts = {
            spec.name: self._open_task(spec, files[spec.name], model, tokenizer, labels[spec.name])
            for spec in self._specs
        }
        reader = MixedReader(
            {name: part.train for name, part in parts.items()},
            {spec.name: spec.weight for spec in self._specs},
        )
        training = _decided(self._options.training, options, parts)
        objective = FinetuneObjective(model, {name: part.task for name, part in parts.items()})
        tasks_training = Training(
            objective=objective,
            stream=lambda position: stream(reader.source(), self._options.runtime.seed, position),
            validate=TasksValidation(objective, parts),
            rates=rates,
        )
        fingerprint = "".join(part.fingerprint for part in parts.values())
        kept = saved(self._options) | {DATA: fingerprint}
        done = ModelConfig(start.arch, "predict", start.config, kept, heads=tuple(heads))
        said += [*self._summary(parts, model), f"rate {training.lr:g}; {said_limits(training)}"]
        return Plan(tasks_training, training, done, said, lambda: class_report(output, parts))

    def _check_documents(self) -> None:
        """Raises UsageError if a model that reads documents is asked for what it can't do."""
        if not reads_documents(self._options.finetuning):
            return
        if self._options.finetuning.stride:
            raise UsageError("--stride: sentences (han) are read whole, or in parts, without it")
        for spec in self._specs:
            if not TASKS[spec.kind].reads_documents:
                able = ", ".join(name for name, kind in TASKS.items() if kind.reads_documents)
                raise UsageError(f"--task {spec.kind}: a han reads documents; it does {able}")

    # --- one task's files ---

    def _prepare_task(self, spec: TaskSpec, output: Path, work: Path) -> tuple[TaskSpec, Corpus]:
        kind = TASKS[spec.kind]
        corpus = self._index(spec, spec.files, work, f"{spec.name}.train", kind.problem)
        if kind.labelled and not (output / CONFIG).exists():
            output.mkdir(parents=True, exist_ok=True)
            write_labels(output, self._find_labels(kind, corpus, spec), self._label_name(spec))
        held_out = np.empty(0, np.int64)
        if dev_file := self._dev_files[spec.name]:
            check = known_labels_only(kind, self._labels(spec, output))
            dev = self._index(spec, (dev_file,), work, f"{spec.name}.dev", check)
            if shared := count_shared(dev, corpus):
                self._speaker.warn(
                    f"{shared:,} of {plural(len(dev), 'dev example')} are also trained on: the "
                    "validation will be too good"
                )
        else:
            tenth = min(_HELD_OUT_LIMIT, max(100, len(corpus) // 10))
            held_out = hold_out(corpus, self._options.runtime.seed, least=tenth)
            if not len(held_out):
                self._speaker.warn("too few distinct examples to hold any out: they validate")
        with writing(work / f"{spec.name}.held-out.npy"):
            np.save(inside(work, f"{spec.name}.held-out.npy"), held_out)
        return spec, corpus

    def _index(
        self, spec: TaskSpec, paths: tuple[str, ...], work: Path, name: str, check: RowCheck
    ) -> Corpus:
        kind = TASKS[spec.kind]
        bad = BadLines(self._speaker.warn, skip_bad=self._options.stream.skip_bad)
        if kind.source == "lines":
            # Where the task takes any number of texts, a list in a JSON line is several of them.
            count = len(kind.columns) if kind.n_texts else 0
            columns = Columns.parse(self._columns[spec.name], count)
            apart = reads_documents(self._options.finetuning)
            columns = dataclasses.replace(columns, spread=not kind.n_texts, apart=apart)
            files = CorpusFiles(paths, columns)
        else:
            rows = work / f"{name}.rows.txt"
            FLATTEN[kind.source](paths, self._columns[spec.name], rows, bad)
            bad.finish("left out", "nothing is trained")
            files, check = CorpusFiles((str(rows),)), kind.problem  # nothing is left to find
        corpus = build_corpus(files, work, name, bad, check)
        if not len(corpus):
            shape = "<TAB>".join(kind.columns)
            raise DataError(f"{', '.join(paths)}: no example to work with; lines are {shape}")
        return corpus

    def _find_labels(self, kind: type[Task], corpus: Corpus, spec: TaskSpec) -> list[str]:
        found: set[str] = set()
        for fields in each_row(corpus, np.arange(len(corpus))):
            found.update(kind.labels_in(fields))
        labels = sorted(found)
        if problem := labels_problem(labels):
            raise DataError(f"{', '.join(spec.files)}: label {problem}")
        if len(labels) < 2:
            only = ", ".join(labels)
            raise DataError(f"{', '.join(spec.files)}: only one label, {only}: nothing to learn")
        return labels

    def _label_name(self, spec: TaskSpec) -> str:
        return spec.name if len(self._specs) > 1 else ""

    def _labels(self, spec: TaskSpec, output: Path) -> list[str]:
        return read_labels(output, self._label_name(spec)) if TASKS[spec.kind].labelled else []

    def _files(self, spec: TaskSpec, work: Path) -> TaskFiles:
        corpus = Corpus(work, f"{spec.name}.train")
        held_out = np.load(work / f"{spec.name}.held-out.npy", allow_pickle=False)
        dev = Corpus(work, f"{spec.name}.dev") if self._dev_files[spec.name] else corpus
        dev_rows = held_out if len(held_out) else np.arange(min(len(dev), _DEV_LIMIT))
        return TaskFiles(corpus, Rows(len(corpus), held_out), dev, dev_rows)

    def _open_task(
        self, spec: TaskSpec, files: TaskFiles, model: Any, tokenizer: Tokenizer, labels: list[str]
    ) -> OpenTask:
        kind = TASKS[spec.kind]
        weights: tuple[float, ...] = ()
        if self._options.finetuning.balance:
            weights = balanced_weights(kind, files.examples(), labels)
        setting = task_setting(
            model,
            tokenizer,
            labels,
            self._options.finetuning.max_len,
            stride=self._options.finetuning.stride,
            class_weights=weights,
            label_smoothing=self._options.training.label_smoothing,
            head=model.head_configs[spec.name],
            say=self._speaker.warn,
        )
        task = kind(setting)
        budget = self._options.training.batch_tokens
        return OpenTask(
            task=task,
            train=ExampleReader(files.train, files.rows, task, budget),
            dev=ExampleReader(files.dev, files.dev_rows, task, budget),
            predictor=Predictor(model, spec.name, task),
            fingerprint=files.fingerprint,
        )

    # --- the model ---

    def _head(self, spec: TaskSpec, files: TaskFiles, labels: list[str], pool: str) -> HeadConfig:
        kind = TASKS[spec.kind]
        try:
            fitted = kind.fitted(files.examples())
        except DataError as error:
            raise DataError(f"{', '.join(spec.files)}: {error}") from error
        return HeadConfig(
            name=spec.name,
            kind=kind.head,
            n_outputs=kind.outputs(labels),
            task=spec.kind,
            max_len=self._options.finetuning.max_len,
            pool=pool,
            **fitted,
        )

    def _tokenizer(self, corpora: Sequence[tuple[TaskSpec, Corpus]]) -> Tokenizer:
        if self._options.finetuning.init:
            read_config(Path(self._options.finetuning.init))
            return read_tokenizers(Path(self._options.finetuning.init))[0]
        if self._options.finetuning.tokenizer:
            return load_tokenizer(self._options.finetuning.tokenizer)
        return train_tokenizer(
            _texts(corpora),
            self._options.tokenizer,
            seed=self._options.runtime.seed,
            threads=self._options.runtime.threads,
            say=self._speaker.say,
            usual_size=STACK_PRESETS[self._options.size.size].vocab_size,
        )

    def _summary(self, parts: dict[str, OpenTask], model: nn.Module) -> list[str]:
        learnt = sum(w.numel() for w in model.parameters() if w.requires_grad)
        total = sum(weight.numel() for weight in model.parameters())
        lines = [
            f"{name}: {len(part.train.rows):,} examples to train on, {len(part.dev.rows):,} to "
            f"validate on; {plural(part.task.n_outputs, 'output')}"
            for name, part in parts.items()
        ]
        return [*lines, f"{total:,} weights, of which {learnt:,} learn"]


def _texts(corpora: Sequence[tuple[TaskSpec, Corpus]]) -> Iterator[str]:
    for spec, corpus in corpora:
        for fields in each_row(corpus, np.arange(len(corpus))):
            yield from TASKS[spec.kind].texts_in(fields)


def _decided(
    training: TrainingOptions, options: FinetuningOptions, parts: dict[str, OpenTask]
) -> TrainingOptions:
    """The options with the metric, the rate and the limit decided, where they were left open.

    Raises:
        UsageError: no figure of these tasks has the metric's name.
    """
    changes: dict[str, Any] = {}
    if not training.lr:
        depths = next(iter(parts.values())).predictor.model.backbone.depths
        full = options.init and not options.lora and options.freeze < len(depths)
        changes["lr"] = _RATE if full else _RATE_OF_NEW_WEIGHTS
    figures = known_figures([part.task for part in parts.values()])
    if training.metric == "auto":
        changes["metric"] = figures[0]
    elif training.metric not in figures:
        raise UsageError(f"--metric {training.metric}: this has {', '.join(figures)}")
    if not (training.max_steps or training.max_epochs or training.max_time):
        n_examples = sum(len(part.train.rows) for part in parts.values())
        changes["max_epochs"] = float(min(20, max(3, _EXAMPLES_SEEN // max(n_examples, 1))))
    return dataclasses.replace(training, **changes)
