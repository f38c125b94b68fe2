"""Speed of decoding, and of what else reads lines: attn and its peers in turns, on one page.

    python examples/benchmarks/speed decode --model attn-model --test test.tsv > decoding.md
    python examples/benchmarks/speed decode --rows 'default-*' startup --rounds 1

Needs `pip install '.[bench]'` and a machine that does nothing else. Every program has started,
loaded and warmed up before the watch runs, where the row does not say `whole process`; the best of
its ways to run (batch sizes, threads) is found first, and timed then, the programs in turns.
Prints a page in Markdown, and on stderr what each try found.
"""

from __future__ import annotations

import argparse
import datetime
import fnmatch
import importlib.metadata
import os
import platform
import shlex
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from decoding_rows import ROOT, Program, Row, Workshop
from machine import commit, hardware
from piped import Run

EXAMPLES = ROOT / "examples"
ENDED = "failed"


def main(arguments: Sequence[str]) -> int:
    options = _options(arguments)
    sys.path.insert(0, str(ROOT))  # models that are made here are those of this checkout
    with tempfile.TemporaryDirectory(prefix="attn-decoding-") as name:
        folder = Path(options.work or name)
        folder.mkdir(parents=True, exist_ok=True)
        rows = _chosen(_workshop(folder, options), options.rows)
        print("\n".join(_head(options, arguments)), flush=True)
        failures = 0
        for row in rows:
            lines, failed = _table(row, options)
            failures += failed
            print("\n".join(["", f"## {row.name}", "", f"{row.said}.", "", *lines]), flush=True)
    return int(failures > 0)


def _options(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="speed decode", description=__doc__.partition("\n")[0])
    parser.add_argument("--rows", nargs="+", default=["*"], help="names of rows, * for any part")
    parser.add_argument("--list", action="store_true", help="print the names of the rows")
    parser.add_argument("--model", metavar="DIR", help="a translator of the default size [random]")
    parser.add_argument("--d256", metavar="DIR", help="one of d = 256 [random]")
    parser.add_argument("--base", metavar="DIR", help="one of the base size [random]")
    parser.add_argument("--lm", metavar="DIR", help="a GPT-2 of transformers [random]")
    parser.add_argument("--bert", metavar="DIR", help="a classifier of transformers [random]")
    parser.add_argument("--test", metavar="TSV", help="lines whose first column is read")
    parser.add_argument("--train", metavar="TSV", help="pairs, for the shortlist")
    parser.add_argument("--lines", type=int, default=1000, help="the most of a row of translation")
    parser.add_argument("--scale", type=float, default=1.0, help="share of lines of other rows")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--work", metavar="DIR", help="keep what is made there, and use it again")
    options = parser.parse_args(arguments)
    if options.list:
        for row in _workshop(Path(), options, texts=["a"]).rows():
            print(f"{row.name}\t{row.said}")
        sys.exit(0)
    return options


def _workshop(
    folder: Path, options: argparse.Namespace, texts: Sequence[str] | None = None
) -> Workshop:
    given = {
        "default": options.model,
        **{k: vars(options)[k] for k in ("d256", "base", "lm", "bert")},
    }
    pairs = Path(options.train or folder / "train.tsv")
    if texts is None:
        if not options.train or not options.test:
            _silently([sys.executable, EXAMPLES / "grammar.py", folder])
        test = Path(options.test or folder / "test.tsv").read_text("utf-8")
        texts = [line.split("\t")[0] for line in test.removesuffix("\n").split("\n")]
    return Workshop(
        folder, given, texts, pairs,
        lines=options.lines, scale=options.scale, threads=options.threads,
    )  # fmt: skip


def _silently(command: Sequence[object]) -> None:
    subprocess.run(list(map(str, command)), check=True, stdout=subprocess.DEVNULL)


def _chosen(workshop: Workshop, patterns: Sequence[str]) -> list[Row]:
    rows = list(workshop.rows())
    for pattern in patterns:
        if not any(fnmatch.fnmatchcase(row.name, pattern) for row in rows):
            names = ", ".join(row.name for row in rows)
            sys.exit(f"--rows {pattern}: no row; there are {names}")
    return [row for row in rows if any(fnmatch.fnmatchcase(row.name, each) for each in patterns)]


def _table(row: Row, options: argparse.Namespace) -> tuple[list[str], int]:
    """The lines of a row's table, and how many programs failed."""
    try:
        programs = row.programs()
    except (RuntimeError, ImportError) as error:  # a model was not made
        _say(f"{row.name}: {ENDED}: {error}")
        return [f"{ENDED.capitalize()}: {str(error).partition(chr(10))[0][:500]}"], 1
    best = {program.name: _best_way(row, program, options.threads) for program in programs}
    tries: dict[str, list[Run]] = {name: [] for name, way in best.items() if way}
    for number in range(1, options.rounds + 1):
        for name, runs in tries.items():
            run = row.run(best[name] or [], options.threads)
            runs.append(run)
            _say(f"{row.name} {number} {name}: {_number(run.seconds)} {row.unit}")
    return _lines(row, programs, tries), len(programs) - len(tries)


def _best_way(row: Row, program: Program, threads: int) -> Sequence[object] | None:
    """The fastest of a program's commands, each run once; None if it can't do the work."""
    found: list[tuple[float, Sequence[object]]] = []
    for way in program.ways:
        try:
            speed = row.run(way, threads).seconds
        except RuntimeError as error:
            _say(f"{row.name} {program.name}: {ENDED}: {error}")
            return None
        found.append((-speed if row.more_is_better else speed, way))
        if len(program.ways) > 1:
            _say(f"{row.name} tried {program.name}: {_number(speed)} {row.unit}")
    return min(found, key=lambda pair: pair[0])[1]


def _lines(row: Row, programs: Sequence[Program], tries: dict[str, list[Run]]) -> list[str]:
    medians = {name: statistics.median(run.seconds for run in runs) for name, runs in tries.items()}
    peers = [medians[each.name] for each in programs if not each.ours and each.name in medians]
    peer = (max if row.more_is_better else min)(peers) if peers else None
    first = next(iter(tries.values()), [Run(0, 0)])[0].lines
    lines = [f"| | {row.unit} | times the best peer's speed | same lines | MB |"]
    lines.append("| --- |" + " ---: |" * 4)
    for program in programs:
        runs = tries.get(program.name)
        if not runs:
            lines.append(f"| {program.name} | {ENDED} | | | |")
            continue
        numbers = sorted(run.seconds for run in runs)
        median = medians[program.name]
        ratio = (median / peer if row.more_is_better else peer / median) if peer else None
        same = sum(a == b for a, b in zip(runs[0].lines, first, strict=False))
        cells = [
            f"{_number(median)} ({_number(numbers[0])} to {_number(numbers[-1])})",
            f"{ratio:.2f}" if ratio and program.ours else "",
            f"{same:,} of {len(first):,}" if program.compared and first else "",
            f"{max(run.megabytes for run in runs):,.0f}",
        ]
        lines.append(f"| {program.name} | {' | '.join(cells)} |")
    return lines


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _head(options: argparse.Namespace, arguments: Sequence[str]) -> list[str]:
    shown = [Path(each).name if os.sep in each else each for each in arguments]
    versions = [f"attn {commit(ROOT)}", f"Python {platform.python_version()}"]
    for package in ("torch", "ctranslate2", "transformers", "sacrebleu", "sentencepiece"):
        versions.append(f"{package} {importlib.metadata.version(package)}")
    return [
        f"# Speed of decoding, {datetime.date.today()}",
        "",
        "```sh",
        shlex.join(["python", "examples/benchmarks/speed", "decode", *shown]),
        "```",
        "",
        f"- {', '.join(versions)}.",
        f"- {hardware()}; {options.threads} threads; load {os.getloadavg()[0]:.1f} at the start.",
        f"- Medians of {options.rounds} tries (least to most), the programs in turns, each in a "
        "process of its own and run in the fastest of its ways (batch, threads), found first.",
        "- Seconds from the first line behind some that warm up to the last answer, tokenizing "
        "included; `whole process`: from start to end.",
        "- `--stopping count` is CTranslate2's rule: a sentence is done once as many hypotheses as "
        "the beam is wide have ended. Weights are the same, converted.",
        "- Same lines: as those of the first program. MB: of a program's largest process.",
    ]
