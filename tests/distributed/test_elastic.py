"""A training under torchrun loses processes, and ends as if nothing had happened."""

from __future__ import annotations

import datetime
import os
import signal
import socket
import sys
import threading
from pathlib import Path

import pytest
import torch.distributed as dist
from agents import Agent, last_step, wait_until, weights
from program import TINY, inside, write_reversal

from attn_cli.errors import AttnError
from attn_cli.models.storage import load_tensors
from attn_cli.rendezvous import afresh

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="finds processes by /proc")

TWO = ("--standalone", "--nproc-per-node", 2)
RECIPE = (
    *(*TINY, "--type", "bpe", "--vocab-size", 36, "--batch-tokens", 60, "--metric", "loss"),
    *("--warmup", 5, "--validate-every", 20, "--save-every", "0.001s", "--precision", "float32"),
)


@pytest.fixture
def corpus(tmp_path):
    return write_reversal(tmp_path / "train.tsv", 300, seed=6, longest=6)


def kill_once_past(agent: Agent, output: Path, step: int, rank: int) -> None:
    def strikes() -> bool:
        number = agent.ranks().get(rank) if last_step(output) > step else None
        if number:
            os.kill(number, signal.SIGKILL)
        return bool(number)

    wait_until(strikes, f"step {step}", [agent])


def test_a_worker_that_is_killed_comes_back_and_nothing_is_lost(tmp_path, corpus):
    recipe = (*RECIPE, "--dropout", 0, "--max-steps", 60)
    output = tmp_path / "two"
    run = ("--max-restarts", 2, "-m", "attn_cli", "train-mt", corpus, "-o", output)
    agent = Agent(*TWO, *run, *recipe)
    try:
        kill_once_past(agent, output, 5, rank=1)
        assert agent.wait() == 0, agent.said
    finally:
        agent.kill()
    assert "continuing after step" in agent.said
    assert "Traceback" not in agent.said
    inside("train-mt", corpus, "-o", tmp_path / "one", *recipe)
    one, two = (load_tensors(tmp_path / name / "model.safetensors")[0] for name in ("one", "two"))
    for name, tensor in one.items():
        assert (tensor - two[name]).abs().max() < 1e-4


@pytest.mark.slow
def test_twenty_kills_leave_the_bytes_of_an_undisturbed_run(tmp_path, corpus):
    recipe = (*RECIPE, "--dropout", 0.2, "--max-steps", 260)
    run = ("-m", "attn_cli", "train-mt", corpus, *recipe, "-o")
    whole = Agent(*TWO, *run, tmp_path / "whole")
    assert whole.wait() == 0, whole.said
    output = tmp_path / "killed"
    agent = Agent(*TWO, "--max-restarts", 20, *run, output)
    try:
        for number in range(20):
            kill_once_past(agent, output, last_step(output) + 2, rank=number % 2)
        assert agent.wait() == 0, agent.said
    finally:
        agent.kill()
    assert agent.said.count("continuing after step") >= 19  # one may fall before the first state
    assert weights(output) == weights(tmp_path / "whole")


@pytest.mark.slow
def test_a_process_that_does_not_come_is_named_with_the_step(tmp_path, corpus):
    output = tmp_path / "model"
    run = ("-m", "attn_cli", "train-mt", corpus, "-o", output, *RECIPE, "--max-steps", 100_000)
    agent = Agent(*TWO, *run, "--rank-timeout", "2s")
    try:
        wait_until(lambda: last_step(output) > 2 and 1 in agent.ranks(), "step 2", [agent])
        stopped = agent.ranks()[1]
        os.kill(stopped, signal.SIGSTOP)
        wait_until(lambda: "--rank-timeout" in agent.said, "the message", [agent], 60)
        os.kill(stopped, signal.SIGCONT)  # torchrun then ends it
        assert agent.wait() != 0
    finally:
        agent.kill()
    (line,) = (line for line in agent.said.splitlines() if "--rank-timeout" in line)
    assert line.startswith("attn: step ")
    assert f"rank 1 (on {socket.gethostname()}) of 2 did not come within 2 s" in line
    assert "attn_cli/" not in agent.said, "no traceback but torchrun's own"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("wrong", "status", "message"),
    [
        (["--no-such-option"], 2, "No such option: --no-such-option"),
        (["--batch-tokens", "many"], 2, "'many' is not a valid integer"),
        (["--metric", "love"], 2, "--metric: 'love' is not one of"),
        (["--processes", 2], 2, "torchrun has started 2 processes already"),
        (["--init", "nowhere"], 2, "nowhere"),
        (["--dev", "none.tsv"], 2, "none.tsv"),
        (["--columns", "1,9"], 3, "300 unusable lines: nothing is trained"),
    ],
)
def test_what_is_refused_is_said_once_and_not_tried_again(tmp_path, corpus, wrong, status, message):
    run = ("-m", "attn_cli", "train-mt", corpus, "-o", tmp_path / "model", *TINY, *wrong)
    agent = Agent(*TWO, "--max-restarts", 2, *run)
    try:
        assert agent.wait(120) == 1  # torchrun's own
    finally:
        agent.kill()
    assert agent.said.count(message) == 1, agent.said
    assert f"exitcode  : {status} (pid" in agent.said  # of the first; torchrun may end the other
    assert "attn_cli/" not in agent.said, "no traceback but torchrun's own"


WAIT = datetime.timedelta(seconds=20)


def meeting(run: dist.Store, world: int) -> list[object]:
    """What each rank is given, in threads."""
    found: list[object] = [None] * world

    def come(rank: int) -> None:
        try:
            found[rank] = afresh(run, rank, world, WAIT)
        except AttnError as error:
            found[rank] = error

    threads = [threading.Thread(target=come, args=(rank,)) for rank in range(world)]
    for thread in reversed(threads):  # rank 0 last: what others ask has to wait for it
        thread.start()
    for thread in threads:
        thread.join()
    return found


def test_every_attempt_has_a_store_of_its_own():
    run = dist.HashStore()
    for attempt, world in enumerate((3, 3, 2, 4)):
        stores = meeting(run, world)
        assert not any(isinstance(store, AttnError) for store in stores)
        for store in stores:
            assert not store.check(["address"]), "nothing of the attempts before"
        stores[-1].set("address", str(attempt))
        assert [store.get("address") for store in stores] == [str(attempt).encode()] * world


def test_a_rank_that_does_not_come_is_named():
    run = dist.HashStore()
    meeting(run, 3)  # whose ranks have died: what they asked still stands there
    with pytest.raises(AttnError, match="of 3 ranks these did not come within 0.2 s: 1, 2;"):
        afresh(run, 0, 3, datetime.timedelta(seconds=0.2))
