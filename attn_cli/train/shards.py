"""What of a tensor lies in this process."""

from __future__ import annotations

from torch import Tensor, nn


def local(tensor: Tensor) -> Tensor:
    """The part of a sharded tensor (a `DTensor`) that lies here, in its place; any other whole."""
    if type(tensor) in (Tensor, nn.Parameter):
        return tensor
    from torch.distributed.tensor import DTensor  # half a second, which others need not pay

    return tensor.to_local() if isinstance(tensor, DTensor) else tensor
