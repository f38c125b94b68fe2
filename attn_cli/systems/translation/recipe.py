"""`attn train-mt`: from pairs of lines to a model directory."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from attn_cli.config import choose, saved
from attn_cli.config.decoding import DecodeOptions, SearchOptions
from attn_cli.config.scoring import ScoreOptions
from attn_cli.config.training import TrainingOptions
from attn_cli.config.translation import TrainMtCommand
from attn_cli.data.batching import stream
from attn_cli.data.corpus import Corpus, CorpusFiles
from attn_cli.data.split import Rows, count_shared
from attn_cli.errors import DataError
from attn_cli.files import inside, writing
from attn_cli.lines.columns import Columns
from attn_cli.lines.unusable import BadLines
from attn_cli.metrics.base import Segment
from attn_cli.metrics.scoring import score_corpus
from attn_cli.models.directory import CONFIG, ModelConfig, read_config
from attn_cli.models.sizes import PRESETS, choose_size
from attn_cli.systems.translation.corpus_sources import DEV, SOURCES, TRAIN, TrainingSources
from attn_cli.systems.translation.pairs import PairReader, Seq2SeqBatch
from attn_cli.systems.translation.start import check_start, starting_point
from attn_cli.systems.translation.training_kinds import TRAINING_KINDS
from attn_cli.systems.translation.translator import Source, Translator
from attn_cli.tokenizers.tokenizer import Tokenizer
from attn_cli.tokenizers.tokenizer_files import load_tokenizer, read_tokenizers, write_tokenizers
from attn_cli.tokenizers.tokenizer_training import train_tokenizer
from attn_cli.train.embeddings import start_embeddings
from attn_cli.train.loop import Training
from attn_cli.train.monitor import Speaker
from attn_cli.train.objective import Objective
from attn_cli.train.processes import Processes
from attn_cli.train.run import DATA, Plan, Recipe, said_limits
from attn_cli.wording import plural

_DEV_LIMIT = 2000  # pairs that a validation decodes
_HELD_OUT = "held-out.npy"


class TranslationRecipe(Recipe[Seq2SeqBatch]):
    """Prepares and opens a translation training.

    Args:
        files: TSV files of pairs; standard input if there are none.
        options: of the command.
        speaker: is told what was found and chosen.

    Raises:
        DataError: the directory to start from is none of a translator.
        UsageError: options contradict it, or one another.
    """

    def __init__(
        self,
        files: list[str],
        options: TrainMtCommand,
        speaker: Speaker,
    ) -> None:
        self._files = files or ["-"]
        self._options = options
        self._speaker = speaker
        check_start(options)
        if options.criterion.samples_outputs and not options.arch.init:
            speaker.warn(
                f"--criterion {options.criterion.criterion} from random weights, whose outputs are "
                "all bad, learns little: train by likelihood first, then continue with --init"
            )

    def prepare(self, output: Path, work: Path) -> None:
        """Checks every line, holds pairs out, trains the tokenizers."""
        sources = self._sources(work)
        corpus = self._index(self._corpus_files(), sources, TRAIN)
        held_out = np.empty(0, np.int64)
        if self._options.corpus.dev:
            columns = Columns.parse(self._options.stream.columns, 2)
            files = CorpusFiles((self._options.corpus.dev,), columns)
            dev = self._index(files, sources, DEV)
            if shared := count_shared(dev, corpus):
                self._speaker.warn(
                    f"{shared:,} of {plural(len(dev), 'dev pair')} are also trained on: the "
                    "validation will be too good"
                )
        else:
            held_out = sources.hold_out(corpus, self._options.runtime.seed)
            if not len(held_out):
                self._speaker.warn("too few distinct pairs to hold any out: they validate")
        with writing(work / _HELD_OUT):
            np.save(inside(work, _HELD_OUT), held_out)
        if not (output / CONFIG).exists():
            rows = Rows(len(corpus), held_out)
            write_tokenizers(output, *self._tokenizers(corpus, rows, sources.text_columns))

    def open(self, output: Path, work: Path, processes: Processes) -> Plan[Seq2SeqBatch]:
        """The model with fresh weights, its batches, its validation."""
        options = self._options
        sources = self._sources(work)
        corpus = Corpus(work, TRAIN)
        held_out = np.load(work / _HELD_OUT, allow_pickle=False)
        rows = Rows(len(corpus), held_out)
        tokenizer, tgt = read_tokenizers(output)
        src = sources.side(tokenizer)
        vocabularies = src.vocab_size, tgt.vocab_size
        on_gpu = processes.device.type == "cuda"
        share = vocabularies[0] > 0 and tokenizer is tgt
        start = starting_point(
            options, len(rows), vocabularies, sources, share=share, on_gpu=on_gpu
        )
        model = start.build(self._options.runtime.seed)
        said: list[str] = []
        if options.corpus.embeddings:
            weight, skip = model.src_embedding.tokens.weight, self._options.stream.skip_bad
            given = (weight, options.corpus.embeddings, tokenizer, self._speaker)
            said.append(start_embeddings(*given, skip_bad=skip))
        kind = TRAINING_KINDS[model.task]
        translator = kind.translator([model], src, tgt)
        objective = kind.objective(model, options, translator).to(processes.device)
        training = _with_limits(options, len(rows))
        read = partial(
            kind.reader,
            src=src,
            tgt_tokenizer=tgt,
            batch_tokens=training.batch_tokens,
            max_len=options.corpus.max_len,
        )
        alpha = options.corpus.subword_sampling
        warn = self._speaker.warn if processes.is_main else None
        contents = sources.contents(TRAIN)
        reader = read(corpus, rows, sample_alpha=alpha, say=warn, contents=contents)
        dev_name, dev_rows = self._dev(work, len(corpus), held_out)
        dev_corpus = Corpus(work, dev_name)
        dev_reader = read(dev_corpus, dev_rows, contents=sources.contents(dev_name))
        same_source = sources.groups(dev_name, dev_rows)
        validation = TranslationValidation(
            objective, translator, dev_reader, training.metric, same_source=same_source
        )
        translation_training = Training(
            objective=objective,
            stream=lambda position: stream(reader.source(), self._options.runtime.seed, position),
            validate=validation,
            starts_trained=start.model is not None,
        )
        data = {DATA: corpus.fingerprint + dev_corpus.fingerprint}
        data[DATA] += "".join(map(sources.fingerprint, dict.fromkeys((TRAIN, dev_name))))
        kept = saved(options) | data
        n_weights = sum(weight.numel() for weight in model.parameters())
        summary = [
            *said,
            f"{len(rows):,} pairs to train on, {len(dev_rows):,} to validate on; "
            f"vocabulary {'/'.join(f'{size:,}' for size in dict.fromkeys(vocabularies) if size)}",
            f"{start.why}: {n_weights:,} weights; {said_limits(training)}",
        ]
        config = ModelConfig(start.arch, model.task, start.config, kept)
        return Plan(translation_training, training, config, summary)

    def _corpus_files(self) -> CorpusFiles:
        corpus = self._options.corpus
        if corpus.src and corpus.tgt:
            return CorpusFiles((corpus.src, corpus.tgt), Columns.parse(None, 2), parallel=True)
        return CorpusFiles(tuple(self._files), Columns.parse(self._options.stream.columns, 2))

    def _sources(self, work: Path) -> TrainingSources:
        init, options = self._options.arch.init, self._options
        like = read_config(Path(init)).model if init else None
        kind = choose(SOURCES, options.source.source, "kind of source")
        return kind(options.source, work, like, share_vocab=options.corpus.share_vocab)

    def _index(self, files: CorpusFiles, sources: TrainingSources, name: str) -> Corpus:
        bad = BadLines(self._speaker.warn, skip_bad=self._options.stream.skip_bad)
        corpus = sources.index(files, name, bad, _pair_problem)
        if not len(corpus):
            where = ", ".join(files.paths)
            raise DataError(f"{where}: no pair to work with; {sources.no_pair}")
        return corpus

    def _tokenizers(
        self, corpus: Corpus, rows: Rows, columns: list[tuple[int, ...]]
    ) -> tuple[Tokenizer, Tokenizer]:
        if self._options.arch.init:
            return read_tokenizers(Path(self._options.arch.init))
        given = self._options.corpus.tokenizer
        if given:
            tokenizer = load_tokenizer(given)
            tokenizer.require_specials(given)
            return tokenizer, tokenizer
        trained = [self._train_tokenizer(_texts(corpus, rows, own), len(rows)) for own in columns]
        return trained[0], trained[-1]

    def _train_tokenizer(self, texts: Iterator[str], n_pairs: int) -> Tokenizer:
        """A tokenizer of the size asked for, or of the largest useful size that the text allows."""
        size, _ = choose_size(self._options.size.size, n_pairs, on_gpu=torch.cuda.is_available())
        return train_tokenizer(
            texts,
            self._options.tokenizer,
            seed=self._options.runtime.seed,
            threads=self._options.runtime.threads,
            say=self._speaker.say,
            usual_size=PRESETS[self._options.arch.arch_of_new][size].vocab_size,
        )

    def _dev(
        self, work: Path, n_pairs: int, held_out: NDArray[np.int64]
    ) -> tuple[str, NDArray[np.int64]]:
        """The pairs that validate: their own file's, the held-out ones, or the training's."""
        if self._options.corpus.dev:
            return DEV, np.arange(min(len(Corpus(work, DEV)), _DEV_LIMIT))
        return TRAIN, held_out if len(held_out) else np.arange(min(n_pairs, _DEV_LIMIT))


class TranslationValidation:
    """Loss of the dev pairs, and BLEU and chrF of their greedy translations where these decide.

    Args:
        objective: the loss.
        translator: decodes with the same model.
        reader: the dev pairs.
        metric: "loss", "bleu" or "chrf".
        same_source: equal for pairs whose targets are references of one source, which is decoded
            once. Shape: (pairs,).
    """

    def __init__(
        self,
        objective: Objective[Seq2SeqBatch],
        translator: Translator,
        reader: PairReader,
        metric: str,
        *,
        same_source: NDArray[np.int64],
    ) -> None:
        self._same_source = same_source
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
        sources: dict[int, Source] = {}
        references: dict[int, tuple[str, ...]] = {}
        for (text, content, reference), same in zip(
            self._reader.read(numbers), self._same_source.tolist(), strict=True
        ):
            sources[same] = Source(text, file=content)
            references[same] = (*references.get(same, ()), reference)
        found = self._translator.generate(
            list(sources.values()),
            SearchOptions(greedy=True),
            batch_tokens=DecodeOptions().batch_tokens,
        )
        segments = [
            Segment(outputs[0].text if outputs else "", own)
            for own, outputs in zip(references.values(), found, strict=True)
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


def _with_limits(options: TrainMtCommand, n_pairs: int) -> TrainingOptions:
    """The options with a limit, where none was given: small corpora are passed more often.

    A trained model has less to learn: it passes them a tenth as often.
    """
    training = options.training
    if training.max_steps or training.max_epochs or training.max_time:
        return training
    epochs = float(min(60, max(5, 1_500_000 // max(n_pairs, 1))))
    if options.arch.init:
        epochs = max(1.0, epochs // 10)
    return dataclasses.replace(training, max_epochs=epochs)
