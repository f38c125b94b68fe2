"""Dropout (Srivastava et al. 2014) whose random numbers cost next to nothing on a CPU."""

from __future__ import annotations

import functools

import torch
from torch import Tensor, nn
from torch.autograd.function import FunctionCtx
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

    def of_relu(self, x: Tensor) -> Tensor:
        """Dropout of max(0, x), which on a CPU takes the place of `x`. Shape: any -> the same."""
        if not self.training or self.p == 0.0:
            return F.relu(x)
        if x.device.type != "cpu":
            return self(F.relu(x))
        dropped: Tensor = _DroppedRelu.apply(x, _mask(x, self.p), 1 / (1 - self.p))
        return dropped

    def added(self, x: Tensor, y: Tensor) -> Tensor:
        """Dropout of y added to x. Shape: 2 x the same -> the same."""
        if not self.training or self.p == 0.0:
            return x + y
        if y.device.type != "cpu" or x.dtype != y.dtype:
            return x + self(y)
        return torch.addcmul(x, y, _mask(y, self.p))

    def extra_repr(self) -> str:
        """Shows p."""
        return f"p={self.p}"


class _Context(FunctionCtx):
    """What autograd keeps from the forward pass for the backward pass."""

    saved_tensors: tuple[Tensor, ...]
    scale: float


class _DroppedRelu(torch.autograd.Function):
    """max(0, x) times a mask, in the place of x.

    Where it is above 0, x was, and was not dropped: the way back needs neither x nor the mask, and
    of three tensors as large as x one is kept.
    """

    @staticmethod
    def forward(ctx: _Context, x: Tensor, mask: Tensor, scale: float) -> Tensor:
        """Shape: 2 x the same -> the same; `scale` is the mask's where it is not 0."""
        x.relu_().mul_(mask)
        ctx.mark_dirty(x)
        ctx.save_for_backward(x)
        ctx.scale = scale
        return x

    @staticmethod
    def backward(ctx: _Context, *grads: Tensor) -> tuple[Tensor | None, ...]:
        """The scaled gradient where the output is above 0."""
        (output,) = ctx.saved_tensors
        return torch.ops.aten.threshold_backward(grads[0], output, 0).mul_(ctx.scale), None, None


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


@functools.lru_cache(maxsize=4)  # of a p that has grown, the one before is not needed again
def _mask_pool(p: float, dtype: torch.dtype) -> Tensor:
    with torch.inference_mode(False):
        generator = torch.Generator().manual_seed(0)
        return torch.empty(_POOL).bernoulli_(1 - p, generator=generator).div_(1 - p).to(dtype)
