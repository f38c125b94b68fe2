"""What the environment says of this process: its threads, and its rank; standard library only."""

from __future__ import annotations

import os
import sys

# A user's own choice, by any of these, is left as it is.
_CHOICES = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME")
_SPINS = 1500  # microseconds: about what lies between two operations


def rank() -> int:
    """The number of this process among those that torchrun started; 0, too, without others."""
    return int(os.environ.get("RANK", "0"))


def on_this_machine(threads: int) -> int:
    """The threads of all ranks here together, of which the others wait, given those of one."""
    return threads * int(os.environ.get("LOCAL_WORLD_SIZE", "1"))


def says_usage() -> bool:
    """Whether this process says how it was called wrongly: rank 0, when it is first started."""
    return not rank() and os.environ.get("TORCHELASTIC_RESTART_COUNT", "0") == "0"


def at_hand(wanted: int | None) -> int:
    """How many threads, or processes of one thread, there may be.

    Args:
        wanted: `--threads`. None: $OMP_NUM_THREADS, else one for each processor that is ours.
    """
    said = os.environ.get("OMP_NUM_THREADS", "")
    if wanted is None and said.isdecimal() and int(said):
        return int(said)
    ours = len(os.sched_getaffinity(0)) if sys.platform == "linux" else 1
    return wanted or ours


def wait_gently() -> None:
    """Lets threads that wait for the others soon sleep, where the user has not chosen otherwise.

    By default they spin at the end of every operation. Where another process needs the same
    processor, that is the time in which the thread they wait for can't run. To sleep at once costs
    a fifth on a quiet machine, which must wake them again; GNU's runtime is told a number of turns
    between (`examples/benchmarks/real_inputs.md` has the figures). The runtime reads the
    environment once, when PyTorch is loaded: call it before.
    """
    if "torch" not in sys.modules and not any(name in os.environ for name in _CHOICES):
        os.environ["OMP_WAIT_POLICY"] = "passive"
        os.environ["GOMP_SPINCOUNT"] = str(_SPINS)
