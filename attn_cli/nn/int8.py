"""Matrices in 8 bits: as they are stored, and as PyTorch's own kernels multiply them.

A row of W is q s, q whole numbers of -127 to 127 and s the row's scale. A product finds the scale
of its inputs anew each time, one for all rows of x (dynamic quantization): what comes out for a
row depends, within that error, on the others.

Shapes: V outputs, D inputs, R rows.
"""

from __future__ import annotations

import functools
import math
import time
import warnings
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

_MOST = 127
_LEAST = 1 << 13  # numbers in a matrix; smaller ones have no time to gain
_ROWS = 256  # of a measurement
_LARGEST = 512  # outputs and inputs of one, powers of two: there are few of them
_TRIES = 5
_SLOWER = 1.2  # so many times the time of float32 is still no reason against int8: it is noise


def quantize(weight: Tensor) -> tuple[Tensor, Tensor]:
    """The q and s of a matrix, or of a stack of them.

    The largest number of a row becomes 127 or -127, so that q s gives the same q and s.

    Shape: (..., V, D) -> int8 (..., V, D), (..., V).
    """
    weight = weight.detach().float()
    scale = weight.abs().amax(-1) / _MOST
    scale = torch.where(scale > 0, scale, torch.ones_like(scale))  # a row of zeros
    values = (weight / scale[..., None]).round_().clamp_(-_MOST, _MOST)
    return values.to(torch.int8), scale


def dequantize(values: Tensor, scale: Tensor) -> Tensor:
    """W = q s. Shape: (..., V, D), (..., V) -> (..., V, D)."""
    return values.float() * scale[..., None]


def int8_product(weight: Tensor, bias: Tensor | None) -> Callable[[Tensor, bool], Tensor] | None:
    """W x + b in 8 bits; None where this PyTorch, on this machine, is no faster with it.

    Shape: (V, D), (V,) -> a function (..., D) -> (..., V); if its second argument is true, of
    max(0, W x + b).
    """
    outputs, inputs = weight.shape
    fits = weight.device.type == "cpu" and weight.dtype == torch.float32
    if not fits or weight.numel() < _LEAST:
        return None
    if not _pays(*(min(1 << (size.bit_length() - 1), _LARGEST) for size in (outputs, inputs))):
        return None
    return _product(weight, bias)


def _product(weight: Tensor, bias: Tensor | None) -> Callable[[Tensor, bool], Tensor]:
    packed = _packed(weight, bias)
    plain, positive = torch.ops.quantized.linear_dynamic, torch.ops.quantized.linear_relu_dynamic
    reduced = _needs_seven_bits()

    def product(x: Tensor, relu: bool) -> Tensor:
        if not x.numel():  # has no range
            return F.linear(x, weight, bias)
        found: Tensor = (positive if relu else plain)(x, packed, reduced)
        return found

    return product


def _packed(weight: Tensor, bias: Tensor | None) -> torch.ScriptObject:
    """The matrix in the order of the kernels."""
    with torch.inference_mode(False), torch.no_grad(), warnings.catch_warnings():
        # Such tensors will go from PyTorch some day; it then computes in float32, see `_pays`.
        warnings.filterwarnings("ignore", message=".*deprecated.*", category=UserWarning)
        values, scale = quantize(weight)
        zeros = torch.zeros(len(scale), dtype=torch.int64)
        rows = torch._make_per_channel_quantized_tensor(values, scale.double(), zeros, 0)
        bias = None if bias is None else bias.detach().clone()
        packed: torch.ScriptObject = torch.ops.quantized.linear_prepack(rows, bias)
    return packed


@functools.cache
def _needs_seven_bits() -> bool:
    """Whether inputs may have 7 bits alone here.

    Kernels without VNNI add pairs of products of 8 bits in 16, which the largest ones overflow.
    """
    ones = torch.ones(_ROWS, _ROWS)
    found: Tensor = torch.ops.quantized.linear_dynamic(ones, _packed(ones, None), False)
    return not torch.allclose(found, torch.full_like(found, _ROWS), rtol=0.02)


@functools.cache
def _pays(outputs: int, inputs: int) -> bool:
    """Whether int8 products of such matrices are right, and no slower than those of float32."""
    generator = torch.Generator().manual_seed(0)
    weight = torch.randn(outputs, inputs, generator=generator) / math.sqrt(inputs)
    x = torch.randn(_ROWS, inputs, generator=generator)
    try:
        product = _product(weight, None)
        found, seven = product(x, False), _needs_seven_bits()
    except (AttributeError, RuntimeError):  # operators that PyTorch does not promise
        return False
    if bool(((found - F.linear(x, weight)).abs() > error_bound(weight, x, seven=seven)).any()):
        return False
    return _seconds(lambda: product(x, False)) < _SLOWER * _seconds(lambda: F.linear(x, weight))


def error_bound(weight: Tensor, x: Tensor, *, seven: bool) -> Tensor:
    """How far a product in 8 bits may be from W x: every number is off by half a step at most.

    Shape: (V, D), (R, D) -> (R, V).
    """
    low, high = min(0.0, float(x.min())), max(0.0, float(x.max()))
    # 0 is a whole number of steps: the ends of the range may be off by half a step more.
    off_x = (high - low) / (127 if seven else 255)
    off_w = weight.abs().amax(-1) / _MOST / 2  # (V,)
    wide = x.abs().sum(-1, keepdim=True) + off_x * x.shape[-1]  # (R, 1)
    return 1.01 * (off_x * weight.abs().sum(-1) + wide * off_w) + 1e-5


def _seconds(run: Callable[[], Tensor]) -> float:
    """The shortest time of a few tries; the first call is not counted, nor what others compute."""
    run()
    times = []
    for _ in range(_TRIES):
        start = time.thread_time()
        run()
        times.append(time.thread_time() - start)
    return min(times)
