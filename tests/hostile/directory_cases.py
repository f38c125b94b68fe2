"""Model directories whose files are no files, or lie; hostile config.json files."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from case import CASES, Case, case, decode, read_config, write_config

# --- files that are no files, and files elsewhere

FILES = ("config.json", "model.safetensors", "tokenizer.model")


def placed(name: str, cause: str) -> Callable[[Callable[[Path], None]], None]:
    """Cases in which each file of a model directory is replaced by something else."""

    def register(put: Callable[[Path], None]) -> None:
        for file in FILES:

            def make(place: Path, file: str = file) -> list[str]:
                target = place / "model" / file
                target.rename(place / f"elsewhere-{file}")
                put(target)
                return decode(place)

            CASES[f"{file}: {name}"] = Case(make, file, cause)

    return register


placed("a pipe", "not a file")(os.mkfifo)
placed("a directory", "not a file|directory")(Path.mkdir)
placed("a link to a device", "leaves the directory")(lambda path: path.symlink_to("/dev/zero"))
placed("an absolute link", "leaves the directory")(
    lambda path: path.symlink_to(path.parent.parent / f"elsewhere-{path.name}")
)
placed("a link by ..", "leaves the directory")(
    lambda path: path.symlink_to(Path("..") / f"elsewhere-{path.name}")
)
placed("a link to itself", "symbolic link|Symlink|missing|no tokenizer")(
    lambda path: path.symlink_to(path.name)
)
placed("gone", "No such file|missing|no tokenizer|has no config.json")(lambda path: None)
# A directory without it is none of a model: the name is wrong.
CASES["config.json: gone"] = dataclasses.replace(CASES["config.json: gone"], status=2)


# --- config.json


def config(name: str, cause: str, *path: str, value: Any) -> None:
    """A case in which one value of config.json is another."""

    def make(place: Path) -> list[str]:
        values = read_config(place)
        inner = values
        for key in path[:-1]:
            inner = inner[key]
        inner[path[-1]] = value
        write_config(place, values)
        return decode(place)

    CASES[f"config: {name}"] = Case(make, "config.json", cause)


def raw_config(name: str, cause: str, raw: bytes) -> None:
    def make(place: Path) -> list[str]:
        (place / "model" / "config.json").write_bytes(raw)
        return decode(place)

    CASES[f"config: {name}"] = Case(make, "config.json", cause)


config("unknown key", "unknown key 'modle' .did you mean model", "modle", value={})
config(
    "unknown option", "unknown option 'd_modle' .did you mean d_model", "model", "d_modle", value=8
)
config("text for a number", "d_model: a whole number", "model", "d_model", value="32")
config("fraction for a number", "d_model: a whole number", "model", "d_model", value=32.5)
config("truth for a number", "d_model: a whole number", "model", "d_model", value=True)
config("null for a number", "d_model: a whole number", "model", "d_model", value=None)
config("d_model 10^9", "d_model: 1000000000 is above", "model", "d_model", value=10**9)
config("d_model of 3,000 digits", "d_model: 10+… is above", "model", "d_model", value=10**3000)
config("d_model negative", "d_model: -8 is below", "model", "d_model", value=-8)
config("d_model 0", "d_model: 0 is below", "model", "d_model", value=0)
config("d_model of another model", "shape", "model", "d_model", value=64)
config("heads that do not divide", "not a multiple", "model", "n_heads", value=3)
config("10^6 layers", "is above", "model", "n_encoder_layers", value=10**6)
config("256 layers", "256|257", "model", "n_decoder_layers", value=256)
config("two layers", "missing", "model", "n_decoder_layers", value=2)
config("vocabulary 10^12", "is above", "model", "tgt_vocab", value=10**12)
config("vocabulary of another", "one vocabulary|shape", "model", "tgt_vocab", value=27)
config("dropout NaN", "finite", "model", "dropout", value=float("nan"))
config("dropout 10^400", "dropout", "model", "dropout", value=10**400)
config("unknown positions", "positions: 'sinus' is not one of", "model", "positions", value="sinus")
config("attention with other weights", "is missing", "model", "attention", value="additive")
config("weights of no projection", "unexpected tensor", "model", "projections", value="none")
config("heads of another width", "shape", "model", "combine", value="mean")
config("positions of 500 kB", "is not one of", "model", "positions", value="x" * 500_000)
config("model a list", "'model' is missing or no dict", "model", value=[1])
config("unknown architecture", "unknown architecture", "arch", value="transformers")
config("architecture of 500 kB", "unknown architecture", "arch", value="x" * 500_000)
config("later format", "format 3", "format", value=3)
config("earlier format", "format 1", "format", value=1)
config("format true", "format True", "format", value=True)
config("format a text", "format '1'", "format", value="1")
config("10,000 unknown keys", "9,99. more", "model", value={f"d_modl{i}": 1 for i in range(10_000)})
raw_config("empty", "not JSON", b"")
raw_config("a list", "JSON object", b"[]")
raw_config("nested deeply", "not JSON", b'{"a":' * 100_000)
raw_config("2 MiB", "larger than", b'{"format":1}' + b" " * (2 << 20))
raw_config("not UTF-8", "not UTF-8", b'{"format": "\xff"}')
raw_config("NULs", "not JSON", bytes(99))
raw_config("cut", "not JSON", b'{"format": 2, "att')


@case("config: another task", "model", "task 'steal'")
def _(place: Path) -> list[str]:
    write_config(place, read_config(place) | {"task": "steal"})
    return decode(place)


@case("directory: gone", "nowhere", "no such model directory", 2)
def _(place: Path) -> list[str]:
    return ["decode", "-m", str(place / "nowhere")]


@case("directory: a file", "config.json", "no such model directory", 2)
def _(place: Path) -> list[str]:
    return ["decode", "-m", str(place / "model" / "config.json")]
