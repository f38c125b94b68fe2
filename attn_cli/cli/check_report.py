"""What `attn check` found: a table, tab-separated where nobody looks on, or JSON."""

from __future__ import annotations

import json
from collections.abc import Sequence

from attn_cli.check.findings import FINDINGS, Found, PartReport
from attn_cli.config.checking import CheckOptions

_HEADER = ("part", "finding", "count", "share", "first")


def table(reports: Sequence[PartReport], *, aligned: bool) -> list[str]:
    """A line for each part, and below it one for each finding of it that there is."""
    rows: list[Sequence[str]] = [_HEADER]
    for report in reports:
        rows.append((report.name, "examples", f"{report.examples}", "", report.file))
        rows += [
            (report.name, _words(name), f"{found.count}", f"{found.share:.2%}", _first(found))
            for name, found in report.found.items()
            if found.count
        ]
    if not aligned:
        return ["\t".join(cell.replace("\t", " ") for cell in row) for row in rows]
    widths = [max(len(row[i]) for row in rows) for i in range(len(_HEADER))]
    return ["  ".join(map(_padded, row, widths, "<<>><")).rstrip() for row in rows]


def as_json(task: str, checking: CheckOptions, reports: Sequence[PartReport]) -> str:
    """One object, with the findings that were looked for and not found, too."""
    told = {
        "task": task,
        "near": checking.near,
        "ratio": checking.ratio,
        "parts": {
            report.name: {
                "file": report.file,
                "examples": report.examples,
                "findings": {
                    name: {
                        "weight": FINDINGS[name].weight.value,
                        "count": found.count,
                        "of": found.total,
                        "share": found.share,
                        "first": list(found.first),
                    }
                    for name, found in report.found.items()
                },
            }
            for report in reports
        },
    }
    return json.dumps(told, indent=1, ensure_ascii=False)


def _padded(cell: str, width: int, side: str) -> str:
    return f"{cell:{side}{width}}"


def _words(name: str) -> str:
    weight = FINDINGS[name].weight.value
    return f"{weight}: {FINDINGS[name].words}"


def _first(found: Found) -> str:
    return ", ".join(found.first) + (", …" if found.count > len(found.first) else "")
