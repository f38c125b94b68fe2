"""`attn train-mt`: from pairs of lines to a model directory."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from attn_cli.config import to_dict
from attn_cli.config.decoding import DecodeOptions, SearchOptions
from attn_cli.config.runtime import RuntimeOptions, StreamOptions
from attn_cli.config.scoring import ScoreOptions
from attn_cli.config.seq2seq import ArchOptions, LearningOptions
from attn_cli.config.tokenizing import TokenizerOptions
from attn_cli.config.training import TrainingOptions
from attn_cli.config.transformer import SizeOptions
from attn_cli.config.translation import CorpusOptions, LossOptions
from attn_cli.data.batching import stream
from attn_cli.data.corpus import Corpus, CorpusFiles, build_corpus
from attn_cli.data.parallel import PairReader
from attn_cli.data.split import Rows, count_shared, hold_out
from attn_cli.data.tokenizer import Tokenizer, load_tokenizer
from attn_cli.data.tokenizer_files import read_tokenizers, write_tokenizers
from attn_cli.data.tokenizer_training import train_tokenizer
from attn_cli.decode.translator import Source, Translator
from attn_cli.errors import DataError
from attn_cli.files import inside, writing
from attn_cli.metrics.base import Segment
from attn_cli.metrics.scoring import score_corpus
from attn_cli.models import SEQ2SEQ, build_model
from attn_cli.models.directory import CONFIG, ModelConfig
from attn_cli.models.sizes import PRESETS, choose_size, seq2seq_config
from attn_cli.text import BadLines, Columns, plural
from attn_cli.train.embeddings import start_embeddings
from attn_cli.train.loop import Task
from attn_cli.train.monitor import Speaker
from attn_cli.train.objectives import TranslationObjective
from attn_cli.train.processes import Processes
from attn_cli.train.run import DATA, Plan, said_limits, save_weights_to

_DEV_LIMIT = 2000  # pairs that a validation decodes
_TRAIN, _DEV = "train", "dev"
_HELD_OUT = "held-out.npy"


@dataclass(frozen=True)
class TranslationOptions:
    """What decides a translation model."""

    arch: ArchOptions
    corpus: CorpusOptions
    tokenizer: TokenizerOptions
    size: SizeOptions
    variant: Any  # a `Seq2SeqVariantOptions`
    objective: LossOptions
    learning: LearningOptions
    training: TrainingOptions

    def saved(self, runtime: RuntimeOptions) -> dict[str, Any]:
        """As plain values, section by section."""
        sections = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        return {name: to_dict(value) for name, value in sections.items()} | {"seed": runtime.seed}


class TranslationRecipe:
    """Prepares and opens a translation training; a `train.run.Recipe`.

    Args:
        files: TSV files of pairs; standard input if there are none.
        options: what decides the model.
        stream_options: columns, and whether unusable lines are accepted.
        runtime: seed, threads, device.
        speaker: is told what was found and chosen.
    """

    def __init__(
        self,
        files: list[str],
        options: TranslationOptions,
        stream_options: StreamOptions,
        runtime: RuntimeOptions,
        speaker: Speaker,
    ) -> None:
        self._files = files or ["-"]
        self._options = options
        self._stream = stream_options
        self._runtime = runtime
        self._speaker = speaker

    def prepare(self, output: Path, work: Path) -> None:
        """Checks every line, holds pairs out, trains the tokenizers."""
        corpus = self._index(self._corpus_files(), work, _TRAIN)
        held_out = np.empty(0, np.int64)
        if self._options.corpus.dev:
            columns = Columns.parse(self._stream.columns, 2)
            files = CorpusFiles((self._options.corpus.dev,), columns)
            dev = self._index(files, work, _DEV)
            if shared := count_shared(dev, corpus):
                self._speaker.warn(
                    f"{shared:,} of {plural(len(dev), 'dev pair')} are also trained on: the "
                    "validation will be too good"
                )
        else:
            held_out = hold_out(corpus, self._runtime.seed)
            if not len(held_out):
                self._speaker.warn("too few distinct pairs to hold any out: they validate")
        with writing(work / _HELD_OUT):
            np.save(inside(work, _HELD_OUT), held_out)
        if not (output / CONFIG).exists():
            rows = Rows(len(corpus), held_out)
            write_tokenizers(output, *self._tokenizers(corpus, rows))

    def open(self, output: Path, work: Path, processes: Processes) -> Plan:
        """The model with fresh weights, its batches, its validation."""
        options = self._options
        corpus = Corpus(work, _TRAIN)
        held_out = np.load(work / _HELD_OUT, allow_pickle=False)
        rows = Rows(len(corpus), held_out)
        src, tgt = read_tokenizers(output)
        on_gpu = processes.device.type == "cuda"
        size, why = choose_size(options.size.size, len(rows), on_gpu=on_gpu)
        vocabularies = (src.vocab_size, tgt.vocab_size)
        arch = options.arch.arch
        config = seq2seq_config(
            arch, options.size, options.variant, size, vocabularies, share=src is tgt
        )
        torch.manual_seed(self._runtime.seed)
        model = build_model(SEQ2SEQ[arch], config)
        said: list[str] = []
        if options.corpus.embeddings:
            weight, skip = model.src_embedding.tokens.weight, self._stream.skip_bad
            given = (weight, options.corpus.embeddings, src, self._speaker)
            said.append(start_embeddings(*given, skip_bad=skip))
        penalty = options.objective.head_penalty
        objective = TranslationObjective(
            model, options.training.label_smoothing, penalty, options.learning
        ).to(processes.device)
        training = _with_limits(options.training, len(rows))
        read = partial(
            PairReader,
            src_tokenizer=src,
            tgt_tokenizer=tgt,
            batch_tokens=training.batch_tokens,
            max_len=options.corpus.max_len,
        )
        alpha = options.corpus.subword_sampling
        warn = self._speaker.warn if processes.is_main else None
        reader = read(corpus, rows, sample_alpha=alpha, say=warn)
        dev_corpus, dev_rows = self._dev(work, corpus, held_out)
        validation = Validation(
            objective, Translator([model], src, tgt), read(dev_corpus, dev_rows), training.metric
        )
        task = Task(
            objective=objective,
            model=model,
            stream=lambda position: stream(reader.source(), self._runtime.seed, position),
            validate=validation,
            save=save_weights_to(output),
            partner=objective.partner,
            begin_update=objective.begin_update,
        )
        data = {DATA: corpus.fingerprint + dev_corpus.fingerprint}
        saved = options.saved(self._runtime) | data
        n_weights = sum(weight.numel() for weight in model.parameters())
        summary = [
            *said,
            f"{len(rows):,} pairs to train on, {len(dev_rows):,} to validate on; "
            f"vocabulary {'/'.join(f'{n:,}' for n in dict.fromkeys(vocabularies))}",
            f"size {size} ({why}): {n_weights:,} weights; {said_limits(training)}",
        ]
        return Plan(task, training, ModelConfig(SEQ2SEQ[arch], "translate", config, saved), summary)

    def _corpus_files(self) -> CorpusFiles:
        corpus = self._options.corpus
        if corpus.src and corpus.tgt:
            return CorpusFiles((corpus.src, corpus.tgt), Columns.parse(None, 2), parallel=True)
        return CorpusFiles(tuple(self._files), Columns.parse(self._stream.columns, 2))

    def _index(self, files: CorpusFiles, work: Path, name: str) -> Corpus:
        bad = BadLines(self._speaker.warn, skip_bad=self._stream.skip_bad)
        corpus = build_corpus(files, work, name, bad, _pair_problem)
        if not len(corpus):
            where = ", ".join(files.paths)
            raise DataError(f"{where}: no pair to work with; lines are source<TAB>target")
        return corpus

    def _tokenizers(self, corpus: Corpus, rows: Rows) -> tuple[Tokenizer, Tokenizer]:
        given = self._options.corpus.tokenizer
        if given:
            tokenizer = load_tokenizer(given)
            tokenizer.require_specials(given)
            return tokenizer, tokenizer
        sides = [(0, 1)] if self._options.corpus.share_vocab else [(0,), (1,)]
        trained = [self._train_tokenizer(_texts(corpus, rows, side), len(rows)) for side in sides]
        return trained[0], trained[-1]

    def _train_tokenizer(self, texts: Iterator[str], n_pairs: int) -> Tokenizer:
        """A tokenizer of the size asked for, or of the largest useful size that the text allows."""
        size, _ = choose_size(self._options.size.size, n_pairs, on_gpu=torch.cuda.is_available())
        return train_tokenizer(
            texts,
            self._options.tokenizer,
            seed=self._runtime.seed,
            threads=self._runtime.threads,
            say=self._speaker.say,
            usual_size=PRESETS[self._options.arch.arch][size].vocab_size,
        )

    def _dev(
        self, work: Path, corpus: Corpus, held_out: NDArray[np.int64]
    ) -> tuple[Corpus, NDArray[np.int64]]:
        """The pairs that validate: their own file's, the held-out ones, or the training's."""
        if self._options.corpus.dev:
            corpus = Corpus(work, _DEV)
            return corpus, np.arange(min(len(corpus), _DEV_LIMIT))
        if len(held_out):
            return corpus, held_out
        return corpus, np.arange(min(len(corpus), _DEV_LIMIT))


class Validation:
    """Loss of the dev pairs, and BLEU and chrF of their greedy translations where these decide.

    Args:
        objective: the loss.
        translator: decodes with the same model.
        reader: the dev pairs.
        metric: "loss", "bleu" or "chrf".
    """

    def __init__(
        self,
        objective: TranslationObjective,
        translator: Translator,
        reader: PairReader,
        metric: str,
    ) -> None:
        self._objective = objective
        self._translator = translator
        self._reader = reader
        self._metric = metric

    @torch.inference_mode()
    def __call__(self) -> dict[str, float]:
        """The figures; the loss in nats per token, without smoothing."""
        numbers = np.arange(len(self._reader.rows))
        nll = tokens = 0.0
        for batch in self._reader.batches(numbers, 0):
            nll += float(self._objective(batch.to(self._translator.device))[1])
            tokens += batch.n_tokens
        figures = {"loss": nll / tokens}
        if self._metric != "loss":
            figures |= self._quality(numbers)
        return figures

    def _quality(self, numbers: NDArray[np.int64]) -> dict[str, float]:
        pairs = self._reader.corpus.read(self._reader.rows[numbers])
        found = self._translator.generate(
            [Source(src) for src, _ in pairs],
            SearchOptions(greedy=True),
            batch_tokens=DecodeOptions().batch_tokens,
        )
        segments = [
            Segment(outputs[0].text if outputs else "", (reference,))
            for (_, reference), outputs in zip(pairs, found, strict=True)
        ]
        scores = score_corpus(ScoreOptions(bleu=True, chrf=True), segments)
        return {"bleu": scores[0].value, "chrf": scores[1].value}


def _texts(corpus: Corpus, rows: Rows, fields: tuple[int, ...]) -> Iterator[str]:
    for start in range(0, len(rows), 4096):
        numbers = np.arange(start, min(start + 4096, len(rows)))
        for pair in corpus.read(rows[numbers]):
            yield from (pair[field] for field in fields)


def _pair_problem(pair: list[str]) -> str | None:
    if len(pair) != 2:
        return f"{len(pair)} texts, but a pair has 2 (of a list, target.0 is the first)"
    for side, text in zip(("source", "target"), pair, strict=True):
        if not text.strip():
            return f"empty {side}"
    return None


def _with_limits(training: TrainingOptions, n_pairs: int) -> TrainingOptions:
    """The options with a limit, where none was given: small corpora are passed more often."""
    if training.max_steps or training.max_epochs or training.max_time:
        return training
    epochs = float(min(60, max(5, 1_500_000 // max(n_pairs, 1))))
    return dataclasses.replace(training, max_epochs=epochs)
