"""A config.json of a Marian model of transformers, and the configuration of our own transformer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from attn_cli.config import from_dict, shown
from attn_cli.convert.huggingface_config import ACTIVATIONS, THEIR_ACTIVATIONS, number
from attn_cli.convert.marian_tokenizer import SpecialIds
from attn_cli.errors import DataError
from attn_cli.models.seq2seq import TransformerConfig

NAME = "MarianMTModel"
# Option -> the one value that transformers computes, and so does ours.
_FIXED: dict[str, object] = {
    "normalize_before": False,
    "normalize_embedding": False,
    "add_final_layer_norm": False,
    "static_position_embeddings": True,
    "is_encoder_decoder": True,
    "is_decoder": False,
    "pruned_heads": {},
    "quantization_config": None,
}
# Ours -> theirs, all of which must say the same.
_FIELDS = {
    "d_model": ("d_model",),
    "d_ff": ("encoder_ffn_dim", "decoder_ffn_dim"),
    "n_heads": ("encoder_attention_heads", "decoder_attention_heads"),
    "n_encoder_layers": ("encoder_layers",),
    "n_decoder_layers": ("decoder_layers",),
}
# What ours must be to be written as theirs, beside what `translator_parts` asks of all.
NEEDED: dict[str, tuple[object, ...]] = {
    "norm": ("post",),
    "positions": ("sinusoidal", "sinusoidal-halves"),
}
_SHAPE: dict[str, object] = {"norm": "post", "positions": "sinusoidal-halves"}
_FLAGS = {
    "share_embeddings": ("share_encoder_decoder_embeddings", True),
    "tie_embeddings": ("tie_word_embeddings", True),
    "scale_embeddings": ("scale_embedding", False),
}


@dataclass(frozen=True)
class ForeignMarian:
    """What a config.json says.

    Attributes:
        model: the model.
        ids: its special tokens.
        n_positions: the longest text that it reads, in tokens.
    """

    model: TransformerConfig
    ids: SpecialIds
    n_positions: int


def read_marian(values: Mapping[str, object], where: str) -> ForeignMarian:
    """Reads and checks the content of a config.json.

    Raises:
        DataError: another class, an option ours lacks, or a missing or bad value.
    """
    names = values.get("architectures") or [NAME]
    if names != [NAME]:
        raise DataError(f"{where}: architectures {shown(names)} are not supported, {NAME} is")
    if values.get("auto_map"):
        raise DataError(
            f"{where}: auto_map {shown(values['auto_map'])} names a program of the model's own, "
            "which is not run"
        )
    for key, wanted in _FIXED.items():
        if values.get(key, wanted) not in (wanted, None):
            raise DataError(
                f"{where}: {key} {shown(values[key])} is not supported, {wanted!r} alone is"
            )
    parts: dict[str, object] = {**_SHAPE}
    for ours, theirs in _FIELDS.items():
        found = {key: number(values, key, ..., where) for key in theirs}
        if len(set(found.values())) > 1:
            told = " beside ".join(f"{key} {value}" for key, value in found.items())
            raise DataError(f"{where}: {told} is not supported: encoder and decoder must agree")
        (parts[ours],) = set(found.values())
    for ours, (flag, default) in _FLAGS.items():
        parts[ours] = _flag(values, flag, default, where)
    src = number(values, "vocab_size", ..., where)
    parts |= {
        "dropout": number(values, "dropout", 0.1, where),
        "src_vocab": src,
        "tgt_vocab": number(values, "decoder_vocab_size", src, where),
        "activation": _activation(values, where),
    }
    model = from_dict(TransformerConfig, parts, where)
    pad = _token(values, "pad_token_id", model, where)
    eos = _token(values, "eos_token_id", model, where)
    start = pad
    if values.get("decoder_start_token_id") is not None:
        start = _token(values, "decoder_start_token_id", model, where)
    n_positions = number(values, "max_position_embeddings", 1024, where)
    return ForeignMarian(model, SpecialIds(start, eos, pad), int(n_positions))


def _flag(values: Mapping[str, object], key: str, default: bool, where: str) -> bool:
    value = values.get(key)
    if value is not None and not isinstance(value, bool):
        raise DataError(f"{where}: {key}: true or false is needed, not {shown(value)}")
    return default if value is None else value


def _token(values: Mapping[str, object], key: str, model: TransformerConfig, where: str) -> int:
    value = values.get(key)
    if isinstance(value, list) and len(value) == 1:
        value = value[0]
    if type(value) is not int or not 0 <= value < model.tgt_vocab:
        raise DataError(f"{where}: {key} {shown(value)} is no token of {model.tgt_vocab:,}")
    return value


def _activation(values: Mapping[str, object], where: str) -> str:
    name = values.get("activation_function", "gelu")
    if not isinstance(name, str) or name not in ACTIVATIONS:
        raise DataError(
            f"{where}: activation_function {shown(name)} is not supported; supported: "
            f"{', '.join(ACTIVATIONS)}"
        )
    return ACTIVATIONS[name]


def write_marian(model: TransformerConfig, ids: SpecialIds, n_positions: int) -> dict[str, object]:
    """The content of their config.json for a model that has what `NEEDED` says."""
    parts = vars(model)
    config: dict[str, object] = {
        "architectures": [NAME],
        "model_type": "marian",
        "dtype": "float32",
        "activation_function": THEIR_ACTIVATIONS[model.activation],
        "dropout": model.dropout,
        "attention_dropout": 0.0,
        "activation_dropout": model.dropout,
        "max_position_embeddings": n_positions,
        "is_encoder_decoder": True,
        "vocab_size": model.src_vocab,
        "decoder_vocab_size": model.tgt_vocab,
        "pad_token_id": ids.pad,
        "eos_token_id": ids.eos,
        "bos_token_id": None,
        "forced_eos_token_id": ids.eos,
        "decoder_start_token_id": ids.start,
    }
    config |= {key: parts[ours] for ours, theirs in _FIELDS.items() for key in theirs}
    return config | {flag: parts[ours] for ours, (flag, _) in _FLAGS.items()}
