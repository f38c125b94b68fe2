"""attn as its users run it: its command on text, all options that no row sets at their defaults."""

from __future__ import annotations

import contextlib
import runpy
import shutil
import sys
import time
from collections.abc import Iterator, Mapping

from recordings import FRAMES_A_TOKEN
from work import CTC_WEIGHT, DROPOUT, LENGTH, Engine, Measured, Try


class Attn(Engine):
    """`attn train-mt`, `pretrain` or `finetune`; every update's end is told by its monitor."""

    def own(self, task: Try) -> Mapping[str, object]:
        """Options of this engine."""
        return {}

    def measure(self, task: Try) -> Measured:
        output = task.file("attn-model")
        shutil.rmtree(output, ignore_errors=True)
        options = {"--threads": task.threads, "--seed": task.seed, "--output": output}
        command = arguments(task, {**options, **self.own(task)})
        start = time.perf_counter()
        with stopwatch() as ends:
            run_attn(command)
        shutil.rmtree(output)
        if task.work.kind == "graph":
            return Measured(1, time.perf_counter() - start)
        ends = ends[task.work.warmup - 1 :]
        amount = sum(tokens for _, tokens in ends[1:])
        if task.work.kind == "speech":
            amount *= FRAMES_A_TOKEN
        return Measured(amount, ends[-1][0] - ends[0][0])


class AttnAdamW(Attn):
    """The same with AdamW, which the peers use."""

    def own(self, task: Try) -> Mapping[str, object]:
        return {"--optimizer": "adamw"}


class AttnFloat32(Attn):
    """The same in float32, where a CPU that multiplies bf16 trains in it."""

    def own(self, task: Try) -> Mapping[str, object]:
        return {"--precision": "float32"}


class AttnProcesses(Attn):
    """The same in as many processes as there are threads, of one thread each."""

    def own(self, task: Try) -> Mapping[str, object]:
        return {"--processes": task.threads}


def arguments(task: Try, options: Mapping[str, object]) -> list[str]:
    """Of the command that does a work."""
    work = task.work
    sizes = {"--d-model": work.d_model, "--d-ff": work.d_ff, "--n-heads": work.n_heads}
    sizes |= {"--dropout": DROPOUT, "--batch-tokens": work.batch_tokens}
    sizes |= {"--tokenizer": task.vocabulary, "--metric": "loss"}
    steps = work.warmup + work.steps  # and one validation, at their end, of next to nothing
    limits = {"--max-steps": steps, "--validate-every": steps}
    if work.kind == "translation":
        layers = {"--n-encoder-layers": work.n_layers, "--n-decoder-layers": work.n_layers}
        options = {**options, **sizes, **layers, **limits, "--dev": task.file("dev.tsv")}
        command = ["train-mt", task.file("pairs.tsv")]
    elif work.kind == "speech":
        layers = {"--n-encoder-layers": work.n_layers, "--n-decoder-layers": work.n_layers}
        # At other speeds tokens would not tell the frames.
        reads = {"--source": "audio", "--speed-perturbation": 0, "--ctc-weight": CTC_WEIGHT}
        options = {**options, **sizes, **layers, **limits, **reads}
        options |= {"--dev": task.file("dev-recordings.tsv")}
        command = ["train-mt", task.file("recordings.tsv")]
    elif work.kind == "masked":
        inputs = {"--n-layers": work.n_layers, "--max-len": LENGTH, "--short-seq": 0}
        options = {**options, **sizes, **inputs, **limits, "--dev": task.file("dev.txt")}
        command = ["pretrain", task.file("text.txt")]
    else:
        options = {**options, "--task": "nodes", "--max-epochs": work.steps, "--patience": 0}
        command = ["finetune", task.file("graph")]
    flags = [each for option in options.items() for each in option]
    return [str(each) for each in (*command, "--quiet", *flags)]


def run_attn(command: list[str]) -> None:
    """The program, in this process."""
    sys.argv = ["attn", *command]
    try:
        runpy.run_module("attn_cli", run_name="__main__")
    except SystemExit as end:
        if end.code:
            raise


@contextlib.contextmanager
def stopwatch() -> Iterator[list[tuple[float, int]]]:
    """When each update ended, and its tokens: targets without padding; of BERT, tokens read.

    This loads PyTorch before the program does, which first sets how threads wait.
    """
    with contextlib.suppress(ImportError):  # an older checkout
        from attn_cli.threads import wait_gently

        wait_gently()
    from attn_cli.train.monitor import Monitor

    ends: list[tuple[float, int]] = []
    step = Monitor.step

    def watched(self: Monitor, progress: object, share_done: float, n_tokens: int) -> None:
        step(self, progress, share_done, n_tokens)
        ends.append((time.perf_counter(), n_tokens))

    Monitor.step = watched
    try:
        yield ends
    finally:
        Monitor.step = step
