"""Keys and values of the steps so far, for step-by-step decoding.

Shapes: R rows (sentences times beams), L layers, H heads, t steps so far, n steps at once (mostly
1), d d_head.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

_BLOCK = 16  # steps by which the buffers grow


class KeyValue(NamedTuple):
    """What is attended to: keys, as the score function maps them, and values."""

    key: Tensor  # (B, H, S, d)
    value: Tensor  # (B, H, S, d)


class KeyValueCache:
    """Keys and values of every layer, aligned at their last step.

    Rows that entered later are padded on the left, so one step writes one column for all rows.
    The cache changes: `append` writes into its buffers. `advance` gives a cache of more steps that
    shares them, so a cache may be advanced once; `select` and `merge` copy.

    Attributes:
        buffers: per layer keys and values in one tensor, or None before the first step.
            Shape: (2, R, H, capacity, d).
        starts: where each row's first step stands, or None if all stand at 0. Shape: (R,).
        rows: R.
        length: t.
        device: where the buffers are.
    """

    def __init__(
        self,
        buffers: list[Tensor | None],
        starts: Tensor | None,
        rows: int,
        length: int,
        device: torch.device,
    ) -> None:
        self.buffers = buffers
        self.starts = starts
        self.rows = rows
        self.length = length
        self.device = device

    @classmethod
    def empty(
        cls, rows: int, n_layers: int, device: torch.device, starts: Tensor | None = None
    ) -> KeyValueCache:
        """The cache of `rows` rows before their first step, which is to stand at `starts` (R,)."""
        return cls([None] * n_layers, starts, rows, 0, device)

    @property
    def mask(self) -> Tensor | None:
        """Which columns hold steps of a row; None if all do. Shape: (R, 1, 1, t)."""
        if self.starts is None:
            return None
        columns = torch.arange(self.length, device=self.device)
        return (columns >= self.starts[:, None])[:, None, None, :]

    def advance(self, steps: int = 1) -> KeyValueCache:
        """The cache with room for `steps` more, to be appended layer by layer."""
        return KeyValueCache(
            list(self.buffers), self.starts, self.rows, self.length + steps, self.device
        )

    def layer(self, index: int) -> LayerCache:
        """One layer's part."""
        return LayerCache(self, index)

    def append(self, layer: int, last: KeyValue) -> KeyValue:
        """Puts the last steps' keys and values into a layer, and returns all so far.

        Shape: 2 x (R, H, n, d) -> 2 x (R, H, t, d).
        """
        buffer = self.buffers[layer]
        capacity = -(-self.length // _BLOCK) * _BLOCK
        if buffer is None:
            rows, heads, _, d_head = last.key.shape
            buffer = last.key.new_zeros(2, rows, heads, capacity, d_head)
        elif buffer.shape[3] < self.length:
            buffer = F.pad(buffer, (0, 0, 0, capacity - buffer.shape[3]))
        self.buffers[layer] = buffer
        columns = slice(self.length - last.key.shape[2], self.length)
        buffer[0, :, :, columns] = last.key
        buffer[1, :, :, columns] = last.value
        filled = buffer[:, :, :, : self.length]
        return KeyValue(filled[0], filled[1])

    def select(self, rows: Tensor) -> KeyValueCache:
        """Rows in a new order, repeated or left out. Shape: rows (R',)."""
        starts = None if self.starts is None else self.starts[rows]
        # Columns that only rows now gone had filled; without cutting them off, a batch that keeps
        # being refilled would carry the history of every sentence that ever was in it.
        dead = int(starts.min()) if starts is not None and len(rows) else 0
        dead = dead if dead >= _BLOCK else 0
        return KeyValueCache(
            [
                None if buffer is None else buffer[:, :, :, dead:].index_select(1, rows)
                for buffer in self.buffers
            ],
            None if starts is None else starts - dead,
            len(rows),
            self.length - dead,
            self.device,
        )

    def merge(self, other: KeyValueCache) -> KeyValueCache:
        """The rows of this cache, then those of `other`; the shorter history is padded left."""
        length = max(self.length, other.length)
        buffers: list[Tensor | None] = []
        for pair in zip(self.buffers, other.buffers, strict=True):
            filled = next((buffer for buffer in pair if buffer is not None), None)
            if filled is None:
                buffers.append(None)
                continue
            aligned = [
                side._aligned(buffer, length, filled)
                for side, buffer in zip((self, other), pair, strict=True)
            ]
            buffers.append(torch.cat(aligned, 1))
        starts = torch.cat([side._starts_among(length) for side in (self, other)])
        return KeyValueCache(buffers, starts, self.rows + other.rows, length, self.device)

    def _aligned(self, buffer: Tensor | None, length: int, like: Tensor) -> Tensor:
        """A layer's filled columns, padded on the left to `length` columns."""
        if buffer is None:
            _, _, heads, _, d_head = like.shape
            return like.new_zeros(2, self.rows, heads, length, d_head)
        return F.pad(buffer[:, :, :, : self.length], (0, 0, length - self.length, 0))

    def _starts_among(self, length: int) -> Tensor:
        """The starts when the history is padded on the left to `length` columns. Shape: (R,)."""
        starts = self.starts
        if starts is None:
            starts = torch.zeros(self.rows, dtype=torch.long, device=self.device)
        return starts + (length - self.length)


@dataclass(frozen=True)
class LayerCache:
    """One layer's part of a cache, as the layer sees it."""

    cache: KeyValueCache
    index: int

    def append(self, last: KeyValue) -> KeyValue:
        """See `KeyValueCache.append`."""
        return self.cache.append(self.index, last)
