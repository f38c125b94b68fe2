"""Exponential moving average of the weights (Polyak & Juditsky 1992)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from attn_cli.train.shards import local


class MovingAverage:
    """θ̄ ← θ̄ + (1 - d)(θ - θ̄) after each update, with d = min(decay, (1 + t)/(10 + t)).

    The smaller d of the first updates forgets the random weights quickly.

    Of weights that are sharded, each process averages its own part.

    Args:
        model: whose parameters are averaged.
        decay: d in the long run; 0 keeps no average.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self._weights = dict(model.named_parameters())
        self._decay = decay
        self._average = (
            {name: weight.detach().clone() for name, weight in self._weights.items()}
            if decay
            else {}
        )

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Follows the weights after update number `step` (from 0)."""
        if self._average:
            decay = min(self._decay, (1 + step) / (10 + step))
            averages = [local(average) for average in self._average.values()]
            weights = [local(weight) for weight in self._weights.values()]
            torch._foreach_lerp_(averages, weights, 1 - decay)

    @contextmanager
    def applied(self) -> Iterator[None]:
        """The model has the averaged weights inside, its own again outside."""
        self._swap()
        try:
            yield
        finally:
            self._swap()

    def tensors(self) -> dict[str, Tensor]:
        """The averages, for a saved state."""
        return {f"average.{name}": tensor for name, tensor in self._average.items()}

    @torch.no_grad()
    def load(self, tensors: Mapping[str, Tensor]) -> None:
        """Takes the averages of a saved state."""
        for name, tensor in self._average.items():
            tensor.copy_(tensors[f"average.{name}"])

    @torch.no_grad()
    def _swap(self) -> None:
        for name, average in self._average.items():
            here, weight = local(average), local(self._weights[name])
            before = weight.clone()
            weight.copy_(here)
            here.copy_(before)
