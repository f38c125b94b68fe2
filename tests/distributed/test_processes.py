"""`--processes`: a training that starts others of its kind is the training of one process."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import time
from pathlib import Path

import pytest
from program import COMMAND, ENVIRONMENT, TINY, attn, inside, write_reversal

from attn_cli.models.storage import load_tensors

TWO = ("--processes", 2)
RECIPE = (*TINY, "--type", "bpe", "--vocab-size", 36, "--batch-tokens", 60, "--metric", "loss")


@pytest.fixture
def corpus(tmp_path):
    """Batches of many sizes, some of a single pair: fewer than there are processes."""
    corpus = write_reversal(tmp_path / "train.tsv", 300, seed=6, longest=6)
    with corpus.open("a") as file:
        file.write("banu " * 50 + "\t" + "kevo " * 50 + "\n")
    return corpus


def losses(folder):
    lines = (folder / "train.jsonl").read_text("utf-8").splitlines()
    entries = [json.loads(line) for line in lines]
    return [
        {name: value for name, value in entry.items() if name != "minutes"} for entry in entries
    ]


def without_clock(said):
    return re.sub(r"\d+:\d\d|\([\d,]+ tokens/s\)", "", said).replace("/two", "/one")


@pytest.mark.slow
def test_two_processes_train_as_one(tmp_path, corpus):
    recipe = (*RECIPE, "--dropout", 0, "--max-steps", 50, "--validate-every", 5, "--warmup", 5)
    recipe += ("--precision", "float32")
    one = inside("train-mt", corpus, "-o", tmp_path / "one", *recipe)
    two = attn("train-mt", corpus, "-o", tmp_path / "two", *recipe, *TWO)
    for alone, together in zip(losses(tmp_path / "one"), losses(tmp_path / "two"), strict=True):
        assert together == pytest.approx(alone, abs=1e-5)
    weights = [load_tensors(tmp_path / name / "model.safetensors")[0] for name in ("one", "two")]
    for name, tensor in weights[0].items():
        assert (tensor - weights[1][name]).abs().max() < 1e-4
    # As much is said and written as by one process, and once.
    assert two.out.decode() == f"{tmp_path / 'two'}\n"
    assert without_clock(two.said) == without_clock(one.said)
    names = [
        sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))
        for folder in (tmp_path / "one", tmp_path / "two")
    ]
    assert names[0] == names[1]


def test_what_is_refused_is_refused_as_by_one_process(tmp_path, corpus, monkeypatch):
    bad = tmp_path / "bad.tsv"
    bad.write_text("one column\n")
    output = tmp_path / "model"
    data = attn("train-mt", bad, "-o", output, *TINY, *TWO, status=3)
    assert data.said.count("\n") == 1
    assert "bad.tsv: no tab in it" in data.said
    assert not output.exists()
    for wrong in ("0", "two", "-1", "1025"):
        refused = inside("train-mt", corpus, "--processes", wrong, status=2)
        assert f"attn: --processes {wrong}: a whole number from 1 to 1024, or auto" in refused.said
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    monkeypatch.setattr("torch.backends.mps.is_available", lambda: True)
    refused = inside("train-mt", corpus, "-o", output, *TWO, status=2)
    assert refused.said == "attn: --processes 2: each needs a GPU, and here is one GPU\n"


@pytest.mark.slow
@pytest.mark.parametrize("n", [2, 3])
def test_figures_of_a_validation_are_those_of_one_process(tmp_path, corpus, reversal_model, n):
    """To the last bit, as each process does what one would have done."""
    recipe = ("--init", reversal_model, "--max-steps", 1, "--threads", n, "--device", "cpu")
    recipe = (*recipe, "--dev", write_reversal(tmp_path / "dev.tsv", 230, seed=8))
    inside("train-mt", corpus, "-o", tmp_path / "one", *recipe, "--threads", 1)
    attn("train-mt", corpus, "-o", tmp_path / "many", *recipe, "--processes", n)
    one, many = (losses(tmp_path / name)[0] for name in ("one", "many"))
    assert one["step"] == many["step"] == 0, "the weights that all begin with"
    assert one["dev_bleu"] > 1
    assert many == one


class Running:
    """A training in a process group of its own."""

    def __init__(self, *arguments: object) -> None:
        self.process = subprocess.Popen(
            [*COMMAND, *map(str, arguments)],
            env=ENVIRONMENT,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )

    def wait_for_a_state(self, output: Path) -> None:
        until = time.monotonic() + 300
        while not list(output.glob("checkpoints/state-*")):
            assert self.process.poll() is None and time.monotonic() < until
            time.sleep(0.01)

    def members(self) -> list[int]:
        """Of the processes that it started, those that started no Python of their own."""
        number = self.process.pid
        children = Path(f"/proc/{number}/task/{number}/children").read_text().split()
        return [
            int(child)
            for child in children
            if b"spawn_main" in Path(f"/proc/{child}/cmdline").read_bytes()
        ]

    def end(self) -> tuple[int, str]:
        """Its status, and what it said; nothing that it started outlives it."""
        members = self.members() if self.process.poll() is None else []
        said = self.process.communicate(timeout=300)[1].decode()
        until = time.monotonic() + 10
        while any(map(is_running, members)):
            assert time.monotonic() < until, "a member outlives its training"
            time.sleep(0.05)
        return self.process.returncode, said


LONG = ("--max-steps", 60, "--validate-every", 20, "--save-every", "0.001s", "--dropout", 0.2)


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_to_all_of_them_saves_and_the_same_command_ends_with_the_same_bytes(
    tmp_path, corpus, number
):
    command = ("train-mt", corpus, *RECIPE, *LONG, *TWO, "-o")
    attn(*command, tmp_path / "whole")
    output = tmp_path / "cut"
    running = Running(*command, output)
    running.wait_for_a_state(output)
    os.killpg(running.process.pid, number)
    status, said = running.end()
    assert status == 128 + number
    assert "Traceback" not in said
    assert said.count("attn: stopped after step") == 1
    assert "continuing after step" in attn(*command, output).said
    assert losses(output) == losses(tmp_path / "whole")
    weights = [(tmp_path / name / "model.safetensors").read_bytes() for name in ("cut", "whole")]
    assert weights[0] == weights[1]


@pytest.mark.slow
def test_a_member_that_is_killed_ends_the_training_with_one_line(tmp_path, corpus):
    output = tmp_path / "model"
    running = Running("train-mt", corpus, *RECIPE, *LONG, *TWO, "-o", output)
    running.wait_for_a_state(output)
    os.kill(running.members()[0], signal.SIGKILL)
    status, said = running.end()
    assert status == 1
    assert "Traceback" not in said
    assert said.endswith(
        "attn: process 2 of 2 was ended by SIGKILL; what was saved is intact, and the same command "
        "continues from there (--processes 1 needs less memory)\n"
    )
    said = inside("train-mt", corpus, *RECIPE, *LONG, "-o", output).said
    assert "continuing after step" in said, "as one process"


@pytest.mark.slow
def test_members_end_when_the_first_process_is_killed(tmp_path, corpus):
    output = tmp_path / "model"
    running = Running(
        "train-mt", corpus, *RECIPE, *LONG, "--max-steps", 100_000, *TWO, "-o", output
    )
    running.wait_for_a_state(output)
    members = running.members()
    assert len(members) == 1
    running.process.kill()
    running.process.wait(60)
    until = time.monotonic() + 20
    while is_running(members[0]):
        assert time.monotonic() < until
        time.sleep(0.05)


def is_running(process):
    """Whether it has not ended; one that has may still be there until it is waited for."""
    try:
        stat = Path(f"/proc/{process}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False
    return stat.rsplit(")", 1)[1].split()[0] not in "ZX"


@pytest.mark.slow
@pytest.mark.parametrize("command", ["pretrain", "finetune"])
def test_other_trainings_of_two_processes(tmp_path, command):
    source = write_reversal(tmp_path / "sentences.tsv", 200, seed=2)
    texts = [line.split("\t")[0] for line in source.read_text().splitlines()]
    rows = {"pretrain": texts, "finetune": [f"{text}\t{text[:2]}" for text in texts]}[command]
    data = tmp_path / "data.txt"
    data.write_text("".join(f"{row}\n" for row in rows))
    task = ("--task", "classify") if command == "finetune" else ("--objective", "mlm")
    recipe = (*task, "--size", "tiny", "--vocab-size", 30, "--dropout", 0, "--device", "cpu")
    limits = ("--max-steps", 20, "--validate-every", 5, "--batch-tokens", 200, "--max-len", 30)
    limits = (*limits, "--threads", 1, "--precision", "float32")
    inside(command, data, "-o", tmp_path / "one", *recipe, *limits)
    attn(command, data, "-o", tmp_path / "two", *recipe, *limits, *TWO)
    for alone, together in zip(losses(tmp_path / "one"), losses(tmp_path / "two"), strict=True):
        assert together == pytest.approx(alone, abs=1e-4)
