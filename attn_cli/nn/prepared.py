"""Matrices in the form in which a CPU multiplies them fast, made once for many products."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import TypeAlias

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from attn_cli.nn.int8 import int8_product
from attn_cli.nn.tables import HasTables

_LEAST = 1 << 15  # numbers in a matrix; smaller ones gain nothing: caches hold them as they are
_MANY = 1 << 17  # of so many the blocks are faster for any number of rows; of fewer by a tenth, ...
# ... from here on: a call costs 14 μs more, and a number of rows that is new 0.3 to 0.6 ms.
_FEW_ROWS = 64
_STEPS, _WIDEST_STEP = ((16, 1), (128, 8)), 32  # up to so many rows, numbers are so far apart


class PreparedLinear:
    """y = W x + b of weights that do not change any more.

    oneDNN's blocks of a matrix of 8,000 outputs make products of five rows four times as fast as
    the plain matrix, of hundreds of rows by a fifth. The blocks are a copy.

    Attributes:
        weight: W. Shape: (V, D).
        bias: b, or None. Shape: (V,).
        is_int8: whether it computes in 8 bits.
        is_faster: whether there is another form for such a matrix, on this machine and device.

    Args:
        weight: W.
        bias: b.
        int8: whether 8 bits are wanted; where they do not pay, it is float32 all the same.
    """

    def __init__(self, weight: Tensor, bias: Tensor | None, *, int8: bool = False) -> None:
        self.weight = weight.detach()
        self.bias = None if bias is None else bias.detach()
        self._int8 = int8_product(self.weight, self.bias) if int8 else None
        self.is_int8 = self._int8 is not None
        self._blocks = None if self.is_int8 else _blocks_of(self.weight)
        self.is_faster = self.is_int8 or self._blocks is not None
        self._few = 0 if weight.numel() >= _MANY else _FEW_ROWS * weight.shape[1]

    def __call__(self, x: Tensor, *, relu: bool = False) -> Tensor:
        """W x + b, or max(0, W x + b). Shape: (..., D) -> (..., V)."""
        narrow = x.dtype != torch.float32 or torch.is_autocast_enabled(x.device.type)
        if not narrow:
            if self._int8 is not None:
                return self._int8(x, relu)
            if self._blocks is not None and x.numel() >= self._few:
                return self._blocked(x, "relu" if relu else "none")
        found = F.linear(x, self.weight, self.bias)
        return found.relu_() if relu else found

    def _blocked(self, x: Tensor, then: str) -> Tensor:
        """The product by blocks, of as many rows as `rounded` says."""
        count = x.numel() // x.shape[-1]
        more = rounded(count) - count
        rows = F.pad(x.reshape(count, -1), (0, 0, 0, more)) if more else x
        found: Tensor = torch.ops.mkldnn._linear_pointwise(
            rows, self._blocks, self.bias, then, [], ""
        )
        return found[:count].view(*x.shape[:-1], -1) if more else found


def rounded(count: int) -> int:
    """So many rows or a few more.

    oneDNN keeps what it has made ready for each number of rows, some 50 KB of it for each matrix.
    A search has hundreds of numbers of rows, and would come to half a gigabyte.
    """
    step = next((step for most, step in _STEPS if count <= most), _WIDEST_STEP)
    return -(-count // step) * step


def _blocks_of(weight: Tensor) -> Tensor | None:
    """The matrix in oneDNN's order; None where PyTorch has none, or it gains nothing."""
    fits = weight.device.type == "cpu" and weight.dtype == torch.float32
    if not fits or weight.numel() < _LEAST or not torch.backends.mkldnn.is_available():
        return None
    try:
        blocks: Tensor = torch.ops.mkldnn._reorder_linear_weight(weight)
        torch.ops.mkldnn._linear_pointwise(weight[:1], blocks, None, "none", [], "")
    except (AttributeError, RuntimeError):  # operators that PyTorch does not promise
        return None
    return blocks


Make: TypeAlias = Callable[[Tensor, Tensor | None], PreparedLinear]


class HasProducts(ABC):
    """A module with products of its own, beside those of an `nn.Linear` in it."""

    @abstractmethod
    def prepare_products(self, make: Make) -> None:
        """Takes prepared products in the place of its own."""


class AnsweringLinear(nn.Linear):
    """An `nn.Linear` that answers by a prepared product; its parameters are those it had."""

    def __init__(self, linear: nn.Linear, product: PreparedLinear) -> None:
        nn.Module.__init__(self)
        self.in_features, self.out_features = linear.in_features, linear.out_features
        self.weight, self.bias = linear.weight, linear.bias
        self.product = product

    def forward(self, input: Tensor) -> Tensor:
        """Shape: (..., D) -> (..., V)."""
        return self.product(input)

    def relu(self, x: Tensor) -> Tensor:
        """max(0, W x + b) at once. Shape: (..., D) -> (..., V)."""  # noqa: D403
        return self.product(x, relu=True)


def product_of(linear: nn.Linear) -> PreparedLinear:
    """A linear layer's product in the form that `prepare` has chosen for it."""
    if isinstance(linear, AnsweringLinear):
        return linear.product
    return PreparedLinear(linear.weight, linear.bias)


def prepare(model: nn.Module, *, int8: bool = False) -> int:
    """Makes the products of a model that only answers fast; its weights may not change after that.

    The few outputs of a task's own layer stay as they are. On other devices than a CPU nothing is
    done.

    Args:
        model: what is prepared, in place.
        int8: whether products compute in 8 bits where that pays.

    Returns:
        How many products do.
    """
    products: list[PreparedLinear] = []

    def make(weight: Tensor, bias: Tensor | None) -> PreparedLinear:
        products.append(PreparedLinear(weight, bias, int8=int8))
        return products[-1]

    # What is inside a module comes first: it may be made of that.
    for name, module in reversed(list(model.named_modules())):
        if isinstance(module, HasProducts):
            module.prepare_products(make)
        elif isinstance(module, nn.Linear) and not isinstance(module, HasTables | AnsweringLinear):
            product = make(module.weight, module.bias)
            if product.is_faster:
                owner, _, leaf = name.rpartition(".")
                setattr(model.get_submodule(owner), leaf, AnsweringLinear(module, product))
    return sum(product.is_int8 for product in products)
