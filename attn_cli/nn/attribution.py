"""Integrated gradients: how much of an output each vector of the input adds.

Attention says where a model looks, not what it makes of it; attributions sum to what the input
changes in the output.

Shapes: m points on the way, C outputs, D width of a vector; "*" is any shape of vectors.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

TOLERANCE = 0.01  # of the change, by which the attributions may miss it
_LEAST_CHANGE = 0.01  # a smaller one counts as this: what is nothing can't be divided
_FIRST, _MOST = 16, 256  # points
# α = t³: many points stand near the baseline, where a layer that is normalized turns sharply.
_CROWD = 3
_TOGETHER = 32  # of them in one pass


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

    The integral is Gauss and Legendre's sum, of twice as many points each time until the
    attributions sum to f(x) - f(x') (proposition 1, completeness), or there are `_MOST` of them.
    The paper takes Riemann's sum (eq. 3), which needs more points.

    Args:
        outputs: f, of m inputs at once. Shape: (m, *, D) -> (m, C).
        x: the input. Shape: (*, D).
        baseline: x', an input that says nothing. Shape: (*, D).
    """
    with torch.no_grad():
        ends = outputs(torch.stack((baseline, x)))
    change = ends[1] - ends[0]
    points = _FIRST
    while True:
        found = Attributions(_integral(outputs, x, baseline, points), change)
        if found.missed <= TOLERANCE or points >= _MOST:
            return found
        points *= 2


def _integral(
    outputs: Callable[[Tensor], Tensor], x: Tensor, baseline: Tensor, count: int
) -> Tensor:
    """The attributions by a sum of so many points. Shape: (C, *)."""
    nodes, weights = np.polynomial.legendre.leggauss(count)  # of -1 to 1
    steps = (nodes + 1) / 2
    shape = (-1, *[1] * x.dim())
    alphas = x.new_tensor(steps**_CROWD).view(shape)  # (m, 1, ..., 1)
    shares = x.new_tensor(_CROWD * steps ** (_CROWD - 1) * weights / 2).view(shape)
    total: Tensor | None = None
    for part in range(0, count, _TOGETHER):
        some = slice(part, part + _TOGETHER)
        with torch.enable_grad():
            points = (baseline + alphas[some] * (x - baseline)).requires_grad_()
            sums = outputs(points).sum(0)  # a point's gradient is that of its own output alone
            rows = []
            for number, output in enumerate(sums.unbind()):
                again = number + 1 < len(sums)
                (gradient,) = torch.autograd.grad(output, points, retain_graph=again)
                mean = (shares[some] * gradient).sum(0)
                rows.append(((x - baseline) * mean).sum(-1))
        added = torch.stack(rows)
        total = added if total is None else total + added
    assert total is not None
    return total.detach()


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
