"""A model is a directory: its configuration and its weights.

Its tokenizers are read by `data.tokenizer_files`. Everything is checked before it is used: the
configuration strictly, tensor names and shapes against it before memory is taken, and no file
outside the directory is ever followed.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from attn_cli import __version__
from attn_cli.config import load_json, nearest, shown, to_dict
from attn_cli.errors import DataError
from attn_cli.files import inside, write_atomically
from attn_cli.models import build_model, read_model_config
from attn_cli.models.storage import check_finite, load_tensors, read_header, save_tensors

FORMAT = 1
WEIGHTS = "model.safetensors"
CONFIG = "config.json"


@dataclass(frozen=True)
class ModelConfig:
    """What config.json holds.

    Attributes:
        arch: a key of `models.MODELS`.
        task: what the model does with a line: "translate".
        model: the architecture's own configuration, an instance of its `Config`.
        options: the training's options, section by section, as plain values.
        finished: whether the training came to its end.
    """

    arch: str
    task: str
    model: Any
    options: Mapping[str, Any] = field(default_factory=dict)
    finished: bool = False

    def to_json(self) -> dict[str, Any]:
        """The file's content."""
        return {
            "format": FORMAT,
            "attn": __version__,
            "arch": self.arch,
            "task": self.task,
            "model": to_dict(self.model),
            "options": dict(self.options),
            "finished": self.finished,
        }


def read_config(path: Path) -> ModelConfig:
    """Reads and checks a directory's config.json.

    Raises:
        DataError: it is missing, foreign, of a newer format, or has unknown or bad values.
    """
    file = path / CONFIG
    if not path.is_dir():
        raise DataError(f"{path}: no such model directory; train one with attn train-mt, or use -m")
    values = load_json(inside(path, CONFIG))
    if values.get("format") != FORMAT or isinstance(values["format"], bool):
        raise DataError(
            f"{file}: format {shown(values.get('format'))}, but this attn reads format {FORMAT}; "
            f"it was written by attn {shown(values.get('attn', 'unknown'))}"
        )
    kinds = {"arch": str, "task": str, "model": dict, "options": dict, "finished": bool}
    for key in values:
        if key not in {"format", "attn", *kinds}:
            raise DataError(f"{file}: unknown key {shown(key)}{nearest(key, kinds)}")
    for key, kind in kinds.items():
        if not isinstance(values.get(key), kind):
            raise DataError(f"{file}: {key!r} is missing or no {kind.__name__}")
    model = read_model_config(values["arch"], values["model"], str(file))
    return ModelConfig(values["arch"], values["task"], model, values["options"], values["finished"])


def write_config(path: Path, config: ModelConfig) -> None:
    """Writes config.json."""
    text = json.dumps(config.to_json(), indent=2, ensure_ascii=False)
    write_atomically(inside(path, CONFIG), text.encode("utf-8") + b"\n")


def write_weights(path: Path, weights: Mapping[str, Tensor], meta: Mapping[str, Any]) -> None:
    """Writes model.safetensors; tensors that share memory must be there once."""
    save_tensors(inside(path, WEIGHTS), weights, meta)


def load_model(path: Path, device: torch.device) -> tuple[ModelConfig, Any]:
    """Rebuilds a model from its directory, ready to run.

    Raises:
        DataError: a file of it is missing, foreign, damaged, or at odds with another.
    """
    config = read_config(path)
    file = inside(path, WEIGHTS)
    if not file.exists():
        raise DataError(f"{file}: missing; the training has not reached its first validation yet")
    _check_depth(file, config.model)
    with torch.device("meta"):
        skeleton = build_model(config.arch, config.model)
    expected = {name: tuple(weight.shape) for name, weight in skeleton.named_parameters()}
    tensors, _ = load_tensors(file, expected)
    check_finite(file, tensors)
    model = build_model(config.arch, config.model)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            weight.copy_(tensors[name])
    return config, model.eval().to(device)


def _check_depth(file: Path, config: Any) -> None:
    """Raises DataError if there are more layers than tensors: no skeleton of a thousand layers."""
    layers = sum(size for name, size in vars(config).items() if name.endswith("_layers"))
    tensors = len(read_header(file))
    if layers > tensors:
        raise DataError(f"{file}: {tensors} tensors can't be the {layers} layers of config.json")
