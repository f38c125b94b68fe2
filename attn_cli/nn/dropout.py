"""Dropout (Srivastava et al. 2014) whose random numbers cost next to nothing on a CPU."""

from __future__ import annotations

import functools

import torch
from torch import Tensor, nn
from torch.nn import functional as F

_POOL = 1 << 22  # mask elements drawn once: 16 MiB


class Dropout(nn.Module):
    """Zeroes each element with probability p and scales the others by 1/(1-p), while training.

    On a CPU drawing a fresh number for each element takes a quarter of a small model's training
    time. There a mask is a stretch of a ring of 2²² mask elements that is drawn once; it begins at
    a place drawn from PyTorch's generator. Each element is still dropped with probability p,
    independently of all others in its mask; of a tensor with more elements than the ring, each
    ring's worth has its own beginning, so that two elements are the same one in 2²² times.
    """

    def __init__(self, p: float) -> None:
        super().__init__()
        self.p = p

    def forward(self, x: Tensor) -> Tensor:
        """Shape: any -> the same."""
        if not self.training or self.p == 0.0:
            return x
        return x * _mask(x, self.p) if x.device.type == "cpu" else F.dropout(x, self.p)

    def extra_repr(self) -> str:
        """Shows p."""
        return f"p={self.p}"


def _mask(x: Tensor, p: float) -> Tensor:
    """0 with probability p, else 1/(1-p), in the type of `x`. Shape: as `x`."""
    pool = _mask_pool(p, x.dtype)
    turns, rest = divmod(x.numel(), _POOL)
    starts = torch.randint(_POOL, (turns + 1,)).tolist()
    if not turns and starts[0] + rest <= _POOL:
        return pool[starts[0] : starts[0] + rest].view(x.shape)
    parts = []
    for start, size in zip(starts, [_POOL] * turns + [rest], strict=True):
        parts += [pool[start : start + size], pool[: max(0, start + size - _POOL)]]
    return torch.cat(parts).view(x.shape)


@functools.cache
def _mask_pool(p: float, dtype: torch.dtype) -> Tensor:
    with torch.inference_mode(False):
        generator = torch.Generator().manual_seed(0)
        return torch.empty(_POOL).bernoulli_(1 - p, generator=generator).div_(1 - p).to(dtype)
