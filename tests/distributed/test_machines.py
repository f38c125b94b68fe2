"""A training on two machines loses one, which comes back, and ends as if nothing had happened.

A machine is an agent of its own; where the system allows it, one in a network namespace of its own,
with an address, and a cable to a switch: what is lost says no word to the others.
"""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from agents import Agent, free_port, last_step, wait_until, weights
from program import TINY, write_reversal

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux", reason="finds processes by /proc"),
]

RECIPE = (
    *(*TINY, "--type", "bpe", "--vocab-size", 36, "--batch-tokens", 60, "--metric", "loss"),
    *("--warmup", 5, "--validate-every", 20, "--save-every", "0.001s", "--precision", "float32"),
    *("--dropout", 0.2, "--max-steps", 120),
)
# torchrun's own. How soon a machine that says nothing is given up:
ALIVE = "keep_alive_interval=1,keep_alive_max_attempt=3"
# A store of processes for each attempt: the address of the first attempt's is told to no agent that
# comes later (PyTorch 2.13).
APART = {"TORCH_DISABLE_SHARE_RDZV_TCP_STORE": "1"}


@pytest.fixture(scope="module")
def train(tmp_path_factory: pytest.TempPathFactory) -> tuple[object, ...]:
    """A training without its output."""
    place = tmp_path_factory.mktemp("pairs") / "train.tsv"
    corpus = write_reversal(place, 300, seed=6, longest=6)
    return "-m", "attn_cli", "train-mt", corpus, *RECIPE, "-o"


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory, train: tuple[object, ...]) -> bytes:
    """The weights of two processes that lose nobody."""
    output = tmp_path_factory.mktemp("whole")
    agent = Agent("--standalone", "--nproc-per-node", 2, *train, output)
    assert agent.wait() == 0, agent.said
    return weights(output)


def nodes(endpoint: str, is_host: bool) -> tuple[object, ...]:
    place = ("--rdzv-backend", "c10d", "--rdzv-endpoint", endpoint, "--rdzv-id", "x")
    sizes = ("--nnodes", 2, "--nproc-per-node", 1, "--max-restarts", 5)
    return *sizes, *place, "--rdzv-conf", f"{ALIVE},is_host={int(is_host)}"


def lose_and_return(
    agents: list[Agent], output: Path, lose: Callable[[], None], back: Callable[[], Agent]
) -> None:
    """The second of two machines is lost in the middle of their training."""
    try:
        wait_until(lambda: last_step(output) > 20, "step 20", agents)
        lose()
        agents[1] = back()
        assert [agent.wait() for agent in agents] == [0, 0], agents[0].said + agents[1].said
    finally:
        for agent in agents:
            agent.kill()
    assert "continuing after step" in agents[0].said + agents[1].said


def test_a_machine_that_is_lost_and_comes_back(tmp_path, train, undisturbed):
    output, port = tmp_path / "lost", free_port()

    def agent(is_host: bool = False) -> Agent:
        return Agent(*nodes(f"127.0.0.1:{port}", is_host), *train, output, variables=APART)

    agents = [agent(is_host=True), agent()]

    def lose() -> None:
        agents[1].kill()
        time.sleep(1)

    lose_and_return(agents, output, lose, agent)
    assert weights(output) == undisturbed


class Switch:
    """Machines that see one another and nothing else: network namespaces on a bridge."""

    def __init__(self) -> None:
        self._id = uuid.uuid4().hex[:8]
        self._machines: list[str] = []

    def start(self) -> None:
        """Raises OSError where the system does not allow it."""
        self._add("switch")
        self._ip("link", "add", "cable", "type", "bridge", within="switch")
        self._up("switch", "10.77.0.5")

    def plug_in(self, machine: str, address: str) -> None:
        """Puts a machine there, whose interface is called `cable`."""
        self._add(machine)
        port, there = ("name", f"to-{machine}"), ("netns", self._name("switch"))
        self._ip("link", "add", "cable", "type", "veth", "peer", *port, *there, within=machine)
        self._ip("link", "set", f"to-{machine}", "master", "cable", "up", within="switch")
        self._up(machine, address)

    def cut(self, machine: str) -> None:
        """From now on nothing reaches it, or leaves it."""
        self._ip("link", "set", f"to-{machine}", "down", within="switch")

    def scrap(self, machine: str) -> None:
        """A machine is no more; if it was cut off, no word of its end is heard."""
        for number in self._run("ip", "netns", "pids", self._name(machine)).split():
            subprocess.run(["kill", f"-{int(signal.SIGKILL)}", number], check=False)
        port = ("-netns", self._name("switch"), "link", "del", f"to-{machine}")
        subprocess.run(["ip", *port], check=False, capture_output=True)  # the rest takes its time
        self._machines.remove(machine)
        self._run("ip", "netns", "del", self._name(machine))

    def within(self, machine: str) -> list[str]:
        """A command that runs another one on a machine."""
        return ["ip", "netns", "exec", self._name(machine)]

    def close(self) -> None:
        """Leaves nothing."""
        for machine in self._machines[::-1]:
            self.scrap(machine)

    def _add(self, machine: str) -> None:
        self._run("ip", "netns", "add", self._name(machine))
        self._machines.append(machine)
        self._ip("link", "set", "lo", "up", within=machine)

    def _up(self, machine: str, address: str) -> None:
        self._ip("address", "add", f"{address}/24", "dev", "cable", within=machine)
        self._ip("link", "set", "cable", "up", within=machine)

    def _name(self, machine: str) -> str:
        return f"attn-{self._id}-{machine}"

    def _ip(self, *arguments: str, within: str) -> None:
        self._run("ip", "-netns", self._name(within), *arguments)

    def _run(self, *command: str) -> str:
        done = subprocess.run(command, capture_output=True, text=True, timeout=60)
        if done.returncode:
            raise OSError(f"{' '.join(command)}: {done.stderr.strip()}")
        return done.stdout


@pytest.fixture
def switch() -> Iterator[Switch]:
    if not shutil.which("ip"):
        pytest.skip("no `ip` (iproute2) to make network namespaces with")
    made = Switch()
    try:
        try:
            made.start()
        except OSError as error:
            pytest.skip(f"no network namespaces here: {error}")
        yield made
    finally:
        made.close()


# The machine at which they meet, and the one that is lost. torchrun numbers them by addresses.
ADDRESSES = [("10.77.0.1", "10.77.0.2"), ("10.77.0.2", "10.77.0.1")]


@pytest.mark.parametrize(("stays", "goes"), ADDRESSES, ids=["the second", "the first"])
def test_a_machine_that_falls_silent_and_comes_back(
    tmp_path, train, undisturbed, switch, stays, goes
):
    output = tmp_path / "lost"

    def agent(machine: str, address: str) -> Agent:
        switch.plug_in(machine, address)
        return Agent(
            *nodes(f"{stays}:29400", is_host=address == stays),
            *("--local-addr", address),
            *train,
            output,
            within=switch.within(machine),
            variables={**APART, "GLOO_SOCKET_IFNAME": "cable"},
        )

    agents = [agent("a", stays), agent("b", goes)]

    def lose() -> None:
        switch.cut("b")
        time.sleep(1)  # the others wait for it
        switch.scrap("b")
        agents[1].kill()
        time.sleep(5)  # longer than a machine that says nothing is waited for

    lose_and_return(agents, output, lose, lambda: agent("b", goes))
    assert weights(output) == undisturbed
