"""`attn train-mt`: from pairs of lines to a model directory."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray

from attn_cli.config.decoding import DecodeOptions, SearchOptions
from attn_cli.config.scoring import ScoreOptions
from attn_cli.config.translation import TrainMtCommand
from attn_cli.data.batching import stream
from attn_cli.data.corpus import Corpus
from attn_cli.data.entries import CorpusFiles
from attn_cli.data.split import repeated
from attn_cli.errors import DataError
from attn_cli.lines.columns import Columns
from attn_cli.lines.rows import is_blank
from attn_cli.metrics.base import Segment
from attn_cli.metrics.scoring import score_corpus
from attn_cli.metrics.scripts import Letters
from attn_cli.models.directory import ModelConfig, read_config
from attn_cli.models.seq2seq_base import EncoderDecoderConfig
from attn_cli.models.sizes import choose_size, seq2seq_preset
from attn_cli.nn.positions import TokenEmbedding
from attn_cli.systems.recipe import DEV, TRAIN, CorpusRecipe, Split, each_row, n_weights
from attn_cli.systems.suited import Amount, Suited, Usual, mean_tokens, suited
from attn_cli.systems.translation.ctc_training import ctc_weight
from attn_cli.systems.translation.pairs import PairReader, Seq2SeqBatch, sides_swapped
from attn_cli.systems.translation.source_base import TrainingSources
from attn_cli.systems.translation.sources import source_kind
from attn_cli.systems.translation.start import check_start, starting_point
from attn_cli.systems.translation.training_kinds import TRAINING_KINDS
from attn_cli.systems.translation.translator import Source, Translator
from attn_cli.tokenizers.tokenizer import Tokenizer
from attn_cli.tokenizers.tokenizer_files import read_tokenizers
from attn_cli.train.loop import Training
from attn_cli.train.monitor import Speaker
from attn_cli.train.objective import Objective
from attn_cli.train.processes import Processes
from attn_cli.train.run import Plan
from attn_cli.train.spread import Spread, alone, in_parts
from attn_cli.wording import plural

USUAL = Usual(
    batch_tokens=(512, 2048),
    updates_a_pass=200,
    warmup=200,
    examples_seen=1_500_000,
    passes=(5, 60),
    fewest_updates=2000,
    most_passes=300,
)
CONTINUED = replace(  # a trained model has less to learn
    USUAL, warmup=20, examples_seen=150_000, passes=(1, 6), fewest_updates=200, most_passes=30
)
_PROBED = 100  # of the pairs that validate, alone while their translations are worth nothing
_BLEU_OF_NOTHING = 1.0
_TOO_YOUNG = f"trained too little to translate (dev BLEU below {_BLEU_OF_NOTHING:g}): train longer"
_DEAF = "trained too little to write down what is said (dev WER above 1): train longer"
_DECODING = 3.0  # the time that a pair takes in a validation, in that of a pair in training


class TranslationRecipe(CorpusRecipe[Seq2SeqBatch, TrainMtCommand]):
    """Prepares and opens a translation training.

    Args:
        files: TSV files of pairs; standard input if there are none.
        options: of the command.
        speaker: is told what was found and chosen.

    Raises:
        DataError: the directory to start from is none of a translator.
        UsageError: options contradict it, or one another.
    """

    noun: ClassVar[str] = "pair"
    dev_limit: ClassVar[int] = 2000  # pairs that a validation decodes

    def __init__(self, files: list[str], options: TrainMtCommand, speaker: Speaker) -> None:
        super().__init__(files, options, speaker)
        self.files, self.repeats = repeated(self.files)
        check_start(options)
        if options.criterion.samples_outputs and not options.init:
            speaker.warn(
                f"--criterion {options.criterion.criterion} from random weights, whose outputs are "
                "all bad, learns little: train by likelihood first, then continue with --init"
            )

    @property
    def inputs(self) -> Iterable[str | None]:
        """Pairs, and word vectors."""
        chosen = self.options.corpus
        pairs = [chosen.src, chosen.tgt] if chosen.src else self.files
        return [*pairs, chosen.dev, chosen.embeddings]

    @property
    def given_tokenizer(self) -> str | None:
        """See `CorpusRecipe`."""
        return self.options.corpus.tokenizer

    def prepare(self, output: Path, work: Path) -> None:
        """Checks every line, holds pairs out, trains the tokenizers."""
        options, sources = self.options, self._sources(work)
        columns = Columns.parse(options.stream.columns, 2)
        even = not options.stream.columns
        files = CorpusFiles(tuple(self.files), columns, remedy=sources.no_pair, even=even)
        if options.corpus.src and options.corpus.tgt:
            parallel = (options.corpus.src, options.corpus.tgt)
            files = CorpusFiles(parallel, Columns.parse(None, 2), parallel=True)
        corpus = self._index(files, sources, TRAIN)
        dev = None
        if options.corpus.dev:
            dev_paths = (options.corpus.dev,)
            files = CorpusFiles(dev_paths, columns, remedy=sources.no_pair, even=even)
            dev = self._index(files, sources, DEV)
            if sides_swapped(corpus, dev):
                self.speaker.warn(
                    f"{options.corpus.dev}: its sides look swapped: its sources are written in the "
                    "words of the training's targets, its targets in those of the sources"
                )
        rows = self.hold_out(work, corpus, dev, sources.hold_out)

        def train_tokenizers() -> tuple[Tokenizer, Tokenizer]:
            size, _ = choose_size(options.size.size, len(rows), on_gpu=torch.cuda.is_available())
            decoder, arch = options.arch.decoder_of_new, options.arch.arch_of_new
            usual_size = seq2seq_preset(arch, decoder, size).vocab_size
            drawn, drawn_of = self.drawn(corpus, rows, options.tokenizer)
            how, kind = options.tokenizer, sources.tokenizer_type(len(rows))
            if how.type == "auto" and kind != "auto":
                few = f"{plural(len(rows), 'pair')} are few to learn longer pieces from"
                self.speaker.say(f"tokenizer: {kind}: {few}")
                how = replace(how, type=kind)
            trained = [
                self.trained_tokenizer(
                    (pair[column] for pair in each_row(corpus, drawn) for column in text_columns),
                    how,
                    usual_size,
                    predicted=True,
                    drawn_of=drawn_of,
                )
                for text_columns in sources.text_columns
            ]
            return trained[0], trained[-1]

        self.put_tokenizers(output, train_tokenizers)

    def open(self, output: Path, work: Path, processes: Processes) -> Plan[Seq2SeqBatch]:
        """The model with fresh weights, its batches, its validation."""
        options, sources = self.options, self._sources(work)
        split = self.split(work, has_dev=bool(options.corpus.dev))
        tokenizer, tgt = read_tokenizers(output)
        src = sources.side(tokenizer)
        vocabularies = src.vocab_size, tgt.vocab_size
        start = starting_point(
            options,
            len(split.rows),
            vocabularies,
            sources,
            share=src.vocab_size > 0 and tokenizer is tgt,
            on_gpu=processes.device.type == "cuda",
        )
        model = start.build(self.seed)
        summary: list[str] = []
        if options.corpus.embeddings:
            assert isinstance(model.src_embedding, TokenEmbedding)  # files have no vectors
            weight = model.src_embedding.tokens.weight
            summary.append(self.start_embeddings(weight, options.corpus.embeddings, tokenizer))
        if model.ctc is not None and processes.is_main:
            for remark in sources.remarks_on_pairs(split.train, split.rows, tgt):
                self.speaker.warn(remark)
        kind = TRAINING_KINDS[model.task]
        translator = kind.translator([model], src, tgt)
        objective = kind.objective(model, options, translator).to(processes.device)
        translator.ctc_weight = ctc_weight(model, options)
        max_len = options.corpus.max_len
        read = partial(
            kind.reader,
            src=src,
            tgt_tokenizer=tgt,
            max_len=max_len,
            n_positions=model.n_positions,
        )
        chosen = self._suited(
            read(split.train, split.rows, batch_tokens=max_len, contents=sources.contents(TRAIN))
        )
        training = chosen.training
        read = partial(
            read,
            batch_tokens=training.batch_tokens,
            say=self.speaker.warn if processes.is_main else None,
        )
        reader = read(
            split.train,
            split.rows,
            sample_alpha=options.corpus.subword_sampling,
            contents=sources.learnt_contents(TRAIN),
        )
        dev_name = DEV if options.corpus.dev else TRAIN
        dev_reader = read(split.dev, split.dev_rows, contents=sources.contents(dev_name))
        validate = TranslationValidation(
            objective,
            translator,
            dev_reader,
            training.metric,
            same_source=sources.groups(dev_name, split.dev_rows),
        )
        contents = "".join(map(sources.fingerprint, dict.fromkeys((TRAIN, dev_name))))
        fingerprint = split.train.fingerprint + split.dev.fingerprint + contents
        summary += [
            f"{len(split.rows):,} pairs to train on, {len(split.dev_rows):,} to validate on; "
            f"vocabulary {'/'.join(f'{size:,}' for size in dict.fromkeys(vocabularies) if size)}",
            f"{start.why}: {n_weights(model):,} weights",
            *chosen.said,
            *validate.remarks,
        ]
        return Plan(
            Training(
                objective=objective,
                stream=lambda position, peers: stream(reader.source(), self.seed, position, peers),
                validate=validate,
                starts_trained=start.model is not None,
                says_nothing_below={"bleu": _BLEU_OF_NOTHING, "wer": -1.0},
                too_young=validate.too_young,
                validation_epochs=_cost(split, training.metric),
            ),
            training,
            ModelConfig(
                start.arch,
                model.task,
                start.config,
                self.saved_options(fingerprint, len(split.rows), len(split.dev_rows)),
            ),
            summary,
        )

    def _suited(self, reader: PairReader) -> Suited:
        """The options with what they leave open decided by the corpus."""
        options, n_pairs = self.options, len(reader.rows)
        amount = Amount(self.noun, n_pairs, n_pairs * mean_tokens(reader.rows, reader.lengths))
        usual = CONTINUED if options.init else USUAL
        return suited(options.training, usual, amount, options.corpus.max_len)

    def _sources(self, work: Path) -> TrainingSources:
        options = self.options
        like = read_config(Path(options.init)).model if options.init else None
        assert like is None or isinstance(like, EncoderDecoderConfig)  # see `check_start`
        kind = source_kind(options.source.source)
        return kind.training(options.source, work, like, share_vocab=options.corpus.share_vocab)

    def _index(self, files: CorpusFiles, sources: TrainingSources, name: str) -> Corpus:
        corpus = sources.index(files, name, self.bad_lines(), _pair_problem, self.speaker.say)
        if not len(corpus):
            where = ", ".join(files.paths)
            raise DataError(f"{where}: no pair to work with; {sources.no_pair}")
        self.say_unread(corpus, files)
        for remark in sources.remarks(name):
            self.speaker.warn(remark)
        return corpus


class TranslationValidation:
    """Loss of the dev pairs, and BLEU and chrF, or WER, of greedy translations where these decide.

    Args:
        objective: the loss.
        translator: decodes with the same model.
        reader: the dev pairs.
        metric: "loss", "bleu", "chrf" or "wer".
        same_source: equal for pairs whose targets are references of one source, which is decoded
            once. Shape: (pairs,).

    Attributes:
        has_sentences: whether most targets are of four words or more, as a figure of 4-grams wants
            them.
        remarks: what a user should know of the figures.
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
        targets = [pair[-1] for pair in reader.read(np.arange(len(reader.rows))[:_PROBED])]
        written = Letters(targets).unspaced
        tokenizer = written.tokenizer if written else ScoreOptions().tokenize
        wer = metric == "wer"
        self._measures = ScoreOptions(bleu=True, chrf=True, wer=wer, tokenize=tokenizer)
        lengths = [len(text if written else text.split()) for text in targets]
        self.has_sentences = sum(length >= 4 for length in lengths) * 2 > len(targets)
        self.remarks: list[str] = []
        if written and metric in ("bleu", "chrf"):
            self.remarks = [
                f"{written.name} has no spaces between words: dev BLEU is that of attn score "
                f"--tokenize {tokenizer}"
            ]

    @property
    def too_young(self) -> str:
        """What is said of weights whose figure says nothing; "": nothing, as it never does."""
        return _DEAF if self._metric == "wer" else _TOO_YOUNG if self.has_sentences else ""

    @torch.inference_mode()
    def __call__(self, spread: Spread = alone) -> dict[str, float]:
        """The figures; the loss in nats per token, without smoothing."""
        numbers = np.arange(len(self._reader.rows))
        batches = self._reader.batches(numbers, 0)
        tokens = sum(batch.n_tokens for batch in batches)
        figures = {"loss": sum(spread(self._nll, batches)) / tokens}
        if self._metric != "loss":
            # Weights that translate into nothing yet take longest for it, and tell least.
            figures |= self._quality(numbers[:_PROBED], spread)
            good = figures["bleu"] >= _BLEU_OF_NOTHING or figures.get("wer", 1.0) < 1.0
            if len(numbers) > _PROBED and good:
                figures |= self._quality(numbers, spread)
        return figures

    def _nll(self, batch: Seq2SeqBatch) -> float:
        return float(self._objective(batch.to(self._translator.device))[1])

    def _quality(self, numbers: NDArray[np.int64], spread: Spread) -> dict[str, float]:
        sources: dict[int, Source] = {}
        lengths: dict[int, int] = {}
        references: dict[int, tuple[str, ...]] = {}
        for (text, content, reference), same in zip(
            self._reader.read(numbers), self._same_source[numbers].tolist(), strict=True
        ):
            sources[same], lengths[same] = Source(text, file=content), len(content)
            references[same] = (*references.get(same, ()), reference)
        outputs = in_parts(self._outputs, list(sources.values()), list(lengths.values()), spread)
        segments = [
            Segment(output, texts)
            for texts, output in zip(references.values(), outputs, strict=True)
        ]
        scores = score_corpus(self._measures, segments)
        return dict(zip(("bleu", "chrf", "wer"), (score.value for score in scores), strict=False))

    def _outputs(self, sources: list[Source]) -> list[str]:
        options, batch_tokens = SearchOptions(greedy=True), DecodeOptions().batch_tokens
        hypotheses = self._translator.generate(sources, options, batch_tokens=batch_tokens)
        return [outputs[0].text if outputs else "" for outputs in hypotheses]


def _cost(split: Split, metric: str) -> float:
    """The passes over the training pairs that take as long as a validation, about."""
    one = _DECODING if metric != "loss" else 0.4  # without a backward pass
    dev = int(split.dev.sizes(split.dev_rows).sum())
    mean = split.train.sizes(split.rows[np.arange(min(len(split.rows), 10_000))]).mean()
    return one * dev / max(float(mean) * len(split.rows), 1.0)


def _pair_problem(pair: list[str]) -> str | None:
    if len(pair) != 2:
        return f"{len(pair)} texts, but a pair has 2 (of a list, target.0 is the first)"
    for side, text in zip(("source", "target"), pair, strict=True):
        if is_blank(text):
            return f"empty {side}"
    return None
