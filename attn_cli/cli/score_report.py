"""How scores are printed: `NAME<TAB>VALUE` lines, JSON, or a table where a person looks on."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from attn_cli.lines.writing import LineWriter
from attn_cli.metrics.base import Score


def print_lines(scores: Sequence[Score], out: LineWriter, *, signature: bool) -> None:
    """`BLEU<TAB>28.3012`, then what else was asked for as `BLEU.mean`, `BLEU.ci95`, ..."""
    for score in scores:
        extra = [f"{score.name}|{score.signature}"] if signature and score.signature else []
        out.write(score.name, f"{score.value:.{score.decimals}f}", *extra)
        for name, value in _estimates(score).items():
            out.write(f"{score.name}.{name}", f"{value:.{score.decimals}f}")
    out.flush()


def print_json(scores: Sequence[Score], out: LineWriter) -> None:
    """One object: `{"BLEU": {"score": ..., "signature": ..., ...}}`, in full precision."""
    told: dict[str, Any] = {
        score.name: {
            "score": score.value,
            **_estimates(score),
            **score.details,
            **({"signature": score.signature} if score.signature else {}),
        }
        for score in scores
    }
    out.write(json.dumps(told, indent=1, ensure_ascii=False))
    out.flush()


def print_report(scores: Sequence[Score], out: LineWriter) -> None:
    """`NAME.CLASS<TAB>precision<TAB>recall<TAB>F1<TAB>support` for each class of each metric."""
    for score in scores:
        table: Mapping[str, Mapping[str, float]] = score.details.get("classes", {})  # type: ignore[assignment]
        for name, row in table.items():
            figures = (f"{row[key]:.{score.decimals}f}" for key in ("precision", "recall", "f1"))
            out.write(f"{score.name}.{name}", *figures, str(row["support"]))
    out.flush()


def print_table(scores: Sequence[Score], *, signature: bool) -> None:
    """A table for a terminal."""
    from rich.console import Console
    from rich.table import Table

    estimates = list(dict.fromkeys(name for score in scores for name in _estimates(score)))
    table = Table("metric", "score", *estimates, *(["signature"] if signature else []))
    for score in scores:
        own = _estimates(score)
        numbers = [score.value, *(own[name] for name in estimates)]
        cells = [f"{number:.{min(score.decimals, 4)}f}" for number in numbers]
        table.add_row(score.name, *cells, *([score.signature] if signature else []))
    Console().print(table)


def print_line_scores(
    figures: Mapping[str, tuple[float, int]], out: LineWriter, *, as_json: bool
) -> None:
    """The scores of one line, tab-separated or as a JSON object; a blank line where none are."""
    if as_json and figures:
        values = {name: value for name, (value, _) in figures.items()}
        out.write(json.dumps(values, ensure_ascii=False))
    else:
        out.write(*(f"{value:.{decimals}f}" for value, decimals in figures.values()))


def _estimates(score: Score) -> dict[str, float]:
    """Interval and significance of a score, by name."""
    told: dict[str, float] = {}
    if score.interval:
        told |= {"mean": score.interval.mean, "ci95": score.interval.ci95}
    if score.comparison:
        told |= {
            "baseline": score.comparison.baseline,
            "p_bootstrap": score.comparison.p_bootstrap,
            "p_randomization": score.comparison.p_randomization,
        }
    return told
