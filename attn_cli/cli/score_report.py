"""How scores are printed: `NAME<TAB>VALUE` lines, JSON, or a table where a person looks on."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

from attn_cli.lines.writing import LineWriter
from attn_cli.metrics.base import Score

_UNBOUND = 10_000  # columns, more than any table needs


def print_lines(scores: Sequence[Score], out: LineWriter, *, signature: bool) -> None:
    """`BLEU<TAB>28.3012`, then what else was asked for as `BLEU.mean`, `BLEU.difference`, ..."""
    for score in scores:
        extra = [f"{score.name}|{score.signature}"] if signature and score.signature else []
        out.write(score.name, _shown(_value(score), score.decimals), *extra)
        for name, value in _estimates(score).items():
            out.write(f"{score.name}.{name}", _shown(value, score.decimals))
    out.flush()


def print_json(scores: Sequence[Score], out: LineWriter) -> None:
    """One object: `{"BLEU": {"score": ..., "signature": ..., ...}}`, in full precision."""
    told: dict[str, Any] = {
        score.name: {
            "score": None if score.undefined else score.value,
            **_estimates(score),
            **score.details,
            **({"signature": score.signature} if score.signature else {}),
        }
        for score in scores
    }
    out.write(json.dumps(told, indent=1, ensure_ascii=False))
    out.flush()


def print_report(scores: Sequence[Score], out: LineWriter) -> None:
    """`NAME.CLASS<TAB>precision<TAB>recall<TAB>f1<TAB>support` for each class, below a header."""
    columns = ("precision", "recall", "f1")
    out.write("class", *columns, "support")
    for score in scores:
        table: Mapping[str, Mapping[str, float]] = score.details.get("classes", {})  # type: ignore[assignment]
        for name, row in table.items():
            figures = (f"{row[key]:.{score.decimals}f}" for key in columns)
            out.write(f"{score.name}.{name}", *figures, str(row["support"]))
    out.flush()


def print_table(scores: Sequence[Score], *, signature: bool) -> None:
    """A table for a terminal, and below it the signatures, a line each; nothing is ever cut."""
    from rich.console import Console
    from rich.measure import Measurement
    from rich.table import Table

    estimates = list(dict.fromkeys(name for score in scores for name in _estimates(score)))
    table = Table("metric", "score", *(name.replace("_", " ") for name in estimates))
    for score in scores:
        own = _estimates(score)
        values = [_value(score), *(own.get(name, "") for name in estimates)]
        table.add_row(score.name, *(_shown(value, min(score.decimals, 4)) for value in values))
    console = Console()
    unbound = console.options.update(max_width=_UNBOUND)
    needed = Measurement.get(console, unbound, table).maximum
    # A terminal breaks a line that is too long; rich would leave its end out.
    Console(width=max(console.width, needed)).print(table, crop=False, soft_wrap=True)
    for score in scores:
        if signature and score.signature:
            print(f"{score.name}|{score.signature}")


def print_line_scores(
    figures: Mapping[str, tuple[float, int]], out: LineWriter, *, as_json: bool
) -> None:
    """The scores of one line, tab-separated or as a JSON object; a blank line where none are."""
    if as_json and figures:
        values = {name: value for name, (value, _) in figures.items()}
        out.write(json.dumps(values, ensure_ascii=False))
    else:
        out.write(*(f"{value:.{decimals}f}" for value, decimals in figures.values()))


def _value(score: Score) -> float:
    return math.nan if score.undefined else score.value


def _estimates(score: Score) -> dict[str, float | str]:
    """Interval and significance of a score, by name."""
    told: dict[str, float | str] = {}
    if score.interval:
        told |= {"mean": score.interval.mean, "ci95_half_width": score.interval.half_width}
    if score.comparison:
        told |= {
            "baseline": score.comparison.baseline,
            "difference": score.comparison.difference,
            "p_bootstrap": score.comparison.p_bootstrap,
            "p_randomization": score.comparison.p_randomization,
            "verdict": score.comparison.verdict(lower_is_better=score.lower_is_better),
        }
    return told


def _shown(value: float | str, decimals: int) -> str:
    return value if isinstance(value, str) else f"{value:.{decimals}f}"
