"""`attn score --compare`: where two systems differ, as a table, JSON and a picture."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path

from attn_cli.cli.console import Console
from attn_cli.config.scoring import ScoreCommand
from attn_cli.errors import DataError
from attn_cli.lines.reading import display_name
from attn_cli.lines.unusable import HeldBadLines
from attn_cli.lines.writing import LineWriter, one_field
from attn_cli.metrics.contrast import BIN, Bucket, Contrast, LineContrast, Report
from attn_cli.metrics.segments import SegmentFiles, SegmentReader
from attn_cli.wording import plural

COLUMNS = ("what", "which", "count", "system", "other", "difference")
TEXTS = ("reference", "system", "other")
_DECIMALS = 2


def compare_systems(hyp: str, options: ScoreCommand, bad: HeldBadLines) -> None:
    """Compares hypotheses with those of `--compare`.

    Raises:
        DataError: a file can't be read, no line can be compared, or lines were unusable.
        UsageError: what --plot names is no picture.
    """
    scoring, console = options.scoring, Console(options.speech)
    other = str(scoring.compare)
    if scoring.plot:
        from attn_cli.viz.figures import check_picture

        check_picture(scoring.plot)
    contrast = Contrast(scoring, scoring.compare_lines)
    files = SegmentFiles(hyp, scoring.ref, other, options.stream.columns)
    contrast.add(segment for segment in SegmentReader(files, bad) if segment)
    if contrast.n_lines:
        if scoring.verbose:
            console.say(plural(contrast.n_lines, "line") + " to compare")
        report, names = contrast.report(), _names(hyp, other)
        _print(report, names, as_json=scoring.json)
        if scoring.plot:
            _plot(scoring.plot, report, names)
    bad.finish("left out of the comparison")
    if not contrast.n_lines:
        raise DataError(f"{display_name(hyp)}: no lines to compare")


def _names(hyp: str, other: str) -> tuple[str, str]:
    """What the systems are called: their files' names, where these tell them apart."""
    short = display_name(hyp) if hyp == "-" else Path(hyp).name, Path(other).name
    return short if short[0] != short[1] else (hyp, other)


def _print(report: Report, names: tuple[str, str], *, as_json: bool) -> None:
    out = LineWriter()
    if as_json:
        out.write(json.dumps(_as_json(report, names), indent=1, ensure_ascii=False))
    elif sys.stdout.isatty():
        _print_for_people(report, names, out)
    else:
        _print_lines(report, out)
    out.flush()


def _tables(report: Report) -> list[tuple[str, list[Bucket]]]:
    return [
        ("BLEU", [report.bleu]),
        ("BLEU by words of a line", report.lengths),
        ("F1 by frequency of a word", report.frequencies),
    ]


def _lines(report: Report) -> list[tuple[str, Sequence[LineContrast]]]:
    return [("better", report.better), ("worse", report.worse)]


def _print_lines(report: Report, out: LineWriter) -> None:
    """A line for each bucket below a header; then one for each line of text, with its texts."""
    out.write(*COLUMNS, *TEXTS)
    for what, buckets in _tables(report):
        for bucket in buckets:
            figures = (bucket.system, bucket.other, bucket.difference)
            out.write(what, bucket.name, str(bucket.count), *map(_shown, figures), "", "", "")
    for what, lines in _lines(report):
        for line in lines:
            figures = (line.system, line.other, line.difference)
            texts = map(one_field, _texts(line))
            out.write(f"{what} line", str(line.segment.number), "1", *map(_shown, figures), *texts)


def _print_for_people(report: Report, names: tuple[str, str], out: LineWriter) -> None:
    for what, buckets in _tables(report):
        rows: list[tuple[str, ...]] = [(what, "count", *names, "difference")]
        for bucket in buckets:
            figures = map(_shown, (bucket.system, bucket.other, bucket.difference))
            rows.append((bucket.name, f"{bucket.count:,}", *figures))
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        for row in rows:
            cells = [row[0].ljust(widths[0])]
            cells += [cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True)]
            out.write("  ".join(cells))
        out.write("")
    best = dict(zip(("better", "worse"), names, strict=True))
    width = max(len("reference"), *map(len, names))
    for what, lines in _lines(report):
        for line in lines:
            scores = f"BLEU {_shown(line.system)} against {_shown(line.other)}"
            out.write(f"line {line.segment.number}: {best[what]} is better, {scores}")
            for name, text in zip(("reference", *names), _texts(line), strict=True):
                out.write(f"  {name.ljust(width)}  {_on_terminal(text)}")
            out.write("")


def _texts(line: LineContrast) -> tuple[str, str, str]:
    return line.segment.references[0], line.segment.hypothesis, line.segment.baseline


def _shown(value: float) -> str:
    return f"{value:.{_DECIMALS}f}"


def _on_terminal(text: str) -> str:
    """A text that drives no terminal."""
    return "".join(char if char.isprintable() else "\N{MIDDLE DOT}" for char in text)


def _as_json(report: Report, names: tuple[str, str]) -> dict[str, object]:
    def bucket(one: Bucket) -> dict[str, object]:
        return {
            "which": one.name,
            "count": one.count,
            "system": one.system,
            "other": one.other,
            "difference": one.difference,
        }

    def line(one: LineContrast) -> dict[str, object]:
        reference, system, other = _texts(one)
        return {
            "line": one.segment.number,
            "bleu": {"system": one.system, "other": one.other, "difference": one.difference},
            "texts": {"reference": reference, "system": system, "other": other},
        }

    return {
        "system": names[0],
        "other": names[1],
        "bleu": bucket(report.bleu),
        "bleu_by_length": [bucket(one) for one in report.lengths],
        "f1_by_frequency": [bucket(one) for one in report.frequencies],
        "better": [line(one) for one in report.better],
        "worse": [line(one) for one in report.worse],
    }


def _plot(path: str, report: Report, names: tuple[str, str]) -> None:
    from attn_cli.viz.contrast import BarPanel, draw_contrast

    def panel(label: str, what: str, buckets: Sequence[Bucket]) -> BarPanel:
        values = [one.system for one in buckets], [one.other for one in buckets]
        ranges, counts = [one.name for one in buckets], [one.count for one in buckets]
        return BarPanel(label, what, ranges, counts, values)

    panels = [
        panel("BLEU", "words of the reference (lines)", report.lengths),
        panel("F1 of words", "how often a word stands in the references (all)", report.frequencies),
    ]
    whole = report.bleu
    title = (
        f"BLEU {_shown(whole.system)} ({names[0]}) and {_shown(whole.other)} ({names[1]}), "
        f"{plural(whole.count, 'line')}"
    )
    histogram = {float(k * BIN): count for k, count in report.histogram.items()}
    draw_contrast(path, title, names, panels, histogram)
