"""The learning curve of a training: train.jsonl, one line per validation."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from attn_cli.config import shown
from attn_cli.errors import DataError
from attn_cli.files import inside, read_bounded
from attn_cli.model_files import LOG

Row = Mapping[str, float | bool | None]
DEV = "dev_"  # begins the names of figures on the dev data
_LIMIT = 256 << 20  # bytes of a log


@dataclass(frozen=True)
class Curve:
    """The validations of a training in their order.

    Attributes:
        rows: their figures by name, as train.jsonl has them.
        metric: what decided which weights are kept, as `bleu`.
        best_step: the update whose weights are kept; None: not known.
        unfinished: whether a line at the end is not whole yet.
    """

    rows: Sequence[Row] = ()
    metric: str = "loss"
    best_step: int | None = None
    unfinished: bool = False
    problems: Sequence[str] = field(default=())

    @property
    def steps(self) -> list[int]:
        """The update of each validation."""
        return [int(row["step"] or 0) for row in self.rows]

    @property
    def names(self) -> list[str]:
        """The figures that any row has, the step and what only counts left out."""
        counts = {"step", "epoch", "minutes", "best", "skipped"}
        return [
            name
            for name in dict.fromkeys(key for row in self.rows for key in row)
            if name not in counts
        ]

    @property
    def best(self) -> Row | None:
        """The validation of the weights that are kept."""
        chosen = [row for row in self.rows if row["step"] == self.best_step]
        return chosen[-1] if chosen else None

    def series(self, name: str) -> list[float]:
        """A figure at each validation; NaN where it has none."""
        values = (row.get(name) for row in self.rows)
        return [math.nan if value is None else float(value) for value in values]


def dev_figures(row: Row) -> dict[str, float]:
    """The figures on the dev data by their names, as `loss` and `bleu`."""
    return {
        name.removeprefix(DEV): float(value)
        for name, value in row.items()
        if name.startswith(DEV) and value is not None
    }


def read_curve(folder: Path, facts: Mapping[str, object]) -> Curve:
    """Reads the curve of a model directory; none of a model that was not trained here.

    Args:
        folder: the directory.
        facts: what is told of its weights; see `model_files.facts_of`.

    Raises:
        DataError: the file can't be read.
    """
    path = inside(folder, LOG)
    if not path.exists():
        return Curve()
    raw = read_bounded(path, _LIMIT, f"larger than {_LIMIT >> 20} MiB; this is no log of attn")
    *lines, rest = raw.split(b"\n")
    rows: list[Row] = []
    problems: list[str] = []
    for number, line in enumerate(lines, start=1):
        try:
            rows.append(_row(line))
        except ValueError as error:
            problems.append(f"{path}:{number}: no validation: {error}")
    steps = facts.get("average_of_steps")
    step = steps[0] if isinstance(steps, list) and steps else facts.get("step")
    if type(step) is not int:
        named = [int(row["step"] or 0) for row in rows if row.get("best")]
        step = named[-1] if named else None
    metric = facts.get("metric", "loss")
    known = isinstance(metric, str) and any(f"{DEV}{metric}" in row for row in rows)
    return Curve(rows, str(metric) if known else "loss", step, bool(rest), problems)


def _row(line: bytes) -> Row:
    """A line of the log.

    Raises:
        ValueError: it is none.
    """
    try:
        row = json.loads(line.decode("utf-8"))
    except RecursionError as error:
        raise ValueError("nested too deeply") from error
    if not isinstance(row, dict) or type(row.get("step")) is not int or row["step"] < 0:
        raise ValueError(f"an object with a step is needed, not {shown(row)}")
    for name, value in row.items():
        if value is not None and not isinstance(value, int | float):
            raise ValueError(f"{shown(name)} is no number but {shown(value)}")
        if isinstance(value, int) and abs(value) > 1 << 53:
            raise ValueError(f"{shown(name)} is too large")
        if isinstance(value, float) and not math.isfinite(value):
            raise ValueError(f"{shown(name)} is no finite number")
    return row


def require_validations(curve: Curve, folder: Path) -> None:
    """Raises DataError if there is no curve to draw."""
    if not curve.rows:
        raise DataError(f"{folder}: no validation in {LOG}: there is no learning curve to draw")
