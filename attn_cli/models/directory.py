"""A model is a directory: its configuration and its weights.

Its tokenizers are read by `data.tokenizer_files`. Everything is checked before it is used: the
configuration strictly, tensor names and shapes against it before memory is taken, and no file
outside the directory is ever followed.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import torch
from torch import Tensor

from attn_cli import __version__
from attn_cli.config import from_dict, shown, to_dict
from attn_cli.errors import DataError
from attn_cli.files import inside, write_atomically
from attn_cli.model_files import CONFIG as CONFIG
from attn_cli.model_files import FORMAT, facts_of, note_in, read_header, read_plain_config
from attn_cli.model_files import NOTE as NOTE
from attn_cli.model_files import WEIGHTS as WEIGHTS
from attn_cli.models import BACKBONES, AnyConfig, AnyModel, build_model, read_model_config
from attn_cli.models.skeleton import give_values, shapes_of, without_values
from attn_cli.models.storage import (
    SCALE,
    check_finite,
    load_tensors,
    save_tensors,
    widened,
)
from attn_cli.models.text import HeadConfig

M = TypeVar("M", bound=AnyModel)
_HEAD_LIMIT = 100
_LENGTH_LIMIT = 1 << 20
_HEAD_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,63}")  # also a part of a file's name


@dataclass(frozen=True)
class ModelConfig:
    """What config.json holds.

    Attributes:
        arch: a key of `models.CONFIGS`.
        task: what the model does with a line: "translate", "mask-predict" (the same, all words
            at once), "continue" (a language model), "fill" (a masked one), "detect" (of replaced
            tokens) or "predict" (the tasks of its heads).
        model: the architecture's own configuration, an instance of its `Config`.
        heads: its output layers, where the architecture is a backbone.
        options: the training's options, section by section, as plain values.
        finished: whether the training came to its end.
    """

    arch: str
    task: str
    model: AnyConfig
    options: Mapping[str, object] = field(default_factory=dict)
    finished: bool = False
    heads: tuple[HeadConfig, ...] = ()

    @property
    def trained_len(self) -> int:
        """The longest source of its training in tokens; 0 if that is not known."""
        corpus = self.options.get("corpus")
        length = corpus.get("max_len") if isinstance(corpus, Mapping) else None
        return length if isinstance(length, int) and 0 < length <= _LENGTH_LIMIT else 0

    def to_json(self) -> dict[str, object]:
        """The file's content."""
        return {
            "format": FORMAT,
            "attn": __version__,
            "arch": self.arch,
            "task": self.task,
            "model": to_dict(self.model),
            "heads": [to_dict(head) for head in self.heads],
            "options": dict(self.options),
            "finished": self.finished,
        }


def read_config(path: Path) -> ModelConfig:
    """Reads and checks a directory's config.json.

    Raises:
        NotThereError: there is no such directory, or none of a model.
        DataError: it is foreign, of a newer format, or has unknown or bad values.
    """
    file, values = path / CONFIG, read_plain_config(path)
    model = read_model_config(values["arch"], values["model"], str(file))
    heads = _heads(values["heads"], values["arch"], str(file))
    options, finished = values["options"], values["finished"]
    return ModelConfig(values["arch"], values["task"], model, options, finished, heads)


def _heads(values: object, arch: str, where: str) -> tuple[HeadConfig, ...]:
    """The output layers that a config.json names, every one of them checked."""
    if not isinstance(values, list) or len(values) > _HEAD_LIMIT:
        raise DataError(f"{where}: 'heads' is no list of at most {_HEAD_LIMIT} heads")
    heads = tuple(from_dict(HeadConfig, head, f"{where}: heads") for head in values)
    names = [head.name for head in heads]
    if len(set(names)) < len(names):
        raise DataError(f"{where}: two heads have the same name")
    for name in names:
        if not _HEAD_NAME.fullmatch(name):
            raise DataError(f"{where}: {shown(name)} is no name of a head")
    if heads and arch not in BACKBONES:
        raise DataError(f"{where}: architecture {arch!r} takes no heads")
    return heads


def write_config(path: Path, config: ModelConfig) -> None:
    """Writes config.json."""
    text = json.dumps(config.to_json(), indent=2, ensure_ascii=False)
    write_atomically(inside(path, CONFIG), text.encode("utf-8") + b"\n")


def write_weights(path: Path, weights: Mapping[str, Tensor], meta: Mapping[str, object]) -> None:
    """Writes model.safetensors; tensors that share memory must be there once."""
    save_tensors(inside(path, WEIGHTS), weights, meta)


def load_model(path: Path, device: torch.device) -> tuple[ModelConfig, AnyModel]:
    """Rebuilds a model from its directory, ready to run.

    Raises:
        DataError: a file of it is missing, foreign, damaged, or at odds with another.
    """
    config = read_config(path)
    file = inside(path, WEIGHTS)
    if not file.exists():
        cause = "the training has not reached its first validation yet"
        if config.finished:
            cause = "the training has finished, its weights are gone; train again with --overwrite"
        raise DataError(f"{file}: missing; {cause}")
    _check_depth(file, config.model)
    with without_values():
        model = build_model(config.arch, config.model, config.heads)
    tensors, _ = load_tensors(file, shapes_of(model))
    tensors = widened(tensors)
    check_finite(file, tensors)
    give_values(model, tensors)
    return config, model.eval().to(device)


def is_int8(path: Path) -> bool:
    """Whether weights of a directory are stored in 8 bits.

    Raises:
        DataError: the weights are missing, foreign or damaged.
    """
    return any(name.endswith(SCALE) for name in read_header(inside(path, WEIGHTS)).tensors)


def note_of(path: Path) -> str:
    """What a user must know of a directory's weights; nothing of most.

    Raises:
        DataError: the weights are missing, foreign or damaged.
    """
    return note_in(facts_of(read_header(inside(path, WEIGHTS))))


def load_model_of(kind: type[M], path: Path, device: torch.device) -> tuple[ModelConfig, M]:
    """Rebuilds a model of one kind, such as a `TextModel`; see `load_model`.

    Raises:
        DataError: the directory is damaged, or holds a model of another kind.
    """
    config, model = load_model(path, device)
    if not isinstance(model, kind):
        raise DataError(f"{path}: a {config.arch!r} is no model for the task {config.task!r}")
    return config, model


def _check_depth(file: Path, config: AnyConfig) -> None:
    """Raises DataError if there are more layers than tensors: no skeleton of a thousand layers."""
    layers = sum(size for name, size in vars(config).items() if name.endswith("_layers"))
    tensors = len(read_header(file).tensors)
    if layers > tensors:
        raise DataError(f"{file}: {tensors} tensors can't be the {layers} layers of config.json")
