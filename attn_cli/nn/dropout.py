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
    time. There a mask is a window, at an offset drawn from PyTorch's generator, of a pool of masks
    that is drawn once. Each element is still dropped with probability p, independently of all
    others in its mask.
    """

    def __init__(self, p: float) -> None:
        super().__init__()
        self.p = p

    def forward(self, x: Tensor) -> Tensor:
        """Shape: any -> the same."""
        if not self.training or self.p == 0.0:
            return x
        if x.device.type != "cpu" or x.numel() > _POOL // 2:
            return F.dropout(x, self.p)
        pool = _mask_pool(self.p)
        first = int(torch.randint(_POOL - x.numel() + 1, ()))
        return x * pool[first : first + x.numel()].view(x.shape).to(x.dtype)

    def extra_repr(self) -> str:
        """Shows p."""
        return f"p={self.p}"


@functools.cache
def _mask_pool(p: float) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.empty(_POOL).bernoulli_(1 - p, generator=generator).div_(1 - p)
