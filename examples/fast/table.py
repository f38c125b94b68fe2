"""The table of examples/fast: BLEU, and sentences a second on one core.

    python3 table.py OUT TEST.tsv [ROUNDS]

OUT holds what run.sh makes there. A program has started, loaded and answered some lines before the
watch runs; the programs come in turns, and the median of the rounds (5) stands in the table.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
from pathlib import Path

SPEED = Path(__file__).resolve().parents[1] / "benchmarks" / "speed"
sys.path.insert(0, str(SPEED))

from piped import answered  # noqa: E402

WARM = 64
ONE = {**os.environ, "OMP_NUM_THREADS": "1"}


def main() -> None:
    out, test, *more = sys.argv[1:]
    rounds = int(more[0]) if more else 5
    lines = Path(test).read_text("utf-8").removesuffix("\n").split("\n")
    sources = [line.split("\t")[0] for line in lines]
    references = [line.split("\t")[1] for line in lines]
    warm = (sources * WARM)[:WARM]
    speeds: dict[str, list[float]] = {}
    texts: dict[str, list[str]] = {}
    for _ in range(rounds):
        for name, command in commands(Path(out)).items():
            try:
                run = answered(command, ONE, warm, sources, alone=False)
            except RuntimeError as error:
                sys.exit(f"{name}: {error}")
            speeds.setdefault(name, []).append(len(sources) / run.seconds)
            texts[name] = run.lines
    medians = {name: statistics.median(each) for name, each in speeds.items()}
    theirs = next((speed for name, speed in medians.items() if "CTranslate2" in name), None)
    print("| | BLEU | sentences/s, one core | times CTranslate2's |")
    print("| --- | ---: | ---: | ---: |")
    for name, speed in medians.items():
        times = f"{speed / theirs:.2f}" if theirs else ""
        print(f"| {name} | {bleu(texts[name], references):.2f} | {speed:,.0f} | {times} |")


def commands(out: Path) -> dict[str, list[str]]:
    """What the table's lines are called, and the programs that they are."""
    attn = ["attn", "decode", "--quiet", "--threads", "1", "-m"]
    beam = [*attn, str(out / "teacher"), "--beam", "5"]
    greedy = ["--greedy"]
    student = [*attn, str(out / "student"), *greedy]
    found = {
        "teacher, beam 5": beam,
        "student, greedy": student,
        "the same, int8": [*student, "--precision", "int8"],
        "the same, int8, shortlist": [
            *(*attn, str(out / "fast"), *greedy),
            *("--precision", "int8", "--shortlist"),
        ],
    }
    if (out / "ctranslate2" / "model.bin").exists():
        told = {
            "model": str(out / "ctranslate2"),
            "precision": "int8",
            "beam": 5,
            "inter": 1,
            "intra": 1,
            "batch": 32,
            "warm": WARM,
        }
        peer = [sys.executable, str(SPEED / "peer.py"), "ctranslate2", json.dumps(told)]
        found = {"teacher, CTranslate2, int8, beam 5": peer, **found}
    return found


def bleu(texts: list[str], references: list[str]) -> float:
    """As `attn score --bleu` says."""
    pairs = "".join(f"{pair[0]}\t{pair[1]}\n" for pair in zip(texts, references, strict=True))
    command = ["attn", "score", "--bleu"]
    done = subprocess.run(command, input=pairs, capture_output=True, text=True, check=True)
    return float(done.stdout.split("\t")[1])


if __name__ == "__main__":
    main()
