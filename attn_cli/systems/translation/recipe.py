"""`attn train-mt`: from pairs of lines to a model directory."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import ClassVar

import torch

from attn_cli.config.translation import TrainMtCommand
from attn_cli.data.batching import stream
from attn_cli.data.corpus import Corpus
from attn_cli.data.entries import CorpusFiles
from attn_cli.data.split import repeated
from attn_cli.errors import DataError
from attn_cli.lines.columns import Columns
from attn_cli.lines.rows import is_blank
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
from attn_cli.systems.translation.validation import BLEU_OF_NOTHING, TranslationValidation, cost
from attn_cli.tokenizers.tokenizer import Tokenizer
from attn_cli.tokenizers.tokenizer_files import read_tokenizers
from attn_cli.train.loop import Training
from attn_cli.train.monitor import Speaker
from attn_cli.train.processes import Processes
from attn_cli.train.run import Plan
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
        read = partial(kind.reader, src=src, tgt_tokenizer=tgt, n_positions=model.n_positions)
        reader, dev_reader, chosen = self._readers(split, sources, read, processes)
        metric = chosen.training.metric
        same_source = sources.groups(self._dev_name, split.dev_rows)
        validate = TranslationValidation(
            objective, translator, dev_reader, metric, same_source=same_source
        )
        contents = "".join(map(sources.fingerprint, dict.fromkeys((TRAIN, self._dev_name))))
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
                says_nothing_below={"bleu": BLEU_OF_NOTHING, "wer": -1.0},
                too_young=validate.too_young,
                validation_epochs=cost(split, metric),
            ),
            chosen.training,
            ModelConfig(
                start.arch,
                model.task,
                start.config,
                self.saved_options(fingerprint, len(split.rows), len(split.dev_rows)),
            ),
            summary,
        )

    def _readers(
        self,
        split: Split,
        sources: TrainingSources,
        read: Callable[..., PairReader],
        processes: Processes,
    ) -> tuple[PairReader, PairReader, Suited]:
        """Those of the training and dev pairs; the options that suit what is read."""
        corpus = self.options.corpus
        read = partial(read, max_len=corpus.max_len)
        contents = sources.contents(TRAIN)
        plain = read(split.train, split.rows, batch_tokens=corpus.max_len, contents=contents)
        chosen = self._suited(plain)
        say = self.speaker.warn if processes.is_main else None
        read = partial(read, batch_tokens=chosen.training.batch_tokens, say=say)
        contents, alpha = sources.learnt_contents(TRAIN), corpus.subword_sampling
        reader = read(split.train, split.rows, sample_alpha=alpha, contents=contents)
        dev_reader = read(split.dev, split.dev_rows, contents=sources.contents(self._dev_name))
        return reader, dev_reader, chosen

    @property
    def _dev_name(self) -> str:
        """Of the corpus that the dev pairs are in."""
        return DEV if self.options.corpus.dev else TRAIN

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


def _pair_problem(pair: list[str]) -> str | None:
    if len(pair) != 2:
        return f"{len(pair)} texts, but a pair has 2 (of a list, target.0 is the first)"
    for side, text in zip(("source", "target"), pair, strict=True):
        if is_blank(text):
            return f"empty {side}"
    return None
