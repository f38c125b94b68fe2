"""Which matrices are several maps side by side: those of attention's heads."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import NamedTuple

from torch import Tensor, nn


class Blocks(NamedTuple):
    """How a matrix, or each of a stack of them, is cut into blocks of one size.

    Attributes:
        parts: how many blocks there are, H.
        dim: what is cut: -2 the rows, as in a map to heads, -1 the columns, as in one from heads.
    """

    parts: int = 1
    dim: int = -2

    def apart(self, x: Tensor) -> Tensor:
        """The blocks. Shape: (..., R, C) -> (n H, R/H, C) or (n H, R, C/H)."""
        blocks = x.unflatten(self.dim, (self.parts, -1))
        blocks = blocks if self.dim == -2 else blocks.movedim(-2, -3)  # (..., H, R, C/H)
        return blocks.reshape(-1, *blocks.shape[-2:])

    def together(self, blocks: Tensor, shape: tuple[int, ...]) -> Tensor:
        """What `apart` took apart. Shape: the blocks -> `shape`."""
        if self.dim == -2:
            return blocks.reshape(shape)
        return (
            blocks.reshape(*shape[:-2], self.parts, *blocks.shape[-2:])
            .movedim(-3, -2)
            .reshape(shape)
        )


class HasBlocks(ABC):
    """A module some of whose matrices are blocks, each a map of its own."""

    @abstractmethod
    def blocks(self) -> list[tuple[nn.Parameter, Blocks]]:
        """These matrices, and how each is cut."""
