"""`attn pretrain`: from documents to an encoder or a language model."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray

from attn_cli.config import changed, choose
from attn_cli.config.pretraining import OF_REPLACING, PretrainCommand
from attn_cli.data.batching import stream
from attn_cli.data.corpus import Corpus, build_corpus
from attn_cli.data.entries import CorpusFiles
from attn_cli.data.split import hold_out, repeated
from attn_cli.errors import DataError, UsageError
from attn_cli.models import build_model
from attn_cli.models.backbone import BackboneConfig
from attn_cli.models.directory import ModelConfig, load_model_of, read_config
from attn_cli.models.sizes import BACKBONE_PRESETS, choose_backbone_size
from attn_cli.models.text import TextModel
from attn_cli.systems.pretraining.objectives import OBJECTIVES
from attn_cli.systems.recipe import DEV, TRAIN, CorpusRecipe, Split, each_row, n_weights
from attn_cli.systems.suited import Amount, Suited, Usual, mean_tokens, suited
from attn_cli.tokenizers.tokenizer import Tokenizer
from attn_cli.tokenizers.tokenizer_files import read_tokenizers
from attn_cli.train.loop import Training
from attn_cli.train.monitor import Speaker
from attn_cli.train.processes import Processes
from attn_cli.train.run import Plan
from attn_cli.wording import plural, them

_FEWEST, _MOST = 50, 500  # documents that are held out
_VALIDATING = 0.4  # the time of a text in a validation, in that of one in training
_DEV_BYTES = 1 << 19  # of text that a validation reads
USUAL = Usual(
    batch_tokens=(1024, 4096),
    updates_a_pass=500,
    warmup=50,
    tokens_seen=25e6,
    passes=(1, 40),
    fewest_updates=2000,
    most_passes=200,
)


class PretrainRecipe(CorpusRecipe[Any, PretrainCommand]):
    """Prepares and opens a pre-training.

    Args:
        files: documents; standard input if there are none.
        options: of the command.
        speaker: is told what was found and chosen.

    Raises:
        UsageError: options that do not go together.
    """

    noun: ClassVar[str] = "document"
    dev_limit: ClassVar[int] = _MOST

    def __init__(self, files: list[str], options: PretrainCommand, speaker: Speaker) -> None:
        super().__init__(files, options, speaker)
        self.files, self.repeats = repeated(self.files)
        self._kind = choose(OBJECTIVES, options.objective.objective, "objective")
        vain = changed(options.masking, among=OF_REPLACING)
        if vain and options.objective.objective != "rtd":
            raise UsageError(f"{', '.join(vain)}: for --objective rtd; leave {them(vain)} out")
        if options.stream.columns:
            raise UsageError("--columns: pretrain reads plain sentences, one a line")
        if options.init:
            chosen = {**vars(options.size), **vars(options.variant)}
            decided = [name for name, value in chosen.items() if value not in (None, "auto")]
            decided = [name for name in decided if name != "dropout"]
            decided += ["tokenizer"] if options.objective.tokenizer else []
            if decided:
                flags = ", ".join(f"--{name.replace('_', '-')}" for name in decided)
                raise UsageError(f"{flags}: --init decides this; leave one of them out")
        if 0 < options.training.batch_tokens < options.objective.max_len:
            raise UsageError(
                f"--batch-tokens {options.training.batch_tokens} holds no input of --max-len "
                f"{options.objective.max_len}"
            )
        try:
            self._tokenizer_options = options.tokenizer.decided(
                self._kind.tokenizer_type, lossless=self._kind.lossless
            )
        except ValueError as error:
            raise UsageError(str(error)) from error

    @property
    def inputs(self) -> Iterable[str | None]:
        """Documents."""
        return [*self.files, self.options.objective.dev]

    @property
    def given_tokenizer(self) -> str | None:
        """See `CorpusRecipe`."""
        return self.options.objective.tokenizer

    def prepare(self, output: Path, work: Path) -> None:
        """Checks every line, holds documents out, trains the tokenizer."""
        corpus = self._index(tuple(self.files), work, TRAIN)
        dev = None
        if self.options.objective.dev:
            dev = self._index((self.options.objective.dev,), work, DEV)
        rows = self.hold_out(work, corpus, dev, _hold_out_documents)

        def train_tokenizer() -> tuple[Tokenizer, Tokenizer]:
            on_gpu = torch.cuda.is_available()
            size, _ = choose_backbone_size(self.options.size.size, _n_bytes(corpus), on_gpu=on_gpu)
            drawn, drawn_of = self.drawn(corpus, rows, self._tokenizer_options)
            tokenizer = self.trained_tokenizer(
                (line for lines in each_row(corpus, drawn) for line in lines),
                self._tokenizer_options,
                BACKBONE_PRESETS[size].vocab_size,
                predicted=True,
                drawn_of=drawn_of,
            )
            return tokenizer, tokenizer

        self.put_tokenizers(output, train_tokenizer)

    def open(self, output: Path, work: Path, processes: Processes) -> Plan[Any]:
        """The model, its batches, its validation."""
        options, kind = self.options, self._kind
        split = self.split(work, has_dev=bool(options.objective.dev))
        n_bytes = _n_bytes(split.train)
        tokenizer, _ = read_tokenizers(output)
        if options.init:
            config, why = self._initial_config(options.init), f"continued from {options.init}"
        else:
            on_gpu = processes.device.type == "cuda"
            size, reason = choose_backbone_size(options.size.size, n_bytes, on_gpu=on_gpu)
            config = kind.config(options.size, options.variant, size, tokenizer.vocab_size)
            why = f"size {size} ({reason})"
        model = self._model(config).to(processes.device)
        chosen = self._suited(split, tokenizer)
        training = chosen.training
        options = dataclasses.replace(options, training=training)
        objective = kind.objective.as_asked(model, options).to(processes.device)
        for weight in objective.unused:
            weight.requires_grad_(False)
        reader = kind.reader(split.train, split.rows, tokenizer, options)
        within = np.cumsum(split.dev.sizes(split.dev_rows)) <= _DEV_BYTES
        dev_rows = split.dev_rows[: max(2, int(within.sum()))]
        if processes.is_main and options.objective.dev and len(dev_rows) < len(split.dev_rows):
            self.speaker.warn(
                f"the first {len(dev_rows):,} of {plural(len(split.dev), 'dev document')} "
                f"validate: {_DEV_BYTES >> 10:,} KiB of text"
            )
        dev_reader = kind.reader(split.dev, dev_rows, tokenizer, options)
        fingerprint = split.train.fingerprint + split.dev.fingerprint
        summary = [
            f"{plural(len(split.rows), 'document')} to train on, {len(dev_rows):,} to validate on; "
            f"vocabulary {tokenizer.vocab_size:,}",
            f"{why}: {n_weights(model):,} weights",
            *chosen.said,
        ]
        if objective.partner is not None:
            summary.append(
                f"a generator of {n_weights(objective.partner):,} weights learns beside it, and is "
                "left out of the finished model"
            )
        return Plan(
            Training(
                objective=objective,
                stream=lambda position, peers: stream(reader.source(), self.seed, position, peers),
                validate=lambda spread: objective.figures(
                    dev_reader.batches(np.arange(len(dev_rows)), 0), spread
                ),
                validation_epochs=_VALIDATING * float(split.dev.sizes(dev_rows).sum()) / n_bytes,
            ),
            training,
            ModelConfig(
                kind.arch,
                kind.task,
                config,
                self.saved_options(fingerprint, len(split.rows), len(dev_rows)),
                heads=tuple(model.head_configs.values()),
            ),
            summary,
        )

    def _suited(self, split: Split, tokenizer: Tokenizer) -> Suited:
        """The options with what they leave open decided by the corpus."""

        def count(numbers: NDArray[np.int64]) -> list[int]:
            return [
                sum(map(len, tokenizer.encode(lines)))
                for lines in split.train.read(split.rows[numbers])
            ]

        n_tokens = len(split.rows) * mean_tokens(split.rows, count)
        amount = Amount(self.noun, len(split.rows), n_tokens)
        return suited(self.options.training, USUAL, amount, self.options.objective.max_len)

    def check_tokenizer(self, tokenizer: Tokenizer, where: str) -> None:
        """Raises DataError if a token is lacking that the objective needs."""
        ids = {
            "pad": tokenizer.pad_id,
            "bos": tokenizer.bos_id,
            "eos": tokenizer.eos_id,
            "mask": tokenizer.mask_id,
            "cls": tokenizer.cls_id,
            "sep": tokenizer.sep_id,
        }
        lacking = [name for name in self._kind.specials if ids[name] < 0]
        if lacking:
            raise DataError(
                f"{where}: has no {' and no '.join(lacking)} token, which --objective "
                f"{self.options.objective.objective} needs; attn tokenize train makes one that has"
            )

    def _index(self, paths: tuple[str, ...], work: Path, name: str) -> Corpus:
        longest = 0

        def check(lines: list[str]) -> None:
            nonlocal longest
            longest = max(longest, len(lines))

        files = CorpusFiles(paths, blocks=self._kind.blocks(self.options.objective.max_len))
        corpus = build_corpus(files, work, name, self.bad_lines(), check)
        where = ", ".join("standard input" if path == "-" else path for path in paths)
        if not len(corpus):
            raise DataError(f"{where}: no text; write one sentence a line")
        one_document = len(np.unique(corpus.documents(np.array([0, len(corpus) - 1])))) < 2
        if self._kind.pairs and (one_document or longest < 2):
            lack = "there is one document only" if one_document else "no document has two sentences"
            raise DataError(
                f"{where}: {lack}; next-sentence prediction needs one sentence a line and a blank "
                "line between documents; or use --objective mlm"
            )
        return corpus

    def _initial_config(self, init: str) -> BackboneConfig:
        before = read_config(Path(init))
        config, dropout = before.model, self.options.variant.dropout
        if before.arch != self._kind.arch or not isinstance(config, BackboneConfig):
            raise DataError(
                f"{init}: holds a {before.arch!r}, but --objective "
                f"{self.options.objective.objective} trains a {self._kind.arch!r}"
            )
        return config if dropout is None else dataclasses.replace(config, dropout=dropout)

    def _model(self, config: BackboneConfig) -> TextModel:
        """Fresh weights, or those of the model to begin with, where it has them.

        Raises:
            UsageError: it can't read the inputs.
        """
        options = self.options
        torch.manual_seed(self.seed)
        model = build_model(self._kind.arch, config, self._kind.heads(config.vocab_size))
        longest = model.backbone.max_len
        if longest and options.objective.max_len > longest:
            raise UsageError(
                f"--max-len {options.objective.max_len}: the model reads at most "
                f"{longest} tokens (--max-positions)"
            )
        if options.init:
            _, before = load_model_of(TextModel, Path(options.init), torch.device("cpu"))
            weights = dict(before.named_parameters())
            with torch.no_grad():  # heads that are new stay fresh
                for name, weight in model.named_parameters():
                    if name in weights and weights[name].shape == weight.shape:
                        weight.copy_(weights[name])
        return model


def _hold_out_documents(corpus: Corpus, seed: int) -> NDArray[np.int64]:
    """Rows to validate on, none of which is a part of a document that is trained on."""
    held_out = hold_out(corpus, seed, _FEWEST, _MOST)
    documents = corpus.documents(held_out)
    before = corpus.documents(np.maximum(held_out - 1, 0))
    after = corpus.documents(np.minimum(held_out + 1, len(corpus) - 1))
    whole = ((before != documents) | (held_out == 0)) & (
        (after != documents) | (held_out == len(corpus) - 1)
    )
    return held_out[whole]


def _n_bytes(corpus: Corpus) -> int:
    return sum(Path(path).stat().st_size for path in corpus.meta["paths"])
