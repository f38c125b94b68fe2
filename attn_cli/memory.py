"""What PyTorch says when memory runs out, and glibc's settings that keep a training's memory."""

from __future__ import annotations

import contextlib
import ctypes
import math
import resource
from pathlib import Path

import torch

_M_MMAP_MAX, _M_TRIM_THRESHOLD = -4, -1


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an exception means that an allocation failed, on any device."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return isinstance(error, RuntimeError) and "allocate memory" in str(error)


def keep_freed_memory() -> None:
    """Tells glibc to reuse freed memory instead of giving it back to the system.

    A step of training or search frees and takes the same large blocks again; mapping and zeroing
    them each time costs 7 to 17 % of a CPU training, and half of a beam search. Elsewhere than on
    glibc this does nothing.
    """
    with contextlib.suppress(OSError, AttributeError):
        libc = ctypes.CDLL("libc.so.6")
        libc.mallopt(_M_MMAP_MAX, 0)
        libc.mallopt(_M_TRIM_THRESHOLD, 2**31 - 1)


def used_memory() -> float:
    """Bytes that this process has held at most."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024.0


def available_memory() -> float:
    """Bytes that this machine, or the control group of this process, has to give, about.

    Infinite where the system does not say.
    """
    with contextlib.suppress(OSError, ValueError):
        lines = Path("/proc/meminfo").read_text().splitlines()
        (line,) = (line for line in lines if line.startswith("MemAvailable:"))
        group = Path("/sys/fs/cgroup")
        limit, used = math.inf, 0.0
        with contextlib.suppress(OSError, ValueError):  # none, or no limit
            limit = float((group / "memory.max").read_text())
            used = float((group / "memory.current").read_text())
        return min(int(line.split()[1]) * 1024.0, limit - used)
    return math.inf
