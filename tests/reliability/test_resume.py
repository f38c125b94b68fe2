"""A killed training, started again with the same command, ends with the same bytes."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from lived import RECIPE, Lives, Training, undisturbed
from program import TINY, write_reversal

MOMENTS = {
    "in an accumulation window": 10,  # its second batch of the fifth update
    "in an update": 15,
    "in a validation": 2,
    "after the best weights": 2,
    "after the log": 1,  # before any state of it is saved
    "while a file is written": 9,
    "before a checkpoint is renamed": 12,
    "after a checkpoint": 7,
    "at the end": 1,
}
FAST = ("in an accumulation window", "while a file is written")


def kill_and_continue(kind: str, lives: Lives, training: Training, output: Path) -> None:
    killed = lives.run(*training.into(output), kind=kind, at=MOMENTS[kind])
    assert killed.status == -9, killed.said
    continued = lives.run(*training.into(output))
    assert continued.status == 0, continued.said
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
    output, kills = tmp_path / "out", 0
    for number in range(1, 200):
        life = lives.run(*training.into(output), kind="while a file is written", at=number)
        if life.status == 0:
            break
        assert life.status == -9, life.said
        kills += 1
    assert kills >= 10
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
    output, kills = tmp_path / "out", 0
    whole = lives.run(*command, "-o", tmp_path / "clocked").seconds
    for _ in range(300):
        seconds = clock.uniform(0.1, 0.5) * whole
        life = lives.run(*training.into(output), kind="after a time", seconds=seconds)
        if life.status == 0 and kills >= 10:
            break
        if life.status == 0:
            pytest.fail(f"finished after {kills} kills only: too fast a machine for this test")
        assert life.status == -9, life.said
        kills += 1
    assert training.is_what_became_of(output)
    print(f"seed {seed}: {kills} kills, nothing lost")


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
