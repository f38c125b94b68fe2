"""`attn finetune`: from labelled examples to a model directory, one task or several at once."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from attn_cli.config import to_dict
from attn_cli.config.finetuning import FinetuneOptions, TaskSpec
from attn_cli.config.runtime import RuntimeOptions, StreamOptions
from attn_cli.config.stack import HeadConfig, StackConfig
from attn_cli.config.tokenizing import TokenizerOptions
from attn_cli.config.training import FinetuneTrainingOptions, TrainingOptions
from attn_cli.data.batching import stream
from attn_cli.data.corpus import Corpus, CorpusFiles, build_corpus
from attn_cli.data.labels import labels_problem, read_labels, write_labels
from attn_cli.data.split import Rows, count_shared, hold_out
from attn_cli.data.tokenizer import Tokenizer, load_tokenizer
from attn_cli.data.tokenizer_files import read_tokenizers, write_tokenizers
from attn_cli.data.tokenizer_training import train_tokenizer
from attn_cli.decode.predictor import Predictor, task_setting
from attn_cli.errors import DataError, UsageError
from attn_cli.files import inside, writing
from attn_cli.models import TRUNKS, build_model
from attn_cli.models.directory import CONFIG, ModelConfig, load_model, read_config
from attn_cli.models.sizes import STACK_PRESETS
from attn_cli.tasks import TASKS
from attn_cli.tasks.base import Task as TextTask
from attn_cli.tasks.reader import ExampleReader, MixedReader
from attn_cli.text import BadLines, Columns, plural
from attn_cli.train.finetune_parts import (
    FinetuneObjective,
    OpenTask,
    Validation,
    balanced_weights,
    each_row,
    what_learns,
)
from attn_cli.train.loop import Task
from attn_cli.train.monitor import Speaker
from attn_cli.train.processes import Processes
from attn_cli.train.run import DATA, Plan, save_weights_to

_DEV_LIMIT = 5000  # examples that a validation answers


@dataclass(frozen=True)
class FinetuneSettings:
    """What decides a fine-tuned model."""

    specs: Sequence[TaskSpec]
    finetuning: FinetuneOptions
    tokenizer: TokenizerOptions
    size: str
    training: FinetuneTrainingOptions

    def saved(self, runtime: RuntimeOptions) -> dict[str, Any]:
        """As plain values, section by section."""
        sections = {
            name: to_dict(getattr(self, name)) for name in ("finetuning", "tokenizer", "training")
        }
        return {**sections, "size": self.size, "seed": runtime.seed}


class FinetuneRecipe:
    """Prepares and opens a fine-tuning; a `train.run.Recipe`.

    Args:
        settings: what decides the model.
        stream_options: columns, and whether unusable lines are accepted.
        runtime: seed, threads, device.
        speaker: is told what was found and chosen.
    """

    def __init__(
        self,
        settings: FinetuneSettings,
        stream_options: StreamOptions,
        runtime: RuntimeOptions,
        speaker: Speaker,
    ) -> None:
        self._settings = settings
        self._options = settings.finetuning
        self._stream = stream_options
        self._runtime = runtime
        self._speaker = speaker

    def prepare(self, output: Path, work: Path) -> None:
        """Checks every line, holds examples out, finds the labels, takes or trains a tokenizer."""
        corpora = [self._prepare_task(spec, output, work) for spec in self._settings.specs]
        if not (output / CONFIG).exists():
            tokenizer = self._tokenizer(corpora)
            write_tokenizers(output, tokenizer, tokenizer)

    def open(self, output: Path, work: Path, processes: Processes) -> Plan:
        """The model with the weights it starts from, its batches, its validation."""
        settings, options = self._settings, self._options
        tokenizer, _ = read_tokenizers(output)
        labels = {spec.name: self._labels(spec, output) for spec in settings.specs}
        arch, config, start = self._start(tokenizer)
        heads = [self._head(spec, labels[spec.name]) for spec in settings.specs]
        torch.manual_seed(self._runtime.seed)
        model = build_model(arch, config, heads)
        if start is not None:
            model.trunk.load_state_dict(start.trunk.state_dict())
        model.to(processes.device)
        parts = {spec.name: self._open_task(spec, work, model, tokenizer, labels[spec.name])
                 for spec in settings.specs}  # fmt: skip
        reader = MixedReader(
            {name: part.train for name, part in parts.items()},
            {spec.name: spec.weight for spec in settings.specs},
        )
        n_examples = sum(len(part.train.rows) for part in parts.values())
        training = _decided(settings.training, n_examples, parts)
        objective = FinetuneObjective(model, {name: part.task for name, part in parts.items()})
        task = Task(
            objective=objective,
            model=model,
            stream=lambda position: stream(reader.source(), self._runtime.seed, position),
            validate=Validation(objective, parts),
            save=save_weights_to(output),
            rates=what_learns(model, options.freeze, options.layer_decay),
        )
        fingerprint = "".join(part.fingerprint for part in parts.values())
        saved = settings.saved(self._runtime) | {DATA: fingerprint}
        done = ModelConfig(arch, "predict", config, saved, heads=tuple(heads))
        return Plan(task, training, done, self._summary(parts, model))

    # --- one task's files ---

    def _prepare_task(self, spec: TaskSpec, output: Path, work: Path) -> tuple[TaskSpec, Corpus]:
        kind = TASKS[spec.kind]
        corpus = self._index(spec, spec.files, work, f"{spec.name}.train")
        held_out = np.empty(0, np.int64)
        dev_file = self._options.dev_file(spec, list(self._settings.specs))
        if dev_file:
            dev = self._index(spec, (dev_file,), work, f"{spec.name}.dev")
            if shared := count_shared(dev, corpus):
                self._speaker.warn(
                    f"{shared:,} of {plural(len(dev), 'dev example')} are also trained on: the "
                    "validation will be too good"
                )
        else:
            held_out = hold_out(corpus, self._runtime.seed)
            if not len(held_out):
                self._speaker.warn("too few distinct examples to hold any out: they validate")
        with writing(work / f"{spec.name}.held-out.npy"):
            np.save(inside(work, f"{spec.name}.held-out.npy"), held_out)
        if kind.labelled and not (output / CONFIG).exists():
            output.mkdir(parents=True, exist_ok=True)
            write_labels(output, self._find_labels(kind, corpus, spec), self._label_name(spec))
        return spec, corpus

    def _index(self, spec: TaskSpec, paths: tuple[str, ...], work: Path, name: str) -> Corpus:
        kind = TASKS[spec.kind]
        bad = BadLines(self._speaker.warn, skip_bad=self._stream.skip_bad)
        columns = Columns.parse(self._stream.columns, len(kind.columns))
        corpus = build_corpus(CorpusFiles(paths, columns), work, name, bad, kind.problem)
        if not len(corpus):
            shape = "<TAB>".join(kind.columns)
            raise DataError(f"{', '.join(paths)}: no example to work with; lines are {shape}")
        return corpus

    def _find_labels(self, kind: type[TextTask], corpus: Corpus, spec: TaskSpec) -> list[str]:
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
        return spec.name if len(self._settings.specs) > 1 else ""

    def _labels(self, spec: TaskSpec, output: Path) -> list[str]:
        return read_labels(output, self._label_name(spec)) if TASKS[spec.kind].labelled else []

    def _open_task(
        self, spec: TaskSpec, work: Path, model: Any, tokenizer: Tokenizer, labels: list[str]
    ) -> OpenTask:
        corpus = Corpus(work, f"{spec.name}.train")
        held_out = np.load(work / f"{spec.name}.held-out.npy", allow_pickle=False)
        rows = Rows(len(corpus), held_out)
        weights = balanced_weights(TASKS[spec.kind], corpus, rows, labels) \
            if self._options.balance else ()  # fmt: skip
        setting = task_setting(
            model,
            tokenizer,
            labels,
            self._options.max_len,
            stride=self._options.stride,
            class_weights=weights,
        )
        task = TASKS[spec.kind](setting)
        has_dev = self._options.dev_file(spec, list(self._settings.specs))
        dev_corpus = Corpus(work, f"{spec.name}.dev") if has_dev else corpus
        chosen = held_out if len(held_out) else np.arange(min(len(dev_corpus), _DEV_LIMIT))
        budget = self._settings.training.batch_tokens
        fingerprint = corpus.fingerprint + (dev_corpus.fingerprint if has_dev else "")
        return OpenTask(
            task=task,
            train=ExampleReader(corpus, rows, task, budget),
            dev=ExampleReader(dev_corpus, chosen, task, budget),
            predictor=Predictor(model, spec.name, task),
            fingerprint=fingerprint,
        )

    # --- the model ---

    def _head(self, spec: TaskSpec, labels: list[str]) -> HeadConfig:
        kind = TASKS[spec.kind]
        return HeadConfig(
            name=spec.name,
            kind=kind.head,
            n_outputs=kind.outputs(labels),
            task=spec.kind,
            max_len=self._options.max_len,
        )

    def _start(self, tokenizer: Tokenizer) -> tuple[str, Any, Any]:
        """Architecture, trunk configuration, and the model to take the trunk's weights from."""
        if self._options.init:
            path = Path(self._options.init)
            config, model = load_model(path, torch.device("cpu"))
            if config.arch not in TRUNKS:
                raise UsageError(
                    f"--init {path}: architecture {config.arch} is no encoder of texts; attn "
                    "pretrain and attn convert make some"
                )
            return config.arch, config.model, model
        arch = self._options.arch or "transformer"
        arch = {"transformer": "bert"}.get(arch, arch)
        preset = STACK_PRESETS[self._settings.size]
        stack = StackConfig(
            vocab_size=tokenizer.vocab_size,
            d_model=preset.d_model,
            d_ff=4 * preset.d_model,
            n_heads=preset.n_heads,
            n_layers=preset.n_layers,
        )
        return arch, stack, None

    def _tokenizer(self, corpora: Sequence[tuple[TaskSpec, Corpus]]) -> Tokenizer:
        if self._options.init:
            read_config(Path(self._options.init))
            return read_tokenizers(Path(self._options.init))[0]
        if self._options.tokenizer:
            return load_tokenizer(self._options.tokenizer)
        return train_tokenizer(
            _texts(corpora),
            self._settings.tokenizer,
            seed=self._runtime.seed,
            threads=self._runtime.threads,
            say=self._speaker.say,
            usual_size=STACK_PRESETS[self._settings.size].vocab_size,
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
    training: TrainingOptions, n_examples: int, parts: dict[str, OpenTask]
) -> TrainingOptions:
    """The options with the metric and the limit decided, where they were left open."""
    if training.metric == "auto":
        only = next(iter(parts.values())).task.metric
        training = dataclasses.replace(training, metric=only if len(parts) == 1 else "score")
    if training.max_steps or training.max_epochs or training.max_time:
        return training
    epochs = float(min(20, max(3, 40_000 // max(n_examples, 1))))
    return dataclasses.replace(training, max_epochs=epochs)
