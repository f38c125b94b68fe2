"""How the threads of one operation wait for each other; standard library only."""

from __future__ import annotations

import os
import sys

# A user's own choice, by any of these, is left as it is.
_CHOICES = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME")


def wait_gently() -> None:
    """Lets threads that wait for the others sleep, where the user has not chosen otherwise.

    By default they spin at the end of every operation. Where another process needs the same
    processor, that is the time in which the thread they wait for can't run. The runtime reads the
    environment once, when PyTorch is loaded: call it before.
    """
    if "torch" not in sys.modules and not any(name in os.environ for name in _CHOICES):
        os.environ["OMP_WAIT_POLICY"] = "passive"
