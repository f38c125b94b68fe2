"""Large matrices in the order in which a CPU multiplies them, made once for many products."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

_LEAST_OUTPUTS = 2048  # smaller matrices gain nothing: they are read from caches as they are


class PreparedLinear:
    """y = W x + b of weights that do not change any more.

    oneDNN's blocks of a matrix of 8,000 outputs make products of five rows four times as fast as
    the plain matrix, of hundreds of rows by a fifth. The blocks are a copy.

    Attributes:
        weight: W. Shape: (V, D).
        bias: b, or None. Shape: (V,).
    """

    def __init__(self, weight: Tensor, bias: Tensor | None) -> None:
        self.weight = weight.detach()
        self.bias = None if bias is None else bias.detach()
        self._blocks = _blocks_of(self.weight)

    @property
    def is_faster(self) -> bool:
        """Whether there is another order for such a matrix, on this machine and device."""
        return self._blocks is not None

    def __call__(self, x: Tensor) -> Tensor:
        """Shape: (..., D) -> (..., V)."""
        narrow = torch.is_autocast_enabled(x.device.type) or x.dtype != torch.float32
        if self._blocks is None or narrow:
            return F.linear(x, self.weight, self.bias)
        found: Tensor = torch.ops.mkldnn._linear_pointwise(
            x, self._blocks, self.bias, "none", [], ""
        )
        return found


def _blocks_of(weight: Tensor) -> Tensor | None:
    """The matrix in oneDNN's order; None where PyTorch has none, or it gains nothing."""
    fits = weight.device.type == "cpu" and weight.dtype == torch.float32
    if not fits or len(weight) < _LEAST_OUTPUTS or not torch.backends.mkldnn.is_available():
        return None
    try:
        blocks: Tensor = torch.ops.mkldnn._reorder_linear_weight(weight)
        torch.ops.mkldnn._linear_pointwise(weight[:1], blocks, None, "none", [], "")
    except (AttributeError, RuntimeError):  # operators that PyTorch does not promise
        return None
    return blocks
