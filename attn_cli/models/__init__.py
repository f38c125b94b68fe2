"""Assemblies of `nn`, one file per family, and the table that names them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from attn_cli.config import from_dict, nearest
from attn_cli.config.stack import HeadConfig
from attn_cli.errors import DataError
from attn_cli.models.bilm import Bilm
from attn_cli.models.convolutional import ConvolutionalSeq2Seq
from attn_cli.models.gat import Gat
from attn_cli.models.han import Han
from attn_cli.models.mask_predict import MaskPredict
from attn_cli.models.recurrent import RecurrentEncoder
from attn_cli.models.recurrent_seq2seq import RecurrentSeq2Seq
from attn_cli.models.seq2seq import Transformer
from attn_cli.models.stack import Bert, Gpt
from attn_cli.models.text import TextModel

# Backbones of a `TextModel`: what heads for any task about text can be put on.
BACKBONES: dict[str, type[Any]] = {
    "bert": Bert,
    "gpt": Gpt,
    "rnn": RecurrentEncoder,
    "han": Han,
    "bilm": Bilm,
}
# Sequence to sequence: `train-mt --decoder` -> `--arch` -> a key of `MODELS`.
SEQ2SEQ = {
    "autoregressive": {
        "transformer": "transformer",
        "rnn": "recurrent",
        "cnn": "convolutional",
    },
    "mask-predict": {"transformer": "mask-predict"},
}
MODELS: dict[str, type[Any]] = {
    "transformer": Transformer,
    "recurrent": RecurrentSeq2Seq,
    "convolutional": ConvolutionalSeq2Seq,
    "mask-predict": MaskPredict,
    "gat": Gat,
    **BACKBONES,
}


def read_model_config(arch: str, values: Mapping[str, Any], where: str) -> Any:
    """An architecture's configuration from plain values, every one of them checked.

    Raises:
        DataError: unknown architecture, unknown keys, bad values.
    """
    if arch not in MODELS:
        raise DataError(f"{where}: unknown architecture {arch[:80]!r}{nearest(arch, MODELS)}")
    return from_dict(MODELS[arch].Config, values, where)


def build_model(arch: str, config: Any, heads: Sequence[HeadConfig] = ()) -> Any:
    """A model with fresh weights; a backbone in a `TextModel` with these heads.

    Raises:
        DataError: heads for an architecture that takes none.
    """
    if arch in BACKBONES:
        return TextModel(BACKBONES[arch](config), heads)
    if heads:
        raise DataError(f"architecture {arch!r} takes no output heads")
    return MODELS[arch](config)
