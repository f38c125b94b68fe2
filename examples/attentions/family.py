"""Trains the family of attentions on one corpus, and prints what each of them reached.

    python3 examples/attentions/family.py                            # a demonstration, minutes
    python3 examples/attentions/family.py train.tsv dev.tsv --max-time 20m --jobs 2 -o family
    python3 examples/attentions/family.py train.tsv dev.tsv --only rnn-none,rnn-dot -- --size small

Every member has the same data and the same time, through `attn train-mt`; its dev translations
(beam 5) come from `attn decode`, the scores from `attn score`. A table on stdout: weights, passes
over the corpus, seconds for one of them (validations included), BLEU of all dev sentences and of
those of each range of source words. Run it again after a stop: what is finished is not trained
again. What follows `--` goes to every `attn train-mt`. Standard library only.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import struct
import subprocess
import sys
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SCORES = ("none", "mean", "dot", "scaled-dot", "general", "additive", "cosine")
POSITIONS = ("sinusoidal", "learned", "relative", "rotary", "none")
FAMILY = {
    **{f"rnn-{score}": ("--arch", "rnn", "--attention", score) for score in SCORES},
    "cnn": ("--arch", "cnn"),
    **{f"transformer-{p}": ("--arch", "transformer", "--positions", p) for p in POSITIONS},
}
RANGES = 4  # of source lengths, with about as many sentences each
# The demonstration: small enough for seconds, large enough to be told apart.
DEMO_PAIRS = ("--train", "4000", "--test", "200")
DEMO_TIME = "10s"
DEMO_OPTIONS = ("--d-model", "64", "--metric", "loss", "--type", "bpe", "--batch-tokens", "1024")


class StepError(Exception):
    """A step of a member failed: what it was, its status, where it said why."""


@dataclass
class Member:
    """A model of the family, and the steps to its row of the table.

    Attributes:
        name: a key of `FAMILY`.
        folder: where the models are.
        environment: of the program.
        running: processes that a stop has to end, shared by all members.
    """

    name: str
    folder: Path
    environment: dict[str, str]
    running: set[subprocess.Popen[bytes]] = field(default_factory=set)

    @property
    def model(self) -> Path:
        """Its directory."""
        return self.folder / self.name

    @property
    def translations(self) -> Path:
        """Its dev translations, and the references behind them."""
        return self.folder / f"{self.name}.tsv"

    def attn(self, *arguments: object, stdin: bytes | None = None) -> bytes:
        """What a command prints; what it says goes to the member's log.

        Raises:
            StepError: it failed.
        """
        command = [sys.executable, "-m", "attn_cli", *map(str, arguments)]
        pipe = subprocess.PIPE
        with (self.folder / f"{self.name}.log").open("ab") as log:
            log.write(f"+ attn {' '.join(map(str, arguments))}\n".encode())
            log.flush()
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL if stdin is None else pipe,
                stdout=pipe,
                stderr=log,
                env=self.environment,
            )
            self.running.add(process)
            out, _ = process.communicate(stdin)
            self.running.discard(process)
        if process.returncode:
            status = process.returncode
            raise StepError(f"{self.name}: attn {arguments[0]} ended with {status}; see {log.name}")
        return out

    def train(self, corpus: Path, dev: Path, options: Sequence[str]) -> None:
        """Trains it, unless that was finished before."""
        given = (corpus, "--dev", dev, "-o", self.model, *FAMILY[self.name], *options)
        self.attn("train-mt", *given)

    def translate(self, dev: Path, threads: int) -> list[list[str]]:
        """Rows of its translation and the dev pair's target, for each line of the dev file."""
        trained = (self.model / "model.safetensors").stat().st_mtime
        if not self.translations.exists() or self.translations.stat().st_mtime < trained:
            out = self.attn("decode", "-m", self.model, dev, "--threads", threads)
            part = self.translations.with_suffix(".part")
            part.write_bytes(out)
            part.replace(self.translations)
        return read_rows(self.translations)

    def bleu(self, rows: Sequence[Sequence[str]]) -> float:
        """BLEU of rows of translation and reference; no number where there are none."""
        if not rows:
            return math.nan
        out = self.attn("score", "--bleu", stdin=as_tsv(rows).encode())
        return float(out.decode().split("\t")[1])


def read_rows(path: Path) -> list[list[str]]:
    r"""The first two columns of a TSV file, in which `\n` alone ends a line."""
    lines = path.read_bytes().decode("utf-8-sig").split("\n")
    return [line.removesuffix("\r").split("\t")[:2] for line in lines if line]


def count_weights(file: Path) -> int:
    """The numbers in a safetensors file, by its header; a matrix that is used twice counts once."""
    with file.open("rb") as opened:
        (size,) = struct.unpack("<Q", opened.read(8))
        header = json.loads(opened.read(size))
    return sum(math.prod(entry["shape"]) for key, entry in header.items() if key != "__metadata__")


def passes(log: Path) -> tuple[float, float]:
    """Passes over the corpus, and seconds for each, as the last validation tells."""
    last = json.loads(log.read_text("utf-8").splitlines()[-1])
    return last["epoch"], 60 * last["minutes"] / last["epoch"]


def length_ranges(dev: Sequence[Sequence[str]], count: int = RANGES) -> list[tuple[int, int]]:
    """Ranges of source words, first and last, with about as many of the dev sentences in each."""
    lengths = sorted(len(row[0].split()) for row in dev)
    ends = sorted({lengths[len(lengths) * i // count - 1] for i in range(1, count + 1)})
    starts = [lengths[0], *(end + 1 for end in ends)]
    return list(zip(starts, ends, strict=False))


def row_of(member: Member, dev_file: Path, threads: int) -> list[str]:
    """A member's row of the table, as `heading` names it."""
    dev = read_rows(dev_file)
    outputs = member.translate(dev_file, threads)
    epochs, seconds = passes(member.model / "train.jsonl")
    groups = [outputs] + [
        [row for row, (src, _) in zip(outputs, dev, strict=True) if lo <= len(src.split()) <= hi]
        for lo, hi in length_ranges(dev)
    ]
    figures = [f"{member.bleu(group):.1f}" for group in groups]
    weights = count_weights(member.model / "model.safetensors")
    return [member.name, f"{weights}", f"{epochs:.1f}", f"{seconds:.1f}", *figures]


def heading(dev: Sequence[Sequence[str]]) -> list[str]:
    """Names of the columns."""
    ranges = [f"{lo}-{hi} words" if lo < hi else f"{lo} words" for lo, hi in length_ranges(dev)]
    return ["member", "weights", "epochs", "s/epoch", "BLEU", *ranges]


def as_tsv(rows: Sequence[Sequence[str]]) -> str:
    """A table for other programs."""
    return "".join("\t".join(row) + "\n" for row in rows)


def as_markdown(rows: Sequence[Sequence[str]]) -> str:
    """A table for a page: names to the left, numbers to the right."""
    rule = ["---", *["---:"] * (len(rows[0]) - 1)]
    return "".join(f"| {' | '.join(row)} |\n" for row in [rows[0], rule, *rows[1:]])


def write_demo(folder: Path) -> tuple[Path, Path]:
    """A small corpus from the example's grammar."""
    grammar = [sys.executable, str(ROOT / "examples" / "grammar.py"), str(folder)]
    if not (folder / "train.tsv").exists():
        subprocess.run([*grammar, *DEMO_PAIRS], check=True)
    return folder / "train.tsv", folder / "test.tsv"


def command_line() -> argparse.ArgumentParser:
    """The options."""
    about = "Train the family of attentions on one corpus; print weights, time and BLEU of each."
    parser = argparse.ArgumentParser(description=about, epilog="-- OPTION...: to `attn train-mt`")
    parser.add_argument("corpus", nargs="?", help="TSV of pairs (a small grammar's, without one)")
    parser.add_argument("dev", nargs="?", help="TSV of pairs to validate and to measure on")
    parser.add_argument("-o", "--output", default="family", help="folder (%(default)s)")
    parser.add_argument("--max-time", help="of each training, as 90s or 20m (20m; demo: 10s)")
    parser.add_argument("--threads", type=int, default=1, help="of each training (%(default)s)")
    parser.add_argument("--jobs", type=int, default=1, help="trainings at once (%(default)s)")
    parser.add_argument("--only", default=",".join(FAMILY), help="members, by commas (all)")
    parser.add_argument("--markdown", action="store_true", help="print the table as markdown")
    return parser


def parse(arguments: list[str]) -> tuple[argparse.Namespace, list[str]]:
    """The options, and what follows `--`."""
    cut = arguments.index("--") if "--" in arguments else len(arguments)
    parser = command_line()
    options = parser.parse_args(arguments[:cut])
    options.only = [name.strip() for name in options.only.split(",")]
    strange = [name for name in options.only if name not in FAMILY]
    if strange:
        parser.error(f"--only: no {', '.join(strange)} among {', '.join(FAMILY)}")
    if bool(options.corpus) != bool(options.dev):
        parser.error("name both, the corpus and the dev file, or none")
    for path in filter(None, (options.corpus, options.dev)):
        if not Path(path).is_file():
            parser.error(f"{path}: there is no such file")
    if min(options.jobs, options.threads) < 1:
        parser.error("--jobs and --threads begin at 1")
    return options, arguments[cut + 1 :]


class Family:
    """Trains and measures members, some at once.

    Args:
        options: the command line's.
        extra: options of every `attn train-mt`.

    Attributes:
        failures: what went wrong, a line for each member that has no row.
    """

    def __init__(self, options: argparse.Namespace, extra: Sequence[str]) -> None:
        self.failures: list[str] = []
        self._names, self._jobs = options.only, options.jobs
        self._threads = options.threads
        self._folder = Path(options.output)
        self._folder.mkdir(parents=True, exist_ok=True)
        limit = options.max_time or ("20m" if options.corpus else DEMO_TIME)
        self._options = ["--max-time", limit, "--threads", str(options.threads), *extra]
        if options.corpus:
            self._corpus, self.dev = Path(options.corpus), Path(options.dev)
        else:
            self._corpus, self.dev = write_demo(self._folder)
            self._options = [*DEMO_OPTIONS, *self._options]
        path = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
        self._environment = {**os.environ, "PYTHONPATH": path}
        self._running: set[subprocess.Popen[bytes]] = set()
        self._stopped = threading.Event()

    def rows(self) -> list[list[str]]:
        """The rows of the table, of the members that did not fail."""
        pool = ThreadPoolExecutor(self._jobs)
        try:
            return [row for row in pool.map(self._row, self._names) if row]
        finally:
            self._stopped.set()
            for process in list(self._running):
                process.terminate()  # a training saves its state first
            pool.shutdown(cancel_futures=True)

    def _row(self, name: str) -> list[str] | None:
        if self._stopped.is_set():
            return None
        print(f"{name} ...", file=sys.stderr)
        member = Member(name, self._folder, self._environment, self._running)
        try:
            member.train(self._corpus, self.dev, self._options)
            row = row_of(member, self.dev, self._threads)
        except StepError as error:
            self.failures.append(str(error))
            return None
        print(f"{name}: BLEU {row[4]}", file=sys.stderr)
        return row


def main() -> int:
    """Reads the command line."""
    options, extra = parse(sys.argv[1:])
    family = Family(options, extra)
    try:
        rows = family.rows()
    except KeyboardInterrupt:
        return 130
    for failure in family.failures:
        print(f"family: {failure}", file=sys.stderr)
    if rows:
        table = [heading(read_rows(family.dev)), *rows]
        sys.stdout.write(as_markdown(table) if options.markdown else as_tsv(table))
    return 1 if family.failures else 0


if __name__ == "__main__":
    sys.exit(main())
