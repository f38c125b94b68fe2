"""`attn finetune`: from labelled examples to a model directory, one task or several at once."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from attn_cli.config import shown
from attn_cli.config.finetuning import FinetuneCommand, TaskSpec
from attn_cli.data.batching import stream
from attn_cli.data.corpus import Corpus, build_corpus
from attn_cli.data.entries import CorpusFiles
from attn_cli.data.label_files import labels_problem, read_labels, write_labels
from attn_cli.data.line_index import RowCheck
from attn_cli.data.split import hold_out
from attn_cli.errors import DataError, UsageError
from attn_cli.lines.columns import Columns
from attn_cli.lines.reading import display_name
from attn_cli.models.directory import CONFIG, ModelConfig
from attn_cli.models.sizes import BACKBONE_PRESETS
from attn_cli.models.text import HeadConfig, TextModel
from attn_cli.systems.recipe import DEV, TRAIN, CorpusRecipe, Split, each_row, n_weights
from attn_cli.systems.suited import Amount, Suited, Usual, mean_tokens, suited
from attn_cli.systems.tasks import TASKS
from attn_cli.systems.tasks.base import Task
from attn_cli.systems.tasks.formats import FORMATS
from attn_cli.systems.tasks.predictor import Predictor, task_setting
from attn_cli.systems.tasks.reader import ExampleReader, MixedBatch, MixedReader
from attn_cli.systems.tasks.start import (
    check_start,
    reads_documents,
    starting_point,
    what_learns,
)
from attn_cli.systems.tasks.training import (
    FinetuneObjective,
    OpenTask,
    TasksValidation,
    balanced_weights,
    class_report,
    known_figures,
    known_labels_only,
    rare_remarks,
    swapped_remark,
)
from attn_cli.tokenizers.tokenizer import Tokenizer
from attn_cli.tokenizers.tokenizer_files import read_tokenizers
from attn_cli.train.loop import Training
from attn_cli.train.monitor import Speaker
from attn_cli.train.processes import Processes
from attn_cli.train.run import Plan
from attn_cli.wording import plural

_RATE, _WIDTH = 2e-4, 384  # of a pre-trained encoder so wide; see `usual_rate`
_RATE_OF_NEW_WEIGHTS = 1e-3
USUAL = Usual(
    batch_tokens=(256, 1024),
    updates_a_pass=50,
    examples_a_batch=8,
    warmup=50,
    examples_seen=40_000,
    passes=(3, 20),
    fewest_updates=400,
    most_passes=100,
)
_VALIDATING = 0.7  # the time of an example in a validation, in that of one in training
_HEADERS = {  # words that head a column of labels
    *("label", "labels", "class", "classes", "category", "categories", "tag", "tags", "target"),
    *("sentiment", "topic", "intent", "gold", "gold_label", "emotion", "polarity"),
}
_HELD_OUT_LIMIT = 2000  # of them, where a tenth is held out


class FinetuneRecipe(CorpusRecipe[MixedBatch, FinetuneCommand]):
    """Prepares and opens a fine-tuning.

    Args:
        files: examples; none where several tasks name theirs.
        options: of the command.
        speaker: is told what was found and chosen.

    Raises:
        UsageError: the tasks can't be told, or do not go with other options.
    """

    noun: ClassVar[str] = "example"
    dev_limit: ClassVar[int] = 5000  # examples that a validation answers

    def __init__(self, files: list[str], options: FinetuneCommand, speaker: Speaker) -> None:
        super().__init__(files, options, speaker)
        chosen, columns = options.finetuning, options.stream.columns
        try:
            self._specs = specs = chosen.specs(files, TASKS)
            check_start(options)
            self._check_documents()
            self._dev_files = {spec.name: chosen.dev_file(spec, specs) for spec in specs}
            self._columns = {spec.name: chosen.columns(columns, spec, specs) for spec in specs}
        except ValueError as error:
            raise UsageError(str(error)) from error

    @property
    def inputs(self) -> Iterable[str | None]:
        """Examples of every task, and word vectors."""
        files = [file for spec in self._specs for file in spec.files]
        return [*files, *self._dev_files.values(), self.options.finetuning.embeddings]

    @property
    def given_tokenizer(self) -> str | None:
        """See `CorpusRecipe`."""
        return self.options.finetuning.tokenizer

    def prepare(self, output: Path, work: Path) -> None:
        """Checks every line, holds examples out, finds the labels, takes or trains a tokenizer."""
        corpora = {spec.name: self._prepare_task(spec, output, work) for spec in self._specs}

        def train_tokenizer() -> tuple[Tokenizer, Tokenizer]:
            texts = (
                text
                for spec in self._specs
                for fields in each_row(corpora[spec.name], np.arange(len(corpora[spec.name])))
                for text in TASKS[spec.kind].texts_in(fields)
            )
            usual_size = BACKBONE_PRESETS[self.options.size.size].vocab_size
            tokenizer = self.trained_tokenizer(texts, self.options.tokenizer, usual_size)
            return tokenizer, tokenizer

        self.put_tokenizers(output, train_tokenizer)

    def open(self, output: Path, work: Path, processes: Processes) -> Plan[MixedBatch]:
        """The model with the weights it starts from, its batches, its validation."""
        options = self.options.finetuning
        tokenizer, _ = read_tokenizers(output)
        labels = {spec.name: self._labels(spec, output) for spec in self._specs}
        start = starting_point(options, self.options.size.size, tokenizer)
        splits = {
            spec.name: self.split(
                work,
                has_dev=bool(self._dev_files[spec.name]),
                prefix=f"{spec.name}.",
            )
            for spec in self._specs
        }
        heads = [
            self._head(spec, splits[spec.name], labels[spec.name], start.pool(options.pool))
            for spec in self._specs
        ]
        model, summary = start.build(heads, labels, self.seed, options.dropout)
        if options.embeddings:
            weight = model.backbone.token_vectors.weight
            summary.append(self.start_embeddings(weight, options.embeddings, tokenizer))
        rates = what_learns(model, options)
        model.to(processes.device)
        parts = {
            spec.name: self._open_task(spec, splits[spec.name], model, tokenizer, labels[spec.name])
            for spec in self._specs
        }
        chosen = self._decided(model, parts)
        budget = chosen.training.batch_tokens
        parts = {name: part.with_batches(budget) for name, part in parts.items()}
        n_train = sum(len(part.train.rows) for part in parts.values())
        n_dev = sum(len(part.dev.rows) for part in parts.values())
        fingerprint = "".join(
            split.train.fingerprint + (split.dev.fingerprint if self._dev_files[name] else "")
            for name, split in splits.items()
        )
        return Plan(
            self._training(
                model, parts, rates, validation_epochs=_VALIDATING * n_dev / max(1, n_train)
            ),
            chosen.training,
            ModelConfig(
                start.arch,
                "predict",
                start.config,
                self.saved_options(fingerprint, n_train, n_dev),
                heads=tuple(heads),
            ),
            [*summary, *_summary(model, parts, chosen)],
            lambda: class_report(output, parts),
        )

    def _training(
        self,
        model: TextModel,
        parts: dict[str, OpenTask],
        rates: Mapping[str, float],
        validation_epochs: float,
    ) -> Training[MixedBatch]:
        """What the loop needs, with the batches of all tasks mixed by their weights."""
        reader = MixedReader(
            {name: part.train for name, part in parts.items()},
            {spec.name: spec.weight for spec in self._specs},
        )
        objective = FinetuneObjective(model, {name: part.task for name, part in parts.items()})
        return Training(
            objective=objective,
            stream=lambda position, peers: stream(reader.source(), self.seed, position, peers),
            validate=TasksValidation(objective, parts),
            rates=rates,
            validation_epochs=validation_epochs,
        )

    def _check_documents(self) -> None:
        """Raises UsageError if a model that reads documents is asked for what it can't do."""
        if not reads_documents(self.options.finetuning):
            return
        if self.options.finetuning.stride:
            raise UsageError("--stride: sentences (han) are read whole, or in parts, without it")
        for spec in self._specs:
            if not TASKS[spec.kind].reads_documents:
                able = ", ".join(name for name, kind in TASKS.items() if kind.reads_documents)
                raise UsageError(f"--task {spec.kind}: a han reads documents; it does {able}")

    def _prepare_task(self, spec: TaskSpec, output: Path, work: Path) -> Corpus:
        kind, prefix = TASKS[spec.kind], f"{spec.name}."
        corpus = self._index(spec, spec.files, work, f"{prefix}{TRAIN}", kind.problem)
        labels: Counter[str] = Counter()
        swapped = ""
        if kind.labelled and not (output / CONFIG).exists():
            texts: set[str] = set()
            for fields in each_row(corpus, np.arange(len(corpus))):
                labels.update(labels_of(kind, [fields]))
                if len(texts) <= len(labels):
                    texts.update(kind.texts_in(fields)[:1])
            where = ", ".join(spec.files)
            self._refuse_header(spec, corpus, labels)
            if problem := labels_problem(sorted(labels)):
                raise DataError(f"{where}: label {problem}")
            if len(labels) < 2:
                only = ", ".join(labels)
                raise DataError(f"{where}: only one label, {only}: nothing to learn")
            n_texts = len(texts) if FORMATS[kind.format].flatten is None else len(labels)
            if swapped := swapped_remark(labels, n_texts, len(kind.columns)):
                self.speaker.warn(f"{where}: {swapped}")
            output.mkdir(parents=True, exist_ok=True)
            write_labels(output, sorted(labels), self._label_name(spec))
        dev = None
        if dev_file := self._dev_files[spec.name]:
            check = known_labels_only(kind, self._labels(spec, output))
            dev = self._index(spec, (dev_file,), work, f"{prefix}{DEV}", check)
        tenth = min(_HELD_OUT_LIMIT, max(100, len(corpus) // 10))
        self.hold_out(
            work, corpus, dev, lambda corpus, seed: hold_out(corpus, seed, least=tenth), prefix
        )
        if labels and not swapped:
            held_out = np.load(work / f"{prefix}held-out.npy", allow_pickle=False)
            found = labels_of(kind, each_row(corpus, held_out))
            for remark in rare_remarks(labels, found):
                self.speaker.warn(f"{', '.join(spec.files)}: {remark}")
        return corpus

    def _refuse_header(self, spec: TaskSpec, corpus: Corpus, labels: Counter[str]) -> None:
        """Raises DataError if the first line is one, and nobody said that it is none."""
        kind = TASKS[spec.kind]
        if self._columns[spec.name] or FORMATS[kind.format].flatten is not None:
            return
        (first,) = corpus.read(np.array([0]))
        named = [label for label in kind.labels_in(first) if label.lower() in _HEADERS]
        if named and labels[named[0]] <= len(spec.files):
            names = ",".join(name.strip() for name in first)
            numbers = ",".join(str(number) for number in range(1, len(first) + 1))
            raise DataError(
                f"{spec.files[0]}: line 1 looks like a header, and {shown(named[0])} would be a "
                f"label; --columns {names} (or --columns {numbers}, if it is none)"
            )

    def _index(
        self, spec: TaskSpec, paths: tuple[str, ...], work: Path, name: str, check: RowCheck
    ) -> Corpus:
        kind, bad = TASKS[spec.kind], self.bad_lines()
        shape = "<TAB>".join(kind.columns)
        flatten = FORMATS[kind.format].flatten
        if flatten is None:
            # Where the task takes any number of texts, a list in a JSON line is several of them.
            count = len(kind.columns) if kind.n_texts else 0
            columns = Columns.parse(self._columns[spec.name], count)
            apart = reads_documents(self.options.finetuning)
            columns = dataclasses.replace(columns, spread=not kind.n_texts, apart=apart)
            even = bool(count) and not self._columns[spec.name]
            files = CorpusFiles(paths, columns, remedy=f"lines are {shape}", even=even)
        else:
            rows = work / f"{name}.rows.txt"
            flatten(paths, self._columns[spec.name], rows, bad)
            bad.finish("left out", "nothing is trained")
            if FORMATS[kind.format].spans_as_bio(rows, self.options.finetuning.scheme):
                where = ", ".join(map(display_name, paths))
                self.speaker.warn(
                    f"{where}: tags are IOB1 (I- begins spans), learnt and answered as BIO; "
                    "--scheme names another"
                )
            files, check = CorpusFiles((str(rows),)), kind.problem  # nothing is left to find
        corpus = build_corpus(files, work, name, bad, check)
        if not len(corpus):
            raise DataError(f"{', '.join(paths)}: no example to work with; lines are {shape}")
        self.say_unread(corpus, files)
        return corpus

    def _label_name(self, spec: TaskSpec) -> str:
        return spec.name if len(self._specs) > 1 else ""

    def _labels(self, spec: TaskSpec, output: Path) -> list[str]:
        return read_labels(output, self._label_name(spec)) if TASKS[spec.kind].labelled else []

    def _open_task(
        self,
        spec: TaskSpec,
        split: Split,
        model: TextModel,
        tokenizer: Tokenizer,
        labels: list[str],
    ) -> OpenTask:
        kind, options = TASKS[spec.kind], self.options.finetuning
        weights: tuple[float, ...] = ()
        if options.balance:
            weights = balanced_weights(kind, each_row(split.train, split.rows), labels)
        setting = task_setting(model, tokenizer, labels, model.head_configs[spec.name])
        task = kind(
            dataclasses.replace(
                setting,
                stride=options.stride,
                class_weights=weights,
                label_smoothing=self.options.training.label_smoothing,
                say=self.speaker.warn,
            )
        )
        budget = self.options.training.batch_tokens
        return OpenTask(
            task=task,
            train=ExampleReader(split.train, split.rows, task, budget),
            dev=ExampleReader(split.dev, split.dev_rows, task, budget),
            predictor=Predictor(model, spec.name, task),
        )

    def _head(self, spec: TaskSpec, split: Split, labels: Sequence[str], pool: str) -> HeadConfig:
        kind = TASKS[spec.kind]
        try:
            fitted = kind.fitted(each_row(split.train, split.rows))
        except DataError as error:
            raise DataError(f"{', '.join(spec.files)}: {error}") from error
        return HeadConfig(
            name=spec.name,
            kind=kind.head,
            n_outputs=kind.outputs(labels),
            task=spec.kind,
            max_len=self.options.finetuning.max_len,
            pool=pool,
            **fitted,
        )

    def _decided(self, model: TextModel, parts: dict[str, OpenTask]) -> Suited:
        """The options with all decided that was left open: metric, rate, what suits the corpus.

        Raises:
            UsageError: no figure of these tasks has the metric's name.
        """
        options, training = self.options.finetuning, self.options.training
        changes: dict[str, Any] = {}
        if not training.lr:
            full = self.options.init and not options.lora
            full = full and options.freeze < len(model.backbone.depths)
            changes["lr"] = usual_rate(model.backbone.d_model) if full else _RATE_OF_NEW_WEIGHTS
        figures = known_figures([part.task for part in parts.values()])
        if training.metric == "auto":
            changes["metric"] = figures[0]
        elif training.metric not in figures:
            raise UsageError(f"--metric {training.metric}: this has {', '.join(figures)}")
        readers = [part.train for part in parts.values()]
        n_tokens = max(len(each.rows) * mean_tokens(each.rows, each.n_tokens) for each in readers)
        amount = Amount(self.noun, sum(len(each.rows) for each in readers), n_tokens)
        return suited(dataclasses.replace(training, **changes), USUAL, amount, options.max_len)


def usual_rate(width: int) -> float:
    """The rate at which a pre-trained encoder of this width goes on learning, all of it.

    Narrow ones bear larger steps: 5e-5 for BERT base, 768 wide (Devlin et al. 2019, appendix A.3),
    and four times that at half of its width; never more than new weights take.
    """
    return min(_RATE_OF_NEW_WEIGHTS, _RATE * (_WIDTH / width) ** 2)


def _summary(model: TextModel, parts: Mapping[str, OpenTask], chosen: Suited) -> list[str]:
    """What is said of the training before it begins."""
    n_learnt = sum(w.numel() for w in model.parameters() if w.requires_grad)
    return [
        *(
            f"{name}: {len(part.train.rows):,} examples to train on, {len(part.dev.rows):,} to "
            f"validate on; {plural(part.task.n_outputs, 'output')}"
            for name, part in parts.items()
        ),
        f"{n_weights(model):,} weights, of which {n_learnt:,} learn",
        f"rate {chosen.training.lr:g}",
        *chosen.said,
    ]


def labels_of(kind: type[Task], examples: Iterable[list[str]]) -> Counter[str]:
    """How often each label stands in some examples."""
    counts: Counter[str] = Counter()
    for fields in examples:
        counts.update(kind.labels_in(fields))
    return counts
