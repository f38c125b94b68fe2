"""Lives of the program, and a small training that they interrupt."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from program import ENVIRONMENT

RECIPE = (
    *("--vocab-size", 30, "--batch-tokens", 200, "--accumulate", 2),
    *("--dropout", 0.2, "--dropout-warmup", 2),
    *("--ema", 0.9, "--metric", "loss", "--warmup", 5, "--keep-best", 2, "--average", 2),
)


@dataclass(frozen=True)
class Life:
    """How one run of the program went.

    Attributes:
        status: its exit status; -9 if it was killed.
        said: its standard error.
        out: its standard output.
        seconds: how long it lasted.
        mebibytes: the most memory it held.
    """

    status: int
    said: str
    out: bytes
    seconds: float
    mebibytes: float


class Lives:
    """A process that runs the program again and again in forks of itself."""

    def __init__(self, place: Path) -> None:
        self._place = place
        place.mkdir()
        self._process = subprocess.Popen(
            [sys.executable, str(Path(__file__).with_name("lives.py"))],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=ENVIRONMENT,
            text=True,
        )

    def run(self, *arguments: object, stdin: Path | None = None, **ending: Any) -> Life:
        """One life; `ending` says how it is cut short (see lives.py)."""
        assert self._process.stdin and self._process.stdout
        plan: dict[str, Any] = {
            "arguments": [str(argument) for argument in arguments],
            "ending": ending or {"kind": "alone"},
            "stdout": str(self._place / "stdout"),
            "stderr": str(self._place / "stderr"),
        }
        if stdin:
            plan["stdin"] = str(stdin)
        self._process.stdin.write(json.dumps(plan) + "\n")
        self._process.stdin.flush()
        report = json.loads(self._process.stdout.readline())
        said = (self._place / "stderr").read_text("utf-8", "replace")
        assert "Traceback" not in said, said
        return Life(said=said, out=(self._place / "stdout").read_bytes(), **report)

    def close(self) -> None:
        assert self._process.stdin
        self._process.stdin.close()
        self._process.wait(60)


@dataclass(frozen=True)
class Training:
    """A small training that the tests interrupt, and what it becomes undisturbed."""

    command: tuple[object, ...]
    weights: bytes
    losses: list[dict[str, Any]]

    def into(self, output: Path) -> tuple[object, ...]:
        return (*self.command, "-o", output)

    def is_what_became_of(self, output: Path) -> bool:
        same_losses = losses(output) == self.losses
        return same_losses and (output / "model.safetensors").read_bytes() == self.weights


def losses(output: Path) -> list[dict[str, Any]]:
    """train.jsonl without the clock."""
    entries = [json.loads(line) for line in (output / "train.jsonl").read_text().splitlines()]
    return [{key: value for key, value in e.items() if key != "minutes"} for e in entries]


def undisturbed(lives: Lives, place: Path, command: tuple[object, ...]) -> Training:
    output = place / "undisturbed"
    done = lives.run(*command, "-o", output)
    assert done.status == 0, done.said
    return Training(command, (output / "model.safetensors").read_bytes(), losses(output))


Command = tuple[object, ...]
Commands = dict[str, Command]


def commands(translator: Path, classifier: Path) -> Commands:
    """Every streaming command, each with a model of its kind."""
    return {
        "tokenize encode": ("tokenize", "encode", "-t", translator),
        "tokenize decode": ("tokenize", "decode", "-t", translator, "--as", "pieces"),
        "decode": ("decode", "-m", translator, "--greedy", "--max-len", 3, "--threads", 1),
        "decode to labels": ("decode", "-m", classifier, "--threads", 1),
        "score": ("score", "--chrf", "--per-line"),
        "score --log-prob": ("score", "--log-prob", "-m", translator, "--threads", 1),
        "embed": ("embed", "-m", classifier, "--threads", 1),
        "attend": ("attend", "-m", translator, "--beam", 1, "--threads", 1, "--format", "tsv"),
    }


NAMES = list(commands(Path(), Path()))
LINE_BY_LINE = [name for name in NAMES if name != "attend"]
"""Those that answer a line with a line."""
