"""The model that a translation training trains: of an architecture and a size, or of `--init`."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path

import torch

from attn_cli.config import changed
from attn_cli.config.translation import TrainMtCommand
from attn_cli.errors import DataError, UsageError
from attn_cli.models import SEQ2SEQ, build_model
from attn_cli.models.directory import load_model_of, read_config
from attn_cli.models.seq2seq_base import EncoderDecoderConfig, Seq2SeqModel
from attn_cli.models.sizes import choose_size, seq2seq_config, seq2seq_name
from attn_cli.nn.transformer import close_sublayers
from attn_cli.systems.translation.source_base import TrainingSources
from attn_cli.systems.translation.sources import source_kind


@dataclass(frozen=True)
class TranslatorStart:
    """What a translator is built from.

    Attributes:
        arch: a key of `models.CONFIGS`.
        config: its configuration.
        why: where that comes from, in words.
        model: whose weights it takes; None: random ones.
    """

    arch: str
    config: EncoderDecoderConfig
    why: str
    model: Seq2SeqModel | None = None

    def build(self, seed: int) -> Seq2SeqModel:
        """The model, ready to be trained."""
        torch.manual_seed(seed)
        model = build_model(self.arch, self.config)
        if self.model is None:
            close_sublayers(model)
        else:
            model.load_state_dict(self.model.state_dict())
        return model


def starting_point(
    options: TrainMtCommand,
    n_pairs: int,
    vocabularies: tuple[int, int],
    sources: TrainingSources,
    *,
    share: bool,
    on_gpu: bool,
) -> TranslatorStart:
    """What to train: the model of `--init`, or a new one of `--arch` and `--size`.

    Args:
        options: what was asked for.
        n_pairs: of the corpus.
        vocabularies: sizes of the source's, 0 where it is none of tokens, and the target's.
        sources: what the model reads.
        share: whether both are one.
        on_gpu: whether a GPU trains.

    Raises:
        DataError: the directory to start from is damaged, or its tokenizer is of another model.
        UsageError: the parts do not fit together.
    """
    if options.arch.init:
        return _continued(options, vocabularies, sources)
    size, why = choose_size(options.size.size, n_pairs, on_gpu=on_gpu)
    decoder, arch = options.arch.decoder_of_new, options.arch.arch_of_new
    config = seq2seq_config(
        arch,
        options.size,
        options.variant,
        size,
        vocabularies,
        share=share,
        decoder=decoder,
        max_len=options.corpus.max_len,
        source=sources.model_parts(arch, decoder),
    )
    return TranslatorStart(seq2seq_name(arch, decoder), config, f"size {size} ({why})")


def _continued(
    options: TrainMtCommand, vocabularies: tuple[int, int], sources: TrainingSources
) -> TranslatorStart:
    init = str(options.arch.init)
    before, model = load_model_of(Seq2SeqModel, Path(init), torch.device("cpu"))
    model.check_vocabulary(*vocabularies, init)
    config = sources.continued(model.config)
    if options.size.dropout is not None:
        config = dataclasses.replace(config, dropout=options.size.dropout)
    return TranslatorStart(before.arch, config, f"continued from {init}", model)


def check_start(options: TrainMtCommand) -> None:
    """Makes sure that `--init` is a translator, and that no other option contradicts it.

    Raises:
        DataError: the directory is missing or damaged, or holds a model of another kind.
        UsageError: options that the directory decides otherwise.
    """
    refused = source_kind(options.source.source).training.refused
    if in_vain := [refused[flag] for flag in changed(options.corpus, among=refused)]:
        raise UsageError(
            f"--source {options.source.source} has no source tokens for {', '.join(in_vain)}"
        )
    init = options.arch.init
    if not init:
        seq2seq_name(options.arch.arch_of_new, options.arch.decoder_of_new)
        return
    before = read_config(Path(init))
    kinds = {
        name: (decoder, arch) for decoder, names in SEQ2SEQ.items() for arch, name in names.items()
    }
    if before.arch not in kinds:
        raise DataError(
            f"--init {init}: holds a {before.arch!r}, not a translator; attn train-mt makes some"
        )
    decoder, arch = kinds[before.arch]
    there = {**vars(before.model), "decoder": decoder, "arch": arch}
    there["image_size"] = "{image_height}x{image_width}".format(**there)
    wanted = {**vars(options.size), **vars(options.variant), **vars(options.arch)}
    for name in ("size", "dropout", "init"):
        wanted.pop(name)
    wanted["source"] = options.source.source
    asked = changed(options.source)
    for name, value in vars(options.source).items():
        if name in there and f"--{name.replace('_', '-')}" in asked:
            wanted[name] = value
    problems = []
    for name, value in wanted.items():
        if value is not None and there.get(name) != value:
            has = f" (there: {there[name]})" if name in there else ""
            problems.append(f"--{name.replace('_', '-')} {value}{has}")
    problems += ["--size"] if options.size.size != "auto" else []
    problems += changed(options.corpus, among=("--tokenizer", "--share-vocab", "--embeddings"))
    problems += changed(options.tokenizer)
    if problems:
        raise UsageError(f"--init {init} decides otherwise than {', '.join(problems)}")
