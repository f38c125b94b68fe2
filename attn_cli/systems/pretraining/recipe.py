"""`attn pretrain`: from documents to an encoder or a language model."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from attn_cli.config import choose, saved
from attn_cli.config.pretraining import PretrainCommand
from attn_cli.config.tokenizing import TokenizerOptions
from attn_cli.config.training import TrainingOptions
from attn_cli.data.batching import stream
from attn_cli.data.corpus import Corpus, CorpusFiles, build_corpus
from attn_cli.data.split import Rows, hold_out
from attn_cli.errors import DataError, UsageError
from attn_cli.files import inside, writing
from attn_cli.lines.unusable import BadLines
from attn_cli.models import build_model
from attn_cli.models.directory import CONFIG, ModelConfig, load_model, read_config
from attn_cli.models.sizes import STACK_PRESETS, choose_stack_size
from attn_cli.models.text import TextModel
from attn_cli.systems.pretraining.objectives import OBJECTIVES
from attn_cli.tokenizers.tokenizer import Tokenizer
from attn_cli.tokenizers.tokenizer_files import load_tokenizer, read_tokenizers, write_tokenizers
from attn_cli.tokenizers.tokenizer_training import train_tokenizer
from attn_cli.train.loop import Training
from attn_cli.train.monitor import Speaker
from attn_cli.train.processes import Processes
from attn_cli.train.run import DATA, Plan, Recipe, said_limits
from attn_cli.wording import plural

_TRAIN, _DEV = "train", "dev"
_HELD_OUT = "held-out.npy"
_FEWEST, _MOST = 50, 500  # documents that are held out
_DEV_BYTES = 1 << 19  # of text that a validation reads
_USUAL_BYTES = 100e6  # of text that is read in all, where no limit is given
_CHUNK = 256  # documents


class PretrainRecipe(Recipe[Any]):
    """Prepares and opens a pre-training.

    Args:
        files: documents; standard input if there are none.
        options: of the command.
        speaker: is told what was found and chosen.

    Raises:
        UsageError: options that do not go together.
    """

    def __init__(
        self,
        files: list[str],
        options: PretrainCommand,
        speaker: Speaker,
    ) -> None:
        self._files = files or ["-"]
        self._options = options
        self._objective = choose(OBJECTIVES, options.objective.objective, "objective")
        self._speaker = speaker
        self._check()

    def _check(self) -> None:
        options = self._options
        if self._options.stream.columns:
            raise UsageError("--columns: pretrain reads plain sentences, one a line")
        if options.objective.init:
            own = {**vars(options.size), **vars(options.variant)}
            given = [name for name, value in own.items() if value not in (None, "auto")]
            given = [name for name in given if name != "dropout"]
            given += ["tokenizer"] if options.objective.tokenizer else []
            if given:
                flags = ", ".join(f"--{name.replace('_', '-')}" for name in given)
                raise UsageError(f"{flags}: --init decides this; leave one of them out")
        if options.training.batch_tokens < options.objective.max_len:
            raise UsageError(
                f"--batch-tokens {options.training.batch_tokens} holds no input of --max-len "
                f"{options.objective.max_len}"
            )
        try:
            self._tokenizer_options()
        except ValueError as error:
            raise UsageError(str(error)) from error

    def prepare(self, output: Path, work: Path) -> None:
        """Checks every line, holds documents out, trains the tokenizer."""
        corpus = self._index(tuple(self._files), work, _TRAIN)
        held_out = np.empty(0, np.int64)
        if self._options.objective.dev:
            self._index((self._options.objective.dev,), work, _DEV)
        else:
            held_out = _hold_out_documents(corpus, self._options.runtime.seed)
            if not len(held_out):
                self._speaker.warn("too few distinct documents to hold any out: they validate")
        with writing(work / _HELD_OUT):
            np.save(inside(work, _HELD_OUT), held_out)
        if not (output / CONFIG).exists():
            tokenizer = self._tokenizer(corpus, Rows(len(corpus), held_out))
            write_tokenizers(output, tokenizer, tokenizer)

    def open(self, output: Path, work: Path, processes: Processes) -> Plan[Any]:
        """The model, its batches, its validation."""
        corpus = Corpus(work, _TRAIN)
        held_out = np.load(work / _HELD_OUT, allow_pickle=False)
        rows = Rows(len(corpus), held_out)
        tokenizer, _ = read_tokenizers(output)
        config, why = self._config(tokenizer, corpus, processes)
        model = self._model(config).to(processes.device)
        training = _with_limits(self._options.training, _n_bytes(corpus))
        options = dataclasses.replace(self._options, training=training)
        read = partial(
            self._objective.reader, tokenizer=tokenizer, options=options, seed=options.runtime.seed
        )
        reader = read(corpus, rows)
        dev_corpus, dev_rows = self._dev(work, corpus, held_out)
        dev_reader = read(dev_corpus, dev_rows)
        module = self._objective.module(model, training.label_smoothing)
        pretraining = Training(
            objective=module,
            stream=lambda position: stream(reader.source(), self._options.runtime.seed, position),
            validate=lambda: module.figures(dev_reader.batches(np.arange(len(dev_rows)), 0)),
        )
        data = {DATA: corpus.fingerprint + dev_corpus.fingerprint}
        n_weights = sum(weight.numel() for weight in model.parameters())
        summary = [
            f"{plural(len(rows), 'document')} to train on, {len(dev_rows):,} to validate on; "
            f"vocabulary {tokenizer.vocab_size:,}",
            f"{why}: {n_weights:,} weights; {said_limits(training)}",
        ]
        heads = tuple(model.head_configs.values())
        kept = saved(self._options) | data
        described = ModelConfig(self._objective.arch, self._objective.task, config, kept)
        return Plan(pretraining, training, dataclasses.replace(described, heads=heads), summary)

    def _index(self, paths: tuple[str, ...], work: Path, name: str) -> Corpus:
        bad = BadLines(self._speaker.warn, skip_bad=self._options.stream.skip_bad)
        longest = 0

        def check(lines: list[str]) -> None:
            nonlocal longest
            longest = max(longest, len(lines))

        corpus = build_corpus(
            CorpusFiles(paths, blocks=self._objective.blocks(self._options.objective.max_len)),
            work,
            name,
            bad,
            check,
        )
        where = ", ".join("standard input" if path == "-" else path for path in paths)
        if not len(corpus):
            raise DataError(f"{where}: no text; write one sentence a line")
        one_document = len(np.unique(corpus.documents(np.array([0, len(corpus) - 1])))) < 2
        if self._objective.pairs and (one_document or longest < 2):
            lack = "there is one document only" if one_document else "no document has two sentences"
            raise DataError(
                f"{where}: {lack}; next-sentence prediction needs one sentence a line and a blank "
                "line between documents; or use --objective mlm"
            )
        return corpus

    def _tokenizer(self, corpus: Corpus, rows: Rows) -> Tokenizer:
        options = self._options
        given = options.objective.init or options.objective.tokenizer
        if given:
            tokenizer = load_tokenizer(given)
            tokenizer.require_specials(given)
            self._require_marks(tokenizer, given)
            return tokenizer
        on_gpu = torch.cuda.is_available()
        size, _ = choose_stack_size(options.size.size, _n_bytes(corpus), on_gpu=on_gpu)
        tokenizer = train_tokenizer(
            _lines(corpus, rows),
            self._tokenizer_options(),
            seed=self._options.runtime.seed,
            threads=self._options.runtime.threads,
            say=self._speaker.say,
            usual_size=STACK_PRESETS[size].vocab_size,
        )
        self._require_marks(tokenizer, "the tokenizer")
        return tokenizer

    def _tokenizer_options(self) -> TokenizerOptions:
        objective = self._objective
        return self._options.tokenizer.decided(
            objective.tokenizer_type, lossless=objective.lossless
        )

    def _require_marks(self, tokenizer: Tokenizer, where: str) -> None:
        lacking = [name for name in self._objective.specials if tokenizer.special_ids[name] < 0]
        if lacking:
            names = " and no ".join(lacking)
            raise DataError(
                f"{where}: has no {names} token, which --objective "
                f"{self._options.objective.objective} needs; attn tokenize train makes one that has"
            )

    def _config(
        self, tokenizer: Tokenizer, corpus: Corpus, processes: Processes
    ) -> tuple[Any, str]:
        """The backbone's configuration, and where it comes from.

        Raises:
            UsageError: its parts, or the length of the inputs, do not fit.
            DataError: the model to begin with is of another kind.
        """
        options = self._options
        if options.objective.init:
            config, why = self._initial_config(options.objective.init)
        else:
            on_gpu = processes.device.type == "cuda"
            size, reason = choose_stack_size(options.size.size, _n_bytes(corpus), on_gpu=on_gpu)
            sizes = (options.size, options.variant, size, tokenizer.vocab_size)
            config, why = self._objective.config(*sizes), f"size {size} ({reason})"
        longest = getattr(config, "max_positions", None)
        if longest and options.objective.max_len > longest:
            raise UsageError(
                f"--max-len {options.objective.max_len}: the model reads at most "
                f"{longest} tokens (--max-positions)"
            )
        return config, why

    def _initial_config(self, init: str) -> tuple[Any, str]:
        before = read_config(Path(init))
        if before.arch != self._objective.arch:
            raise DataError(
                f"{init}: holds a {before.arch!r}, but --objective "
                f"{self._options.objective.objective} trains a {self._objective.arch!r}"
            )
        dropout = self._options.variant.dropout
        changes = {} if dropout is None else {"dropout": dropout}
        return dataclasses.replace(before.model, **changes), f"continued from {init}"

    def _model(self, config: Any) -> TextModel:
        """Fresh weights, or those of the model to begin with, where it has them."""
        torch.manual_seed(self._options.runtime.seed)
        heads = self._objective.heads(config.vocab_size)
        model = build_model(self._objective.arch, config, heads)
        if self._options.objective.init:
            _, before = load_model(Path(self._options.objective.init), torch.device("cpu"))
            _take_weights(model, before)
        for name, weight in model.named_parameters():
            weight.requires_grad = not name.startswith(self._objective.idle or ("\0",))
        return model

    def _dev(self, work: Path, corpus: Corpus, held_out: NDArray) -> tuple[Corpus, NDArray]:
        """The documents that validate: their own file's, the held-out ones, or the training's."""
        if self._options.objective.dev:
            corpus, numbers = Corpus(work, _DEV), None
        else:
            numbers = held_out if len(held_out) else None
        if numbers is None:
            numbers = np.arange(min(len(corpus), _MOST))
        within = np.cumsum(corpus.sizes(numbers)) <= _DEV_BYTES
        return corpus, numbers[: max(2, int(within.sum()))]


def _take_weights(model: nn.Module, before: nn.Module) -> None:
    """Copies the weights of the same name and shape; heads that are new stay fresh."""
    found = dict(before.named_parameters())
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if name in found and found[name].shape == weight.shape:
                weight.copy_(found[name])


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


def _lines(corpus: Corpus, rows: Rows) -> Iterator[str]:
    for start in range(0, len(rows), _CHUNK):
        for lines in corpus.read(rows[np.arange(start, min(start + _CHUNK, len(rows)))]):
            yield from lines


def _n_bytes(corpus: Corpus) -> int:
    return sum(Path(path).stat().st_size for path in corpus.meta["paths"])


def _with_limits(training: TrainingOptions, n_bytes: int) -> TrainingOptions:
    """The options with a limit, where none was given: small corpora are passed more often."""
    if training.max_steps or training.max_epochs or training.max_time:
        return training
    epochs = float(min(40, max(1, round(_USUAL_BYTES / max(n_bytes, 1)))))
    return dataclasses.replace(training, max_epochs=epochs)
