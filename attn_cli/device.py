"""Where a model runs: threads and device."""

from __future__ import annotations

import os

import torch

from attn_cli.config.runtime import RuntimeOptions
from attn_cli.errors import UsageError
from attn_cli.memory import available_memory, keep_freed_memory
from attn_cli.ranks import Ranks
from attn_cli.workers import Crew

_WORKER_BYTES = 512 << 20  # that a worker may take for the batches of a model of usual size

_FIRST = 256  # lines; with fewer, a batch that runs out costs more than it gains


def set_up(runtime: RuntimeOptions, local_rank: int | None = None) -> torch.device:
    """Sets seed, threads and memory, and picks the device; `auto` takes a GPU where there is one.

    Args:
        runtime: what was asked for.
        local_rank: which of this machine's GPUs; None: as torchrun says, else the first.

    Raises:
        UsageError: the device is not there.
    """
    keep_freed_memory()
    torch.manual_seed(runtime.seed)
    if runtime.threads:
        torch.set_num_threads(runtime.threads)
    there = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    name = runtime.device
    if name == "auto":
        name = next((kind for kind, here in there.items() if here), "cpu")
    if not there.get(name, True):
        raise UsageError(f"--device {name}: PyTorch sees no such device; use --device cpu")
    if name == "cuda":
        if local_rank is None:
            local_rank = int(os.environ.get("LOCAL_RANK", "0"))
        index = local_rank % torch.cuda.device_count()
        torch.cuda.set_device(index)
        return torch.device("cuda", index)
    return torch.device(name)


def use_int8(precision: str, device: torch.device, *, stored: bool) -> bool:
    """Whether `--precision` means int8 here; `auto` does on a CPU where weights are stored so.

    Raises:
        UsageError: int8 is asked for on another device.
    """
    if precision == "int8" and device.type != "cpu":
        raise UsageError(
            f"--precision int8 is for CPUs, and this is {device}: add --device cpu, or take "
            "--precision bf16"
        )
    return precision == "int8" or (precision == "auto" and stored and device.type == "cpu")


def crew_for(device: torch.device) -> Crew:
    """Who answers the parts of a stream with a model, beside the process that reads it.

    On a CPU one worker for each of its threads, as many as memory allows: one thread for each gets
    more done than all of them within each operation. On a GPU, which is fastest with full windows,
    nobody. Under torchrun, its processes.
    """
    if ranks := Ranks.join():
        return Crew(ranks=ranks)
    if device.type != "cpu":
        return Crew()
    room = available_memory() / _WORKER_BYTES
    return Crew(max(1, int(min(torch.get_num_threads(), room))), _take_one_thread, _FIRST)


def _take_one_thread() -> None:
    torch.set_num_threads(1)


def use_bf16(precision: str, device: torch.device, *, learns: bool = False) -> bool:
    """Whether `--precision` means bfloat16 here.

    `auto` does on GPUs that have it, and in a training on CPUs that multiply it: 1.3 to 1.6 times
    as fast there, to the same quality.

    Args:
        precision: what the user asked for.
        device: where the model runs.
        learns: whether it is trained.
    """
    if precision != "auto":
        return precision == "bf16"
    if device.type == "cpu":
        has = torch.cpu.get_capabilities()
        return learns and bool(has.get("avx512_bf16") or has.get("amx_bf16"))
    return device.type == "cuda" and torch.cuda.is_bf16_supported()
