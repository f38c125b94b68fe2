"""A model directory, described."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from attn_cli.config import shown
from attn_cli.errors import DataError, NotThereError
from attn_cli.info.given import Given, given_options
from attn_cli.info.validations import Curve, dev_figures, read_curve
from attn_cli.info.weights import Weights, read_weights
from attn_cli.model_files import AVERAGED, CONFIG, DATA, EXAMPLES, PlainConfig, read_plain_config
from attn_cli.tokenizers.tokenizer import Tokenizer
from attn_cli.tokenizers.tokenizer_files import has_tokenizer, load_tokenizer, read_tokenizers


@dataclass(frozen=True)
class Head:
    """An output layer: the task's name, what kind of task it is, how many outputs."""

    name: str
    task: str
    n_outputs: int


@dataclass(frozen=True)
class Description:
    """What is in a model directory.

    Attributes:
        path: the directory.
        config: its config.json; None: it holds a tokenizer alone.
        weights: its weights' header.
        heads: its output layers.
        tokenizers: of source and target, or the one of both.
        given: the options of its training.
        curve: its validations.
    """

    path: Path
    config: PlainConfig | None = None
    weights: Weights = field(default_factory=Weights)
    heads: Sequence[Head] = ()
    tokenizers: Sequence[Tokenizer] = ()
    given: Given = field(default_factory=Given)
    curve: Curve = field(default_factory=Curve)

    @property
    def is_bare(self) -> bool:
        """Whether it is an encoder without an output layer, which gives vectors alone."""
        return self.config is not None and self.config["task"] == "predict" and not self.heads

    @property
    def examples(self) -> dict[str, int]:
        """How many examples are trained on (`train`), and how many validate (`dev`)."""
        value = self.config["options"].get(EXAMPLES) if self.config else None
        known = isinstance(value, dict) and value.keys() == {"train", "dev"}
        if not (isinstance(value, dict) and known and all(type(n) is int for n in value.values())):
            return {}
        return dict(value)

    @property
    def fingerprint(self) -> str:
        """Of the data of its training; "" where it was not trained here."""
        value = self.config["options"].get(DATA) if self.config else None
        return value if isinstance(value, str) else ""

    @property
    def averaged(self) -> list[str]:
        """The models whose mean it is, as they were called; none where it is one of its own."""
        value = self.config["options"].get(AVERAGED) if self.config else None
        return [str(name) for name in value] if isinstance(value, list) else []

    def to_json(self) -> dict[str, object]:
        """All of it as plain values."""
        told: dict[str, object] = {"path": str(self.path)}
        if self.config:
            told |= {key: self.config[key] for key in ("attn", "task", "arch", "finished", "model")}
            told["heads"] = [vars(head) for head in self.heads]
            told["weights"] = {
                "parameters": self.weights.total,
                "parts": self.weights.parts,
                "types": self.weights.types,
                "bytes": self.weights.size,
                "note": self.weights.note,
            }
        told["tokenizers"] = [_tokenizer(each) for each in self.tokenizers]
        if self.config:
            told["training"] = {
                "command": self.given.command,
                "given": self.given.options,
                "options": self.config["options"],
                "examples": self.examples,
                "fingerprint": self.fingerprint,
            }
            told["averaged"] = self.averaged
            told["metric"] = self.curve.metric if self.curve.rows else None
            told["best"] = self.curve.best
            told["validations"] = self.curve.rows
        return told

    @property
    def best_figures(self) -> dict[str, float]:
        """The figures of the best validation, by name."""
        return dev_figures(self.curve.best) if self.curve.best else {}


def describe(path: Path) -> Description:
    """Reads a model directory, or one that has a tokenizer alone.

    Raises:
        NotThereError: there is no such directory, or neither a model nor a tokenizer in it.
        DataError: something in it is foreign or damaged.
    """
    file = path / CONFIG
    if path.is_dir() and not file.exists() and not file.is_symlink():
        if not has_tokenizer(path):
            raise NotThereError(
                f"{path}: neither a model ({CONFIG}) nor a tokenizer is in this directory"
            )
        return Description(path, tokenizers=[load_tokenizer(str(path))])
    config = read_plain_config(path)
    weights = read_weights(path)
    tokenizers: Sequence[Tokenizer] = ()
    if has_tokenizer(path):
        tokenizers = list(dict.fromkeys(read_tokenizers(path)))
    return Description(
        path,
        config,
        weights,
        _heads(config["heads"], str(file)),
        tokenizers,
        given_options(config["options"], path),
        read_curve(path, weights.facts),
    )


def _heads(values: object, where: str) -> list[Head]:
    """The output layers that config.json names."""
    if not isinstance(values, list):
        raise DataError(f"{where}: 'heads' is no list")
    heads = []
    for value in values:
        head = value if isinstance(value, dict) else {}
        name, task, size = head.get("name"), head.get("task", ""), head.get("n_outputs")
        if not isinstance(name, str) or not isinstance(task, str) or type(size) is not int:
            raise DataError(f"{where}: heads: {shown(value)} is none")
        heads.append(Head(name, task, size))
    return heads


def _tokenizer(tokenizer: Tokenizer) -> Mapping[str, object]:
    return {
        "file": tokenizer.file_name,
        "kind": tokenizer.kind,
        "size": tokenizer.vocab_size,
        "traits": tokenizer.traits,
        "special_ids": tokenizer.special_ids,
    }
