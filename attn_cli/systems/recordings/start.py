"""The model that a training on labelled recordings trains: of a size, or of `--init`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from attn_cli.config import changed, field_types, from_dict
from attn_cli.config.finetuning import FinetuneCommand
from attn_cli.data.label_files import read_labels
from attn_cli.errors import DataError, UsageError
from attn_cli.models import build_model
from attn_cli.models.directory import load_model, read_config
from attn_cli.models.recordings import ENCODER, RecordingClassifier, RecordingConfig
from attn_cli.models.seq2seq import TransformerConfig
from attn_cli.models.sizes import BACKBONE_PRESETS
from attn_cli.nn.transformer import close_sublayers
from attn_cli.systems.translation.audio_source import AudioSources

ARCH = "recordings"
Begun = RecordingConfig | TransformerConfig  # whose encoder a training can start from


def begun(options: FinetuneCommand) -> Begun | None:
    """The configuration of `--init`, if there is one.

    Raises:
        DataError: the directory is missing or damaged, or holds no encoder of recordings.
        UsageError: options that it decides.
    """
    if not options.init:
        return None
    config = read_config(Path(options.init))
    found = config.model
    if not isinstance(found, RecordingConfig | TransformerConfig) or found.source != "audio":
        raise DataError(
            f"--init {options.init}: holds a {config.arch!r} that reads no recordings; attn "
            "train-mt --source audio and finetune --source audio make transformers that do"
        )
    asked = changed(options.size)
    rate = options.sound.sample_rate
    if rate not in (None, found.sample_rate):
        asked.append(f"--sample-rate {rate} (there: {found.sample_rate})")
    if asked:
        raise UsageError(f"--init {options.init} decides otherwise than {', '.join(asked)}")
    return found


@dataclass(frozen=True)
class RecordingStart:
    """What a classifier is built from.

    Attributes:
        config: its configuration.
        why: where that comes from, in words.
        weights: what it takes of the model that it starts from.
    """

    config: RecordingConfig
    why: str
    weights: Mapping[str, Tensor]

    def build(self, seed: int) -> RecordingClassifier:
        """The model, ready to be trained."""
        torch.manual_seed(seed)
        model = build_model(ARCH, self.config)
        close_sublayers(model)
        missing, strange = model.load_state_dict(self.weights, strict=False)
        assert not strange and not (self.weights and [n for n in missing if n.startswith(ENCODER)])
        return model


def starting_point(
    options: FinetuneCommand, sources: AudioSources, labels: list[str]
) -> RecordingStart:
    """What to train: the encoder of `--init`, or a new one of `--size`.

    Raises:
        DataError: the directory to start from is damaged.
        UsageError: the parts do not fit together.
    """
    before = begun(options)
    _, fixed = sources.model_parts("transformer", "autoregressive")
    pool, dropout = options.finetuning.pool, options.finetuning.dropout
    parts: dict[str, object] = {"n_labels": len(labels)}
    if pool != "auto":
        parts["pool"] = pool
    if dropout is not None:
        parts["dropout"] = dropout
    known = field_types(RecordingConfig)
    if before is None:
        size = BACKBONE_PRESETS[options.size.size]
        parts |= {"d_model": size.d_model, "d_ff": 4 * size.d_model, "n_heads": size.n_heads}
        parts |= {"n_encoder_layers": size.n_layers}
        parts |= {name: value for name, value in fixed.items() if name in known} | {"ctc": False}
        return RecordingStart(_config(parts), f"size {options.size.size}", {})
    there = {name: value for name, value in vars(before).items() if name in known}
    given = changed(options.sound)
    asked = {name: fixed[name] for name in fixed if f"--{name.replace('_', '-')}" in given}
    config = sources.continued(_config({**there, **parts, **asked, "ctc": False}))
    weights = _weights(Path(str(options.init)), config, labels)
    return RecordingStart(config, f"continued from {options.init}", weights)


def _config(parts: Mapping[str, object]) -> RecordingConfig:
    try:
        return from_dict(RecordingConfig, parts, "--source audio")
    except DataError as error:
        raise UsageError(str(error)) from error


def _weights(path: Path, config: RecordingConfig, labels: list[str]) -> dict[str, Tensor]:
    """The encoder's, and all others of a classifier of the same labels and pooling."""
    before, model = load_model(path, torch.device("cpu"))
    whole = isinstance(before.model, RecordingConfig) and before.model.pool == config.pool
    whole = whole and read_labels(path) == labels
    weights = model.state_dict().items()
    return {name: weight for name, weight in weights if whole or name.startswith(ENCODER)}
