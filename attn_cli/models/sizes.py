"""Presets: how large a model is."""

from __future__ import annotations

from collections.abc import Mapping

from attn_cli.config import choose, field_types, from_dict
from attn_cli.config.pretraining import StackSizeOptions, StackVariantOptions
from attn_cli.config.seq2seq import Seq2SeqVariantOptions, SizeOptions
from attn_cli.errors import DataError, UsageError
from attn_cli.models import SEQ2SEQ, SEQ2SEQ_MODELS
from attn_cli.models.backbone import BackbonePreset
from attn_cli.models.bilm import BilmConfig
from attn_cli.models.seq2seq_base import EncoderDecoderConfig, Preset
from attn_cli.models.stack import StackConfig


def choose_size(size: str, n_pairs: int, *, on_gpu: bool) -> tuple[str, str]:
    """The preset's name, and why it was chosen.

    A model that a corpus can fill and the device can train in the time that people wait.

    Args:
        size: a preset, or auto.
        n_pairs: of the corpus.
        on_gpu: whether a GPU trains.
    """
    if size != "auto":
        return size, "as asked for"
    if n_pairs < 100_000:
        name = "tiny"
    elif n_pairs < 1_000_000 or not on_gpu:
        name = "small"
    else:
        name = "base"
    where = "a GPU" if on_gpu else "a CPU"
    return name, f"for {n_pairs:,} pairs on {where}"


def seq2seq_name(arch: str, decoder: str) -> str:
    """The key of `models.CONFIGS` that `--arch` and `--decoder` make.

    Raises:
        UsageError: the architecture has no decoder of this kind.
    """
    names = choose(SEQ2SEQ, decoder, "decoder")
    if arch not in names:
        raise UsageError(
            f"--decoder {decoder} needs --arch {' or '.join(names)}: --arch {arch} can only write "
            "one token after another"
        )
    return names[arch]


def seq2seq_preset(arch: str, decoder: str, size: str) -> Preset:
    """What a size decides of an architecture.

    Raises:
        UsageError: the architecture has no decoder of this kind.
    """
    return SEQ2SEQ_MODELS[seq2seq_name(arch, decoder)].Config.presets[size]


def seq2seq_config(
    arch: str,
    options: SizeOptions,
    variant: Seq2SeqVariantOptions,
    preset: str,
    vocabularies: tuple[int, int],
    *,
    share: bool,
    decoder: str,
    max_len: int,
    source: tuple[Mapping[str, object], Mapping[str, object]] = ({}, {}),
) -> EncoderDecoderConfig:
    """A configuration from a preset, what the options set by themselves, and the corpus.

    Args:
        arch: of `--arch`.
        options: parts that are set by themselves.
        variant: choices that a size does not make.
        preset: a key of the architecture's presets.
        vocabularies: sizes of the source's and the target's.
        share: whether they are one, and so are their embeddings.
        decoder: a key of `SEQ2SEQ`.
        max_len: the longest target in tokens, its end counted.
        source: parts that follow from what the source is: those that an option may change, and
            those that are fixed.

    Raises:
        UsageError: the parts do not fit together, or not to the architecture.
    """
    config = SEQ2SEQ_MODELS[seq2seq_name(arch, decoder)].Config
    known = field_types(config)
    chosen = _chosen(options, variant)
    if strange := [f"--{name.replace('_', '-')}" for name in chosen if name not in known]:
        raise UsageError(f"--arch {arch} does not have {', '.join(strange)}")
    src, tgt = vocabularies
    usual, of_source = source
    of_corpus = {"src_vocab": src, "tgt_vocab": tgt, "share_embeddings": share}
    fixed = {**of_corpus, "n_lengths": max_len, **of_source}
    fixed = {name: value for name, value in fixed.items() if name in known}
    parts = {**config.presets[preset].parts, **usual, **chosen, **fixed}
    parts = {**config.suited(parts), **parts}
    try:
        return from_dict(config, parts, f"--arch {arch}")
    except DataError as error:
        raise UsageError(str(error)) from error


def _chosen(options: SizeOptions | StackSizeOptions, variant: object) -> dict[str, object]:
    """The parts that were set by themselves."""
    parts = {**vars(options), **vars(variant)}
    del parts["size"]
    return {name: value for name, value in parts.items() if value is not None}


BACKBONE_PRESETS = {
    "tiny": BackbonePreset(2, 128, 2, 4000, 0.0),  # the small ones: Turc et al. 2019
    "mini": BackbonePreset(4, 256, 4, 8000, 0.0),
    "small": BackbonePreset(4, 512, 8, 16000),
    "base": BackbonePreset(12, 768, 12, 30522),  # Devlin et al. 2019, section 3: 110 M weights
    "large": BackbonePreset(24, 1024, 16, 30522),  # 340 M weights
}


def choose_backbone_size(size: str, n_bytes: int, *, on_gpu: bool) -> tuple[str, str]:
    """The preset's name, and why it was chosen.

    Args:
        size: a preset, or auto.
        n_bytes: of the corpus.
        on_gpu: whether a GPU trains.
    """
    if size != "auto":
        return size, "as asked for"
    if n_bytes < 1 << 20:
        name = "tiny"
    elif n_bytes < 100 << 20:
        name = "mini"
    elif n_bytes < 1 << 30 or not on_gpu:
        name = "small"
    else:
        name = "base"
    return name, f"for {n_bytes / 1e6:,.1f} MB on {'a GPU' if on_gpu else 'a CPU'}"


def stack_config(
    options: StackSizeOptions,
    variant: StackVariantOptions,
    preset: str,
    vocab_size: int,
    usual: Mapping[str, object],
) -> StackConfig:
    """A configuration from a preset, what the options set by themselves, and the vocabulary.

    Args:
        options: parts that are set by themselves.
        variant: choices that a size does not make.
        preset: a key of `BACKBONE_PRESETS`.
        vocab_size: tokens.
        usual: what suits the objective, where no option says otherwise.

    Raises:
        UsageError: the parts do not fit together.
    """
    size = BACKBONE_PRESETS[preset]
    parts = vars(StackConfig.of_size(size, vocab_size)) | {"dropout": size.dropout, **usual}
    if options.d_model is not None:
        parts["d_ff"] = 4 * options.d_model
    try:
        return StackConfig(**(parts | _chosen(options, variant)))
    except ValueError as error:
        raise UsageError(str(error)) from error


def bilm_config(
    options: StackSizeOptions, variant: StackVariantOptions, preset: str, vocab_size: int
) -> BilmConfig:
    """The configuration of a bidirectional language model; each direction as wide as a stack.

    Args:
        options: parts that are set by themselves; `d_model` is the width of both directions.
        variant: of which such a model has the dropout alone.
        preset: a key of `BACKBONE_PRESETS`.
        vocab_size: tokens.

    Raises:
        UsageError: options of what it does not have, or parts that do not fit together.
    """
    size = BACKBONE_PRESETS[preset]
    parts = vars(BilmConfig.of_size(size, vocab_size)) | {"dropout": size.dropout}
    chosen = _chosen(options, variant)
    known = ("d_model", "n_layers", "dropout")
    if foreign := [f"--{name.replace('_', '-')}" for name in chosen if name not in known]:
        raise UsageError(f"--objective bilm trains recurrent layers without {', '.join(foreign)}")
    try:
        return BilmConfig(**(parts | chosen))
    except ValueError as error:
        raise UsageError(str(error)) from error
