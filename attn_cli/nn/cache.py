"""Keys and values of the steps so far, for step-by-step decoding.

Shapes: R rows (sentences times beams), L layers, H heads, t steps so far, n steps at once (mostly
1), d d_head.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

_BLOCK = 16  # steps by which the buffers grow


@dataclass(frozen=True)
class KeyValueCache:
    """Keys and values of every layer, aligned at their last step.

    Rows that entered later are padded on the left, so one step writes one column for all rows.
    A cache may be advanced once: the buffers are shared with the caches it came from.

    Attributes:
        layers: per layer keys and values in one buffer, or None before the first step.
            Shape: (2, R, H, capacity, d).
        starts: where each row's first step stands, or None if all stand at 0. Shape: (R,).
        rows: R.
        length: t.
    """

    layers: tuple[Tensor | None, ...]
    starts: Tensor | None
    rows: int
    length: int
    device: torch.device

    @classmethod
    def empty(
        cls, rows: int, n_layers: int, device: torch.device, starts: Tensor | None = None
    ) -> KeyValueCache:
        """The cache of `rows` rows before their first step, which is to stand at `starts` (R,)."""
        return cls((None,) * n_layers, starts, rows, 0, device)

    @property
    def mask(self) -> Tensor | None:
        """Which columns are real; None if all are. Shape: (R, 1, 1, t)."""
        if self.starts is None:
            return None
        columns = torch.arange(self.length, device=self.device)
        return (columns >= self.starts[:, None])[:, None, None, :]

    def advance(self, steps: int = 1) -> KeyValueCache:
        """The cache with room for `steps` more, to be filled by `appender` layer by layer."""
        return dataclasses.replace(self, layers=self.layers, length=self.length + steps)

    def appender(self, layer: int) -> Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]:
        """What puts the last steps' keys and values into a layer and returns all so far.

        Shape: key, value (R, H, n, d) -> 2 x (R, H, t, d).
        """

        def append(key: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
            buffer = self.layers[layer]
            if buffer is None or buffer.shape[3] < self.length:
                buffer = self._grown(buffer, key)
                # The one mutation of a frozen value: its own layer, before anyone else sees it.
                object.__setattr__(
                    self, "layers", (*self.layers[:layer], buffer, *self.layers[layer + 1 :])
                )
            last = slice(self.length - key.shape[2], self.length)
            buffer[0, :, :, last] = key
            buffer[1, :, :, last] = value
            filled = buffer[:, :, :, : self.length]
            return filled[0], filled[1]

        return append

    def select(self, rows: Tensor) -> KeyValueCache:
        """Rows in a new order, repeated or left out. Shape: rows (R',)."""
        starts = None if self.starts is None else self.starts[rows]
        # Columns that only rows now gone had filled; without cutting them off, a batch that keeps
        # being refilled would carry the history of every sentence that ever was in it.
        dead = int(starts.min()) if starts is not None and len(rows) else 0
        dead = dead if dead >= _BLOCK else 0
        return KeyValueCache(
            tuple(
                None if x is None else x[:, :, :, dead:].index_select(1, rows) for x in self.layers
            ),
            None if starts is None else starts - dead,
            len(rows),
            self.length - dead,
            self.device,
        )

    def merge(self, other: KeyValueCache) -> KeyValueCache:
        """The rows of this cache, then those of `other`; the shorter history is padded left."""
        length = max(self.length, other.length)
        sides = (self, other)
        starts = [
            length - side.length + (side.starts if side.starts is not None else side._zeros())
            for side in sides
        ]
        layers = tuple(
            torch.cat(
                [_aligned(x, side, length, like) for side, x in zip(sides, pair, strict=True)], 1
            )
            if (like := next((x for x in pair if x is not None), None)) is not None
            else None
            for pair in zip(self.layers, other.layers, strict=True)
        )
        rows = self.rows + other.rows
        return KeyValueCache(layers, torch.cat(starts), rows, length, self.device)

    def _zeros(self) -> Tensor:
        return torch.zeros(self.rows, dtype=torch.long, device=self.device)

    def _grown(self, buffer: Tensor | None, key: Tensor) -> Tensor:
        capacity = -(-self.length // _BLOCK) * _BLOCK
        if buffer is None:
            rows, heads, _, d_head = key.shape
            return key.new_zeros(2, rows, heads, capacity, d_head)
        return F.pad(buffer, (0, 0, 0, capacity - buffer.shape[3]))


def _aligned(buffer: Tensor | None, side: KeyValueCache, length: int, like: Tensor) -> Tensor:
    """A layer's filled columns, padded on the left to `length` columns."""
    if buffer is None:
        _, _, heads, _, d_head = like.shape
        return like.new_zeros(2, side.rows, heads, length, d_head)
    return F.pad(buffer[:, :, :, : side.length], (0, 0, length - side.length, 0))
