"""What of a tensor lies in this process."""

from __future__ import annotations

from torch import Tensor


def local(tensor: Tensor) -> Tensor:
    """The part of a sharded tensor (a `DTensor`) that lies here, in its place; any other whole."""
    to_local = getattr(tensor, "to_local", None)
    return tensor if to_local is None else to_local()
