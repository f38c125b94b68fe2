"""Integrated gradients: how much of an output each vector of the input adds.

Attention says where a model looks, not what it makes of it; attributions sum to what the input
changes in the output.

Shapes: m points on the way, C outputs, D width of a vector; "*" is any shape of vectors.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

TOLERANCE = 0.01  # of the change, by which the attributions may miss it
_LEAST_CHANGE = 0.01  # a smaller one counts as this: what is nothing can't be divided
_POINTS = 8  # of a part of the way
_PARTS = 4  # that the way begins with, and that are computed in one pass
_SPLIT = 8  # parts that are halved at a time
_MOST = 192  # parts that are computed
_SHORTEST = 1e-6  # part that is halved: below it the output jumps


class Attributions(NamedTuple):
    """What vectors add to outputs.

    Attributes:
        values: of each output and vector. Shape: (C, *).
        change: f(x) - f(x'), to which they sum. Shape: (C,).
    """

    values: Tensor
    change: Tensor

    @property
    def gaps(self) -> Tensor:
        """By how much the sum of each output's attributions misses its change. Shape: (C,)."""
        return (self.values.flatten(1).sum(1) - self.change).abs()

    @property
    def missed(self) -> float:
        """The largest gap as a part of its output's change."""
        return float((self.gaps / self.change.abs().clamp_min(_LEAST_CHANGE)).max())


def integrated_gradients(
    outputs: Callable[[Tensor], Tensor], x: Tensor, baseline: Tensor
) -> Attributions:
    """(x - x') ∫₀¹ ∂f(x' + α (x - x')) / ∂x dα (Sundararajan et al. 2017, eq. 1).

    Over each part of the way the integral is Gauss and Legendre's sum, and what it should sum to is
    known: f at the part's end minus f at its beginning (proposition 1, completeness). Parts that
    miss that most are halved until the whole is complete, or `_MOST` parts were computed. The
    paper's sum of equal steps (eq. 3) needs many more where f turns sharply, as by an attention
    that is sure of itself.

    Args:
        outputs: f, of m inputs at once. Shape: (m, *, D) -> (m, C).
        x: the input. Shape: (*, D).
        baseline: x', an input that says nothing. Shape: (*, D).
    """
    edges = [number / _PARTS for number in range(_PARTS + 1)]
    parts = _computed(outputs, x, baseline, list(zip(edges[:-1], edges[1:], strict=True)))
    count = len(parts)
    while True:
        change = torch.stack([part.change for part in parts]).sum(0)
        found = Attributions(torch.stack([part.values for part in parts]).sum(0), change)
        scale = change.abs().clamp_min(_LEAST_CHANGE)
        parts.sort(key=lambda part: part.gap(scale))
        worst = [part for part in parts[-_SPLIT:] if part.end - part.begin > _SHORTEST]
        if found.missed <= TOLERANCE or count >= _MOST or not worst:
            return found
        spans = []
        for part in worst:
            middle = (part.begin + part.end) / 2
            spans += [(part.begin, middle), (middle, part.end)]
            parts.remove(part)
        parts += _computed(outputs, x, baseline, spans)
        count += len(spans)


@dataclass(eq=False)
class _Part:
    """The integral from one α to another.

    Attributes:
        begin: α.
        end: α.
        values: see `Attributions`.
        change: what they should sum to.
    """

    begin: float
    end: float
    values: Tensor
    change: Tensor

    def gap(self, scale: Tensor) -> float:
        """By how much they miss it, in units of each output's scale, at worst."""
        return float(((self.values.flatten(1).sum(1) - self.change).abs() / scale).max())


def _computed(
    outputs: Callable[[Tensor], Tensor],
    x: Tensor,
    baseline: Tensor,
    spans: Sequence[tuple[float, float]],
) -> list[_Part]:
    """The integrals over parts of the way."""
    nodes, weights = np.polynomial.legendre.leggauss(_POINTS)  # of -1 to 1
    difference = x - baseline
    parts = []
    for first in range(0, len(spans), _PARTS):
        some = np.asarray(spans[first : first + _PARTS])  # (parts, 2)
        widths = some[:, 1] - some[:, 0]
        alphas = some[:, :1] + widths[:, None] * (nodes + 1) / 2  # (parts, points)
        shares = x.new_tensor(widths[:, None] * weights / 2)
        with torch.no_grad():
            ends = outputs(baseline + _column(x, some) * difference)
        changes = ends.view(len(some), 2, -1).diff(dim=1)[:, 0]
        with torch.enable_grad():
            points = (baseline + _column(x, alphas) * difference).requires_grad_()
            sums = outputs(points).sum(0)  # a point's gradient is that of its own output alone
            rows = []
            for number, output in enumerate(sums.unbind()):
                again = number + 1 < len(sums)
                (gradient,) = torch.autograd.grad(output, points, retain_graph=again)
                terms = (gradient * difference).sum(-1).unflatten(0, shares.shape)
                rows.append((_column(x, shares, terms.dim()) * terms).sum(1))  # (parts, *)
        values = torch.stack(rows, 1).detach()
        for (begin, end), own, change in zip(some.tolist(), values, changes, strict=True):
            parts.append(_Part(begin, end, own, change))
    return parts


def _column(x: Tensor, numbers: NDArray[np.float64] | Tensor, dim: int = 0) -> Tensor:
    """Numbers that are multiplied with tensors of `x`'s kind: one for each, or of `dim` axes."""
    column = torch.as_tensor(numbers, dtype=x.dtype, device=x.device)
    if dim:
        return column.view(*column.shape, *[1] * (dim - column.dim()))
    return column.reshape(-1, *[1] * x.dim())


@contextmanager
def in_place_of(module: nn.Module, vectors: Tensor) -> Iterator[None]:
    """A context in which a module answers with these vectors, whatever it is given."""
    handle = module.register_forward_hook(lambda called, given, answer: vectors)
    try:
        # cuDNN's recurrent kernels have no gradient outside of training.
        with torch.backends.cudnn.flags(enabled=False):
            yield
    finally:
        handle.remove()
