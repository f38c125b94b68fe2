"""Speed of training: attn and its peers in turns, and the machine's ceiling at the same shapes.

    python examples/benchmarks/speed > speed.md
    python examples/benchmarks/speed --train train.tsv --work tiny d256 --baseline ../attn-before
    python examples/benchmarks/speed decode --help      # the same for decoding

Needs `pip install '.[bench]'` and a machine that does nothing else. Prints a page in Markdown, and
on stderr what each try found. Texts and graph are made where none are given.
"""

from __future__ import annotations

import argparse
import dataclasses
import datetime
import importlib.metadata
import json
import os
import platform
import resource
import shlex
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from importlib import import_module
from pathlib import Path

from machine import commit, hardware
from recordings import N_FEATURES
from work import EXAMPLES, UNITS, WORKS, Measured, Try, Work, prepare

ROOT = EXAMPLES.parent
TEXTS = ("translation", "masked")
LEARNT = (*TEXTS, "speech")
# engine -> its class in its file, and the kinds of work that it does.
ENGINES = {
    "attn": ("attn_engine.Attn", tuple(UNITS)),
    "attn, float32": ("attn_engine.AttnFloat32", LEARNT),
    "attn, AdamW": ("attn_engine.AttnAdamW", LEARNT),
    "attn, a process a thread": ("attn_engine.AttnProcesses", LEARNT),
    "baseline": ("attn_engine.Attn", tuple(UNITS)),
    "transformers": ("transformers_engine.Transformers", TEXTS),
    "torch.nn": ("torch_engine.TorchLoop", ("translation", "speech")),
    "torch.nn, bf16": ("torch_engine.TorchBf16", ("translation", "speech")),
    "torch_geometric": ("geometric_engine.Geometric", ("graph",)),
    "products alone": ("products.Products", TEXTS),
}
CEILING = "products alone"
# Without it, glibc gives memory back at every step and takes it again; attn does this by itself.
TUNED = {"MALLOC_MMAP_MAX_": "0", "MALLOC_TRIM_THRESHOLD_": "100000000000"}
Found = Mapping[str, Sequence[Measured]]  # by engine


def main() -> int:
    if sys.argv[1:2] == ["decode"]:
        import decoding

        return decoding.main(sys.argv[2:])
    options = _options()
    if options.one:
        print(json.dumps(vars(_measure(json.loads(options.one)))))
        return 0
    print("\n".join(head(options)), flush=True)
    whole = True
    changes = {name: getattr(options, name) for name in ("steps", "warmup")}
    changes = {name: number for name, number in changes.items() if number is not None}
    works = {name: dataclasses.replace(WORKS[name], **changes) for name in options.work}
    with tempfile.TemporaryDirectory(prefix="attn-speed-") as folder:
        prepare(Path(folder), works.values(), options)
        for name, work in works.items():
            engines = [engine for engine in options.engine if work.kind in ENGINES[engine][1]]
            found: dict[str, list[Measured]] = {}
            for seed in range(1, options.rounds + 1):
                task = Try(work, folder, options.threads, seed)
                for engine in engines:
                    tried = _in_a_process(engine, task, options.baseline)
                    said = "failed"
                    if tried:
                        found.setdefault(engine, []).append(tried)
                        said = said_rate(work, tried.rate)
                    print(f"{name} {seed} {engine}: {said}", file=sys.stderr, flush=True)
            whole = whole and sum(map(len, found.values())) == len(engines) * options.rounds
            lines = ["", f"## {name}", "", f"{said_work(work)}.", "", *table(work, found)]
            print("\n".join(lines), flush=True)
    return int(not whole)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="speed", description=__doc__.partition("\n")[0])
    parser.add_argument("--work", nargs="+", choices=WORKS, default=list(WORKS))
    parser.add_argument("--engine", nargs="+", choices=ENGINES, default=list(ENGINES))
    parser.add_argument("--baseline", metavar="CHECKOUT", help="another checkout of attn")
    parser.add_argument("--train", metavar="TSV", help="source<TAB>target lines")
    parser.add_argument("--text", metavar="FILE", help="a sentence a line [sources of --train]")
    parser.add_argument("--graph", metavar="DIR", help="nodes.tsv and edges.tsv")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, help="updates (gat: epochs) that are timed [by work]")
    parser.add_argument("--warmup", type=int, help="updates before them [by work]")
    parser.add_argument("--one", help=argparse.SUPPRESS)  # a try, for the process that does it
    options = parser.parse_args()
    if not options.baseline:
        options.engine = [engine for engine in options.engine if engine != "baseline"]
    if options.warmup == 0:
        parser.error("--warmup 0: the first update is always slower")
    return options


def _in_a_process(engine: str, task: Try, baseline: str | None) -> Measured | None:
    """A try in a process of its own; None if it failed, whose words are on stderr."""
    checkout = baseline if engine == "baseline" and baseline else ROOT
    environment = {
        **os.environ,
        **({} if "attn_engine" in ENGINES[engine][0] else TUNED),
        "PYTHONPATH": str(Path(checkout).resolve()),
        "OMP_NUM_THREADS": str(task.threads),
    }
    one = json.dumps({"engine": engine, **dataclasses.asdict(task)})
    command = [sys.executable, Path(__file__).parent, "--one", one]
    start = time.perf_counter()
    run = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True)
    if run.returncode:
        return None
    found = Measured(**json.loads(run.stdout.splitlines()[-1]))
    if task.work.kind == "graph":  # a user waits for the program's start, too
        found.seconds = time.perf_counter() - start
    return found


def _measure(one: dict) -> Measured:
    module, _, name = ENGINES[one.pop("engine")][0].partition(".")
    task = Try(Work(**one.pop("work")), **one)
    found = getattr(import_module(module), name)().measure(task)
    found.megabytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return found


def head(options: argparse.Namespace) -> list[str]:
    """Date, command, versions, hardware, and how it was measured."""
    arguments = [Path(each).name if os.sep in each else each for each in sys.argv[1:]]
    versions = [f"attn {commit(ROOT)}", f"Python {platform.python_version()}"]
    if options.baseline:
        versions.insert(1, f"baseline {commit(options.baseline)}")
    for package in ("torch", "transformers", "torch_geometric"):
        versions.append(f"{package} {importlib.metadata.version(package)}")
    return [
        f"# Speed of training, {datetime.date.today()}",
        "",
        "```sh",
        shlex.join(["python", "examples/benchmarks/speed", *arguments]),
        "```",
        "",
        f"- {', '.join(versions)}.",
        f"- {hardware()}; {options.threads} threads; load {os.getloadavg()[0]:.1f} at the start.",
        f"- Medians of {options.rounds} tries (least to most), each in a process of its own, the "
        "programs in turns.",
        "- Tokens and frames are counted without padding: targets with their end; of BERT, tokens "
        "read.",
        "- attn reads text and files, and is otherwise at its defaults: bf16 where the CPU "
        "multiplies it, Muon. The others get the same text as ids, and normalized frames, cut into "
        "batches by the same rule; float32, fused AdamW, clipping, glibc set to keep memory.",
        f"- {CEILING}: the model's matrix products on the same batches without padding, forward "
        "and backward. GFLOP/s counts these products alone, for every program.",
    ]


def said_work(work: Work) -> str:
    if work.kind == "graph":
        return f"GAT, 2 layers, 8 heads of width 8; {work.steps} epochs, each validated; with start"
    layers = f"{work.n_layers}+{work.n_layers}" if work.kind != "masked" else work.n_layers
    budget = f"{work.batch_tokens:,}-token batches"
    if work.kind == "speech":
        layers = f"two convolutions of {N_FEATURES} features, {layers}"
        budget = f"{4 * work.batch_tokens:,}-frame batches at their own speed"
    return (
        f"d = {work.d_model}, {layers} layers, {work.n_heads} heads, d_ff = {work.d_ff}, "
        f"V = {work.vocab:,}, {budget}; {work.warmup} updates to warm up, {work.steps} timed"
    )


def table(work: Work, found: Found) -> list[str]:
    """Medians of every engine, beside attn and beside the products alone."""
    rates = {name: sorted(each.rate for each in tries) for name, tries in found.items()}
    medians = {name: statistics.median(each) for name, each in rates.items()}
    ours, ceiling = medians.get("attn"), medians.get(CEILING)
    products = found.get(CEILING, [])
    flops = sum(each.flops for each in products) / (sum(each.amount for each in products) or 1)
    columns = [UNITS[work.kind], "attn against it", "of the ceiling", "GFLOP/s", "MB"]
    lines = [f"| | {' | '.join(columns)} |", "| --- |" + " ---: |" * len(columns)]
    for name, median in medians.items():
        least, most = said_rate(work, rates[name][0]), said_rate(work, rates[name][-1])
        cells = [
            f"{said_rate(work, median)} ({least} to {most})",
            f"{ours / median:.2f}" if ours else "",
            f"{median / ceiling:.0%}" if ceiling else "",
            f"{median * flops / 1e9:,.1f}" if ceiling else "",
            f"{max(each.megabytes for each in found[name]):,.0f}",
        ]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    if products:
        big = statistics.median(each.big for each in products) / 1e9
        lines += ["", f"{flops / 1e6:,.1f} MFLOP a token; a product of large matrices makes "]
        lines[-1] += f"{big:,.1f} GFLOP/s."
    return lines


def said_rate(work: Work, rate: float) -> str:
    return f"{1 / rate:.2f}" if work.kind == "graph" else f"{rate:,.0f}"


if __name__ == "__main__":
    sys.exit(main())
