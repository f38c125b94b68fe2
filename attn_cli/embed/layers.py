"""Which layers a vector is made of.

Shapes: B batch, T length, D d_model, L layers.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from attn_cli.errors import UsageError

_LAST_FOUR = ("sum4", "concat4")  # Devlin et al. 2019, table 7


@dataclass(frozen=True)
class LayerChoice:
    """Layers of a model, and how they become one vector.

    Attributes:
        how: "one", "all", "sum4" or "concat4".
        indices: the layers, 0 being the embeddings.
    """

    how: str
    indices: tuple[int, ...]

    @classmethod
    def parse(cls, spec: str, n_layers: int) -> LayerChoice:
        """Reads `-1`, `3`, `all`, `sum4` or `concat4` for a model of `n_layers` layers.

        Raises:
            UsageError: it is none of these, or the model has fewer layers.
        """
        if spec == "all":
            return cls(spec, tuple(range(n_layers + 1)))
        if spec in _LAST_FOUR:
            if n_layers < 4:
                raise UsageError(f"--layer {spec}: the model has {n_layers} layers, not four")
            return cls(spec, tuple(range(n_layers - 3, n_layers + 1)))
        if not re.fullmatch(r"-?[0-9]{1,4}", spec):
            raise UsageError(f"--layer {spec[:80]}: a number, all, sum4 or concat4 is needed")
        index = int(spec)
        if not -n_layers - 1 <= index <= n_layers:
            raise UsageError(
                f"--layer {spec}: the model has layers 0 (embeddings) to {n_layers} (or -1, the "
                f"last, to {-n_layers - 1})"
            )
        return cls("one", (index % (n_layers + 1),))

    def vector_shape(self, d_model: int) -> tuple[int, ...]:
        """The shape of one vector: (D,), (4 D,) or (L + 1, D)."""
        if self.how == "all":
            return (len(self.indices), d_model)
        return (4 * d_model if self.how == "concat4" else d_model,)

    def combine(self, layers: Sequence[Tensor]) -> Tensor:
        """The chosen layers' vectors as one.

        Shape: L + 1 of (B, T, D) -> (B, T, *vector_shape).
        """
        chosen = [layers[index] for index in self.indices]
        if self.how == "all":
            return torch.stack(chosen, dim=2)
        if self.how == "concat4":
            return torch.cat(chosen, dim=-1)
        return torch.stack(chosen).sum(0) if self.how == "sum4" else chosen[0]
