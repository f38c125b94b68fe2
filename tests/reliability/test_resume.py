"""A killed training, started again with the same command, ends with the same bytes."""

from __future__ import annotations

import random
import subprocess
import time
from pathlib import Path

import pytest
from lived import RECIPE, Lives, Training, losses, undisturbed
from program import COMMAND, ENVIRONMENT, TINY, attn, write_reversal

from attn_cli.models.storage import load_tensors

MOMENTS = {
    "in an accumulation window": 10,  # its second batch of the fifth update
    "in an update": 15,
    "in a validation": 2,
    "after the best weights": 2,
    "after the log": 1,  # before any state of it is saved
    "while a file is written": 9,
    "before a checkpoint is renamed": 12,
    "after a checkpoint": 7,
    "at an epoch's end": 1,
    "after a checkpoint at an epoch's end": 1,
    "at the end": 1,
}
FAST = ("in an accumulation window", "while a file is written")


def newest_state(output: Path) -> int:
    """The step of the newest state that is whole, 0 if there is none."""
    steps = [0]
    for path in (output / "checkpoints").glob("state-*.safetensors"):
        load_tensors(path)  # a half written one must never have this name
        steps.append(int(path.stem.removeprefix("state-")))
    return max(steps)


def kill_and_continue(kind: str, lives: Lives, training: Training, output: Path) -> None:
    killed = lives.run(*training.into(output), kind=kind, at=MOMENTS[kind])
    assert killed.status == -9, killed.said
    newest = newest_state(output)
    continued = lives.run(*training.into(output))
    assert continued.status == 0, continued.said
    assert newest > 0 and f"continuing after step {newest}\n" in continued.said
    assert training.is_what_became_of(output)
    assert not list(output.rglob(".*.tmp")), "what was half written is cleared away"


@pytest.mark.parametrize("kind", FAST)
def test_killed_at_a_bad_moment(
    kind: str, lives: Lives, training: Training, tmp_path: Path
) -> None:
    kill_and_continue(kind, lives, training, tmp_path / "out")


@pytest.mark.slow
@pytest.mark.parametrize("kind", [kind for kind in MOMENTS if kind not in FAST])
def test_killed_at_another_bad_moment(
    kind: str, lives: Lives, training: Training, tmp_path: Path
) -> None:
    kill_and_continue(kind, lives, training, tmp_path / "out")


@pytest.mark.slow
def test_killed_at_every_file_it_writes(lives: Lives, training: Training, tmp_path: Path) -> None:
    """Half of the n-th file is on disk when the process dies, for every n, in one training."""
    output, kills, newest = tmp_path / "out", 0, 0
    for number in range(1, 200):
        life = lives.run(*training.into(output), kind="while a file is written", at=number)
        assert not newest or f"continuing after step {newest}\n" in life.said
        if life.status == 0:
            break
        assert life.status == -9, life.said
        assert newest_state(output) >= newest, "an old state goes when the new one is safe"
        newest = newest_state(output)
        kills += 1
    assert kills >= 8
    assert newest > 0
    print(f"{kills} kills, nothing lost")
    assert training.is_what_became_of(output)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
def test_killed_at_random_moments(seed: int, lives: Lives, tmp_path: Path) -> None:
    """At least ten kills each, of a training long enough to die anywhere in it."""
    corpus = write_reversal(tmp_path / "t.tsv", 700, seed=seed, longest=8)
    limits = ("--max-steps", 150, "--validate-every", 25, "--save-every", "0.1s")
    command = ("train-mt", corpus, *TINY, *RECIPE, *limits, "--seed", seed + 1)
    training = undisturbed(lives, tmp_path, command)
    clock = random.Random(seed)
    output, kills = tmp_path / "0", 0
    whole = lives.run(*command, "-o", tmp_path / "clocked").seconds
    for _ in range(300):
        seconds = clock.uniform(0.1, 0.6) * whole
        life = lives.run(*training.into(output), kind="after a time", seconds=seconds)
        if life.status == 0:
            assert training.is_what_became_of(output)
            if kills >= 10:
                break
            output = tmp_path / str(kills)  # a fast machine is done sooner: once more
        else:
            assert life.status == -9, life.said
            kills += 1
    assert kills >= 8
    print(f"seed {seed}: {kills} kills, nothing lost")


@pytest.mark.slow
def test_a_process_of_two_threads_is_killed_again_and_again(tmp_path: Path) -> None:
    """No forks, nothing arranged: the program as a user starts it, and `kill -9`."""
    corpus = write_reversal(tmp_path / "t.tsv", 700, seed=8, longest=8)
    limits = ("--max-steps", 60, "--validate-every", 10, "--save-every", "0.0001s")
    command = ("train-mt", corpus, *TINY, "--threads", 2, *RECIPE, *limits, "-o")
    attn(*command, tmp_path / "whole")
    clock, output = random.Random(1), tmp_path / "out"
    for kill in range(6):
        process = subprocess.Popen(
            [*COMMAND, *map(str, command), str(output)],
            env=ENVIRONMENT,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        until = newest_name(output) + clock.randint(1, 8)
        while newest_name(output) < until and process.poll() is None:
            time.sleep(0.002)
        time.sleep(clock.uniform(0, 0.03))
        process.kill()
        assert process.wait(60) == -9, f"alive at kill {kill + 1}"
    said = attn(*command, output).said
    assert "continuing after step" in said
    assert losses(output) == losses(tmp_path / "whole")
    weights = [(tmp_path / name / "model.safetensors").read_bytes() for name in ("out", "whole")]
    assert weights[0] == weights[1]


def newest_name(output: Path) -> int:
    """The step that the newest state's name says, while a training runs."""
    names = [path.name for path in (output / "checkpoints").glob("state-*.safetensors")]
    return max((int(name[6:15]) for name in names), default=0)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["before the log is cut", "after the log is cut"])
def test_killed_while_it_continues(
    kind: str, lives: Lives, training: Training, tmp_path: Path
) -> None:
    """The log is a validation ahead of the state: the validation will be made and logged again."""
    output = tmp_path / "out"
    lives.run(*training.into(output), kind="after the log", at=3)
    assert len(losses(output)) == 3
    assert lives.run(*training.into(output), kind=kind).status == -9
    assert len(losses(output)) == (3 if kind.startswith("before") else 2)
    assert lives.run(*training.into(output)).status == 0
    assert training.is_what_became_of(output)


def test_the_log_of_a_continued_run_may_be_gone(
    lives: Lives, training: Training, tmp_path: Path
) -> None:
    output = tmp_path / "out"
    lives.run(*training.into(output), kind="after a checkpoint", at=14)
    (output / "train.jsonl").write_bytes(b'{"step": 6, "ep')
    done = lives.run(*training.into(output))
    assert done.status == 0, done.said
    assert "train.jsonl: lines of earlier validations are missing" in done.said
    assert (output / "model.safetensors").read_bytes() == training.weights
    text = (output / "train.jsonl").read_text()
    assert text.startswith('{"step": ') and text.endswith("}\n") and '"ep{' not in text
