"""A hostile input: how it is made, the command that meets it, and what must be said."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

Make = Callable[[Path], list[str]]
LIMIT = 64 << 20  # of a tokenizer file


@dataclass(frozen=True)
class Case:
    """One hostile input.

    Attributes:
        make: writes it into an empty folder that holds a sound `model`; returns the command.
        blames: what the message must name: the file, or the line of it.
        cause: a regular expression for the cause in the message.
        status: of the command: 2 where what is named is not there.
    """

    make: Make
    blames: str
    cause: str
    status: int = 3


CASES: dict[str, Case] = {}


def case(name: str, blames: str, cause: str, status: int = 3) -> Callable[[Make], Make]:
    def register(make: Make) -> Make:
        assert name not in CASES
        CASES[name] = Case(make, blames, cause, status)
        return make

    return register


def decode(place: Path) -> list[str]:
    return ["decode", "-m", str(place / "model"), "--threads", "1", "--greedy"]


def read_config(place: Path) -> dict[str, Any]:
    return json.loads((place / "model" / "config.json").read_text())


def write_config(place: Path, values: Any) -> None:
    (place / "model" / "config.json").write_text(json.dumps(values))
