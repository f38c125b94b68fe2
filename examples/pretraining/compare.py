"""What pre-training is worth: each objective for the same minutes, then the same fine-tuning.

    python3 examples/pretraining/compare.py out --text novels.txt.gz --max-time 20m \\
        --task sst2 classify sst2/train.tsv sst2/dev.tsv sentence,label \\
        --task sick pair sick/train.tsv sick/dev.tsv sentence_a,sentence_b,entailment \\
        --task ewt tag ewt/train.tsv ewt/dev.tsv 1,2

For each seed: an encoder from every objective by `attn pretrain`, each with the same tokenizer,
size and time, and a model of every task from each of them, and from random weights (scratch), by
`attn finetune`. On stdout a markdown table of the dev accuracies, mean and standard deviation over
seeds; each result as soon as it is there in OUT/results.tsv. The dev files also choose the best
weights, for all rows alike. Run it again after a stop: what is finished is not trained again.
Standard library only.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import statistics
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SCRATCH = "scratch"
OBJECTIVES = ("mlm", "mlm+nsp", "rtd")
METRIC = "accuracy"


class StepError(Exception):
    """A step failed: what it was, its status, where it said why."""


@dataclass(frozen=True)
class Task:
    """What is learnt from labelled texts, as `attn finetune` takes it."""

    name: str
    kind: str
    train: str
    dev: str
    columns: str


@dataclass(frozen=True)
class Result:
    """How well a task was learnt from an encoder."""

    start: str
    seed: int
    task: str
    accuracy: float
    steps: int  # of the pre-training
    seconds: float  # of the pre-training


def command_line() -> argparse.ArgumentParser:
    """The options."""
    about = "Pre-train by each objective for the same time, fine-tune, print the dev accuracies."
    parser = argparse.ArgumentParser(description=about)
    parser.add_argument("output", help="folder of models and results")
    parser.add_argument("--text", nargs="+", required=True, help="documents to pre-train on")
    names = ("NAME", "KIND", "TRAIN", "DEV", "COLUMNS")
    about = "what to fine-tune on; repeat it"
    parser.add_argument(
        "--task", nargs=5, action="append", required=True, metavar=names, help=about
    )
    parser.add_argument("--objectives", default=",".join(OBJECTIVES), help="(%(default)s)")
    also = "another row: options of attn pretrain, quoted; repeat it"
    parser.add_argument(
        "--also", nargs=2, action="append", default=[], metavar=("NAME", "OPTIONS"), help=also
    )
    parser.add_argument("--seeds", default="1,2,3", help="by commas (%(default)s)")
    parser.add_argument("--size", default="mini", help="of all models (%(default)s)")
    parser.add_argument("--vocab-size", help="of the tokenizer of all models (by size)")
    parser.add_argument("--max-time", default="20m", help="of each pre-training (%(default)s)")
    parser.add_argument("--pretrain", default="", help="further options of attn pretrain, quoted")
    parser.add_argument("--finetune", default="", help="further options of attn finetune, quoted")
    parser.add_argument(
        "--scratch", default="", help="of attn finetune from random weights, as --max-time 20m"
    )
    return parser


class Comparison:
    """Trains what the table needs.

    Args:
        options: the command line's.
    """

    def __init__(self, options: argparse.Namespace) -> None:
        self.options = options
        self.folder = Path(options.output)
        self.folder.mkdir(parents=True, exist_ok=True)
        self.tasks = [Task(*task) for task in options.task]
        self.seeds = [int(seed) for seed in options.seeds.split(",")]
        chosen = {name: f"--objective {name}" for name in options.objectives.split(",")}
        self._pretraining = {**chosen, **dict(options.also)}
        self.starts = [SCRATCH, *self._pretraining]
        path = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
        self._environment = {**os.environ, "PYTHONPATH": path}

    def results(self) -> Iterator[Result]:
        """Seed by seed, so that a part of them is a comparison already."""
        for seed in self.seeds:
            encoders = {start: self.encoder(start, seed) for start in self.starts[1:]}
            for task in self.tasks:
                for start in self.starts:
                    yield self.result(start, seed, task, encoders.get(start))

    def encoder(self, start: str, seed: int) -> Path:
        """The directory of a pre-trained encoder; all of them have the tokenizer of one."""
        place = self.folder / f"{start}-{seed}"
        own = shlex.split(self._pretraining[start])
        given = (*own, "--size", self.options.size, "--seed", seed)
        limit = ("--max-time", self.options.max_time, "--tokenizer", self.tokenizer())
        more = shlex.split(self.options.pretrain)
        self.attn("pretrain", *self.options.text, *given, *limit, *more, "-o", place)
        return place

    def tokenizer(self) -> Path:
        """The directory of a model whose tokenizer all others have."""
        place = self.folder / "tokenizer"
        given = ("--objective", "mlm", "--size", self.options.size, "--max-steps", 1)
        more = shlex.split(self.options.pretrain)
        if self.options.vocab_size:
            more += ["--vocab-size", self.options.vocab_size]
        self.attn("pretrain", *self.options.text, *given, *more, "-o", place)
        return place

    def result(self, start: str, seed: int, task: Task, encoder: Path | None) -> Result:
        """Fine-tunes, and reads how good it was."""
        place = self.folder / f"{task.name}-{start}-{seed}"
        given = [task.train, "--dev", task.dev, "--task", task.kind, "--columns", task.columns]
        more = shlex.split(self.options.finetune)
        if encoder:
            given += ["--init", encoder]
        else:
            given += ["--size", self.options.size, "--tokenizer", self.tokenizer()]
            more += shlex.split(self.options.scratch)
        self.attn("finetune", *given, "--seed", seed, "-o", place, *more)
        best = [entry for entry in read_log(place) if entry["best"]][-1]
        last = read_log(encoder)[-1] if encoder else {"step": 0, "minutes": 0.0}
        found = float(best[f"dev_{METRIC}"])
        return Result(start, seed, task.name, found, last["step"], 60 * last["minutes"])

    def attn(self, *arguments: object) -> None:
        """Runs a command; what it says goes to OUT/log.

        Raises:
            StepError: it failed.
        """
        words = [str(argument) for argument in arguments]
        with (self.folder / "log").open("ab") as log:
            log.write(f"+ attn {shlex.join(words)}\n".encode())
            log.flush()
            command = [sys.executable, "-m", "attn_cli", *words]
            status = subprocess.call(command, stdout=log, stderr=log, env=self._environment)
        if status:
            raise StepError(f"attn {shlex.join(words)}: status {status}; see {log.name}")


def read_log(model: Path) -> list[dict[str, float]]:
    """The validations of a training."""
    lines = (model / "train.jsonl").read_text("utf-8").splitlines()
    return [json.loads(line) for line in lines]


def as_markdown(results: list[Result], starts: list[str], tasks: list[str]) -> str:
    """A row for each way to start: mean and standard deviation of each task over the seeds."""
    lines = [["start", "seeds", "steps", "seconds", *tasks], ["---", *["---:"] * (3 + len(tasks))]]
    for start in starts:
        of_start = [result for result in results if result.start == start]
        if not of_start:
            continue
        runs = {result.seed: result for result in of_start}.values()
        row = [start, str(len(runs))]
        row.append(f"{statistics.mean(run.steps for run in runs):,.0f}")
        row.append(f"{statistics.mean(run.seconds for run in runs):,.0f}")
        for task in tasks:
            row.append(said([r.accuracy for r in of_start if r.task == task]))
        lines.append(row)
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def said(figures: list[float]) -> str:
    """Mean and standard deviation."""
    if not figures:
        return ""
    spread = f" ± {statistics.stdev(figures):.4f}" if len(figures) > 1 else ""
    return f"{statistics.mean(figures):.4f}{spread}"


def main() -> int:
    """Reads the command line."""
    comparison = Comparison(command_line().parse_args())
    results: list[Result] = []
    status = 0
    try:
        with (comparison.folder / "results.tsv").open("w", encoding="utf-8") as file:
            for result in comparison.results():
                results.append(result)
                fields = [result.start, result.seed, result.task, f"{result.accuracy:.6f}"]
                print(*fields, sep="\t", file=file, flush=True)
                print(*fields, file=sys.stderr)
    except StepError as error:
        print(f"compare: {error}", file=sys.stderr)
        status = 1
    names = [task.name for task in comparison.tasks]
    sys.stdout.write(as_markdown(results, comparison.starts, names))
    return status


if __name__ == "__main__":
    sys.exit(main())
