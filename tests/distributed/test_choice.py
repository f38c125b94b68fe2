"""`--processes auto`: begins as one process, measures, and goes on as what was chosen."""

from __future__ import annotations

import importlib.machinery
import math
import shutil
import sys
import time
import types

import pytest
from program import TINY, inside, write_reversal

from attn_cli.errors import AttnError
from attn_cli.memory import available_memory, used_memory
from attn_cli.train import choice
from attn_cli.train.checkpoints import Checkpoints
from attn_cli.train.choice import Chooser, Trial
from attn_cli.train.exchange import LostProcessError
from attn_cli.train.processes import Processes
from attn_cli.train.progress import Progress
from attn_cli.train.team import runs_no_script_again

RECIPE = (*TINY, "--type", "bpe", "--vocab-size", 36, "--batch-tokens", 60, "--metric", "loss")
AUTO = (*RECIPE, "--threads", 2, "--dropout", 0.2, "--validate-every", 50, "--processes", "auto")


@pytest.fixture
def corpus(tmp_path):
    return write_reversal(tmp_path / "train.tsv", 300, seed=6, longest=6)


@pytest.fixture(autouse=True)
def _measures_little(monkeypatch):
    monkeypatch.setattr(choice, "_WORTHWHILE", 0.0)
    monkeypatch.setattr(choice, "_SECONDS", 0.0)


class FakeTeam:
    """A team that comes up when it is told to."""

    def __init__(self, size):
        self.size, self.is_ready = size, False
        self.started = self.closed = False

    def start(self):
        self.started = True

    def assemble(self, processes, progress):
        return Processes(0, self.size, processes.device)

    def close(self):
        self.closed = True


class Told(list):
    def say(self, text):
        self.append(text)

    warn = say


ALONE = Processes(0, 1, None)


def updates(chooser, seconds, left=1000.0, count=8):
    for _ in range(count):
        chooser.timed(10, seconds, left)


@pytest.mark.parametrize(
    ("seconds", "later", "verdict"),
    [(0.9, 1.0, 2), (0.99, 1.0, 1), (1.1, 1.0, 1), (1.1, 1.5, 2), (0.9, 0.8, 1)],
)
def test_it_times_one_process_then_several_then_one_and_chooses(seconds, later, verdict):
    """So that a processor which slows down, or is asked for less, speaks for nobody."""
    teams, told = [], Told()
    chooser = Chooser(2, lambda size: teams.append(FakeTeam(size)) or teams[-1], told)
    assert not chooser.measures
    assert chooser.assemble(ALONE, Progress()) is ALONE
    assert chooser.measures
    updates(chooser, 1.0, count=7)
    assert not teams
    updates(chooser, 1.0, count=5)  # trained on while the others come up
    (team,) = teams
    assert team.started and team.size == 2 and not chooser.joins
    team.is_ready = True
    assert chooser.joins
    assert chooser.assemble(ALONE, Progress()).world == 2
    assert not chooser.joins and not chooser.verdict
    updates(chooser, seconds)
    assert chooser.verdict == 1 and not told
    chooser.part()  # and once more alone, while they wait
    assert not (chooser.verdict or chooser.joins or team.closed)
    updates(chooser, later, count=7)
    assert not told and not chooser.joins
    updates(chooser, later, count=1)
    chosen = "2 processes" if verdict == 2 else "one process"
    alone = 20 / (1.0 + later)
    assert told == [
        f"--processes auto: {chosen}, as measured: one process of 2 threads {alone:.0f} tokens/s, "
        f"2 of 1 thread {10 / seconds:.0f}"
    ]
    assert chooser.joins and not chooser.verdict and team.closed == (verdict == 1)
    assert chooser.assemble(ALONE, Progress()).world == verdict == chooser.verdict
    updates(chooser, 1.0, count=40)
    assert chooser.verdict == verdict and not chooser.joins and len(told) == 1


def test_the_first_updates_are_not_counted_and_a_trial_takes_a_while(monkeypatch):
    monkeypatch.setattr(choice, "_SECONDS", 20.0)
    trial = Trial(1)
    for _ in range(3):
        trial.add(10, 100.0)
    for number in range(20):
        assert not trial.is_over, number
        trial.add(10, 1.0)
    assert trial.is_over and (trial.tokens, trial.seconds) == (200, 20.0)


def test_nobody_is_started_for_a_short_rest_or_without_memory_or_threads(monkeypatch):
    monkeypatch.setattr(choice, "_WORTHWHILE", 300.0)
    for threads, left in ((2, 299.0), (2, math.nan), (1, 1000.0)):
        chooser = Chooser(threads, lambda size: pytest.fail("started"), Told())
        chooser.assemble(ALONE, Progress())
        updates(chooser, 1.0, left, count=40)
    monkeypatch.setattr(choice, "available_memory", lambda: 2.5 * used_memory())
    chooser = Chooser(4, lambda size: pytest.fail("started"), Told())
    chooser.assemble(ALONE, Progress())
    updates(chooser, 1.0, 1000.0, count=40)
    chooser = Chooser(3, FakeTeam, Told())
    chooser.assemble(ALONE, Progress())
    updates(chooser, 1.0, 1000.0)
    assert not chooser.joins  # they come up
    assert used_memory() > 1e8 and available_memory() > 0


def test_what_was_chosen_before_is_taken_up_without_measuring():
    teams = []
    chooser = Chooser(2, lambda size: teams.append(FakeTeam(size)) or teams[-1], Told())
    assert chooser.assemble(ALONE, Progress(processes=3)).world == 3
    assert teams[0].started and not chooser.joins
    updates(chooser, 1.0, count=40)
    chooser.close()
    assert teams[0].closed and not chooser.verdict
    chooser = Chooser(2, lambda size: pytest.fail("started"), Told())
    chooser.assemble(ALONE, Progress(processes=1))
    updates(chooser, 1.0, count=40)


def test_others_that_do_not_come_up_are_given_up():
    class Failing(FakeTeam):
        @property
        def is_ready(self):
            raise AttnError("no room")

        @is_ready.setter
        def is_ready(self, value):
            pass

    told = Told()
    chooser = Chooser(2, Failing, told)
    chooser.assemble(ALONE, Progress())
    updates(chooser, 1.0)
    assert not chooser.joins
    assert told == ["--processes auto: one process goes on: no room"]
    updates(chooser, 1.0, count=40)
    assert not chooser.verdict


def test_one_process_goes_on_where_the_others_do_not_meet_it():
    class Apart(FakeTeam):
        def assemble(self, processes, progress):
            raise LostProcessError("no loopback")

    teams, told = [], Told()
    chooser = Chooser(2, lambda size: teams.append(Apart(size)) or teams[-1], told)
    for progress in (Progress(), Progress(processes=2)):
        chooser.assemble(ALONE, progress)
        updates(chooser, 1.0)
        if not progress.processes:
            assert chooser.assemble(ALONE, progress).world == 1
        assert teams[-1].closed
    updates(chooser, 1.0, count=40)
    assert not chooser.verdict
    assert told == ["--processes auto: one process goes on: no loopback"] * 2


@pytest.fixture
def _waits(monkeypatch):
    """The updates that are made while others come up are none."""
    joins = Chooser.joins

    def waiting(self):
        while self._waits and not joins.fget(self):
            time.sleep(0.01)
        return joins.fget(self)

    monkeypatch.setattr(Chooser, "joins", property(waiting))


@pytest.mark.slow
@pytest.mark.usefixtures("_waits")
def test_others_join_and_a_training_that_continues_ends_with_the_same_bytes(
    tmp_path, corpus, monkeypatch
):
    monkeypatch.setattr(choice, "_GAIN", 0.0)
    save_state, cut = Checkpoints.save_state, tmp_path / "cut"

    def saving(self, step, tensors, meta, processes):
        save_state(self, step, tensors, meta, processes)
        if meta["progress"]["processes"] == 2 and not cut.exists():
            shutil.copytree(self.folder.parent, cut)

    monkeypatch.setattr(Checkpoints, "save_state", saving)
    command = ("train-mt", corpus, *AUTO, "--max-steps", 60, "-o")
    whole = inside(*command, tmp_path / "whole")
    assert whole.said.count("--processes auto: 2 processes, as measured:") == 1
    assert cut.exists()
    again = inside(*command, cut)
    assert "continuing after step" in again.said
    assert "as measured" not in again.said
    weights = [(tmp_path / name / "model.safetensors").read_bytes() for name in ("cut", "whole")]
    assert weights[0] == weights[1]


@pytest.mark.slow
@pytest.mark.usefixtures("_waits")
def test_what_is_chosen_decides_what_is_learnt_not_when(tmp_path, corpus, monkeypatch):
    """Updates that were timed alone are made again by all, so that their number is no matter."""
    monkeypatch.setattr(choice, "_GAIN", 0.0)
    weights = []
    for count in (2, 9):
        monkeypatch.setattr(choice, "_UPDATES", count)
        output = tmp_path / f"after-{count}"
        done = inside("train-mt", corpus, *AUTO, "--max-steps", 30, "-o", output)
        assert "--processes auto: 2 processes, as measured:" in done.said
        assert "finished after 30 steps" in done.said
        weights.append((output / "model.safetensors").read_bytes())
    assert weights[0] == weights[1]


@pytest.mark.slow
@pytest.mark.usefixtures("_waits")
def test_one_process_that_is_faster_learns_as_if_there_had_been_no_others(
    tmp_path, corpus, monkeypatch
):
    monkeypatch.setattr(choice, "_GAIN", math.inf)
    command = ("train-mt", corpus, *AUTO, "--max-steps", 60, "-o")
    done = inside(*command, tmp_path / "auto")
    assert done.said.count("--processes auto: one process, as measured:") == 1
    assert "finished after 60 steps" in done.said
    inside(*command, tmp_path / "one", "--processes", 1)
    files = [(tmp_path / name / "model.safetensors").read_bytes() for name in ("auto", "one")]
    assert files[0] == files[1]


@pytest.mark.slow
@pytest.mark.usefixtures("_waits")
def test_weights_to_start_from_are_validated_once(tmp_path, corpus, monkeypatch):
    """Those who join don't validate what was validated before, and nobody waits for them."""
    monkeypatch.setattr(choice, "_GAIN", 0.0)
    first, steps = tmp_path / "first", ("--max-steps", 30)
    inside("train-mt", corpus, *AUTO, *steps, "--processes", 1, "-o", first)
    again = ("--batch-tokens", 60, "--metric", "loss", "--threads", 2, "--init", first)
    done = inside("train-mt", corpus, *again, *steps, "-o", tmp_path / "second")
    assert "--processes auto: 2 processes, as measured:" in done.said
    assert "finished after 30 steps" in done.said
    assert done.said.count("step 0 ") == 1


def test_a_script_of_a_caller_is_not_run_again(monkeypatch):
    """Processes are spawned, and import the main module: one without a guard would train, too."""
    main = types.ModuleType("__main__")
    monkeypatch.setitem(sys.modules, "__main__", main)
    assert runs_no_script_again()  # a shell or a notebook
    main.__file__ = "/home/me/train.py"
    assert not runs_no_script_again()
    main.__file__ = "/usr/bin/attn"
    assert runs_no_script_again()
    main.__file__, main.__spec__ = "attn_cli/__main__.py", importlib.machinery.ModuleSpec("m", None)
    assert runs_no_script_again()


@pytest.mark.slow
def test_a_dry_run_measures_nothing(tmp_path, corpus, monkeypatch):
    monkeypatch.setattr(choice, "_UPDATES", 0)
    done = inside("train-mt", corpus, *AUTO, "--max-steps", 20, "--dry-run", "-o", tmp_path / "m")
    assert "--processes" not in done.said
