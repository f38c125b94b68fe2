"""What pages say of the machine and of the code. Imports no PyTorch."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path


def hardware() -> str:
    """What `lscpu` says of the machine."""
    environment = {**os.environ, "LC_ALL": "C"}
    text = subprocess.run(["lscpu"], capture_output=True, text=True, env=environment).stdout
    said = dict(line.split(":", 1) for line in text.splitlines() if ":" in line)
    names = ("Model name", "CPU family", "Model", "CPU(s)", "Thread(s) per core", "L3 cache")
    parts = [f"{name} {said[name].strip()}" for name in names if name in said]
    known = "avx2", "avx512f", "avx512_vnni", "avx512_bf16", "amx_tile"
    flags = [flag for flag in known if flag in said.get("Flags", "").split()]
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return f"{', '.join(parts)}; {' '.join(flags)}; {memory:.0f} GiB"


def commit(checkout: str | Path) -> str:
    """What `git describe` says of a checkout."""
    command = ["git", "-C", checkout, "describe", "--always", "--dirty"]
    return subprocess.run(command, capture_output=True, text=True).stdout.strip() or "unknown"
