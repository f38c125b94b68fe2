"""Assemblies of `nn`, one file per family, and the table that names them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import overload

from attn_cli.config import from_dict, nearest
from attn_cli.errors import DataError
from attn_cli.models.backbone import Backbone, BackboneConfig
from attn_cli.models.bilm import Bilm
from attn_cli.models.convolutional import ConvolutionalSeq2Seq
from attn_cli.models.gat import Gat, GatConfig
from attn_cli.models.han import Han
from attn_cli.models.mask_predict import MaskPredict
from attn_cli.models.recordings import RecordingClassifier, RecordingConfig
from attn_cli.models.recurrent import RecurrentEncoder
from attn_cli.models.recurrent_seq2seq import RecurrentSeq2Seq
from attn_cli.models.seq2seq import Transformer
from attn_cli.models.seq2seq_base import EncoderDecoderConfig, Seq2SeqModel
from attn_cli.models.stack import Bert, Gpt
from attn_cli.models.text import HeadConfig, TextModel

# What heads for any task about text can be put on, in a `TextModel`.
BACKBONES: dict[str, type[Backbone]] = {
    "bert": Bert,
    "gpt": Gpt,
    "rnn": RecurrentEncoder,
    "han": Han,
    "bilm": Bilm,
}
# Sequence to sequence: `train-mt --decoder` -> `--arch` -> a key of `SEQ2SEQ_MODELS`.
SEQ2SEQ = {
    "autoregressive": {
        "transformer": "transformer",
        "rnn": "recurrent",
        "cnn": "convolutional",
    },
    "mask-predict": {"transformer": "mask-predict"},
}
SEQ2SEQ_MODELS: dict[str, type[Seq2SeqModel]] = {
    "transformer": Transformer,
    "recurrent": RecurrentSeq2Seq,
    "convolutional": ConvolutionalSeq2Seq,
    "mask-predict": MaskPredict,
}
AnyModel = TextModel | Seq2SeqModel | Gat | RecordingClassifier
AnyConfig = BackboneConfig | EncoderDecoderConfig | GatConfig | RecordingConfig
# The architectures that a config.json can name, and their configurations.
CONFIGS: dict[str, type[AnyConfig]] = {
    **{arch: backbone.Config for arch, backbone in BACKBONES.items()},
    **{arch: model.Config for arch, model in SEQ2SEQ_MODELS.items()},
    "gat": GatConfig,
    "recordings": RecordingConfig,
}


def read_model_config(arch: str, values: Mapping[str, object], where: str) -> AnyConfig:
    """Checks an architecture's configuration, given as plain values.

    Raises:
        DataError: unknown architecture, unknown keys, bad values.
    """
    if arch not in CONFIGS:
        raise DataError(f"{where}: unknown architecture {arch[:80]!r}{nearest(arch, CONFIGS)}")
    return from_dict(CONFIGS[arch], values, where)


@overload
def build_model(
    arch: str, config: BackboneConfig, heads: Sequence[HeadConfig] = ()
) -> TextModel: ...
@overload
def build_model(arch: str, config: EncoderDecoderConfig) -> Seq2SeqModel: ...
@overload
def build_model(arch: str, config: GatConfig) -> Gat: ...
@overload
def build_model(arch: str, config: RecordingConfig) -> RecordingClassifier: ...
@overload
def build_model(arch: str, config: AnyConfig, heads: Sequence[HeadConfig] = ()) -> AnyModel: ...
def build_model(arch: str, config: AnyConfig, heads: Sequence[HeadConfig] = ()) -> AnyModel:
    """Builds a model with fresh weights: a backbone in a `TextModel` with these heads, or another.

    Raises:
        DataError: heads for an architecture that takes none.
    """
    if isinstance(config, BackboneConfig):
        return TextModel(BACKBONES[arch](config), heads)
    if heads:
        raise DataError(f"architecture {arch!r} takes no output heads")
    if isinstance(config, GatConfig):
        return Gat(config)
    if isinstance(config, RecordingConfig):
        return RecordingClassifier(config)
    return SEQ2SEQ_MODELS[arch](config)
