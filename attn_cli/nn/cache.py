"""Keys and values of the steps so far, for step-by-step decoding, without a copy for each beam.

The beams of a sentence have most of their history in common. Their keys and values stand in one
row, in columns of which each beam sees its own; who goes on from whom is then told by what is seen,
and no key or value moves when beams change places. Now and then the columns that nobody sees any
more are dropped.

Shapes: N sentences, K beams each, of which G share a row (all, or where there are very many of them
one alone), R = N*K/G rows, L layers, H heads, C columns so far, n columns at once, d d_head.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from attn_cli.nn.positions import Positions

_SHARED = 16  # more beams than these have a row each: every beam looks at the columns of all
_STEPS = 8  # for so many steps of all beams the buffers grow at least
_BLOCK = 16  # columns by which they grow where a row is one beam's


class KeyValue(NamedTuple):
    """What is attended to: keys, as the score function maps them, and values."""

    key: Tensor  # (B, H, S, d)
    value: Tensor  # (B, H, S, d)


class KeyValueCache:
    """Keys and values of every layer.

    The cache changes: `append` writes into its buffers, which `advance` and `reorder` share, so of
    a cache one of the two may be made, once; `keep` and `merge` copy.

    Attributes:
        buffers: per layer keys and values in one tensor, or None before the first step.
            Shape: (2, R, H, capacity, d).
        visible: which columns each beam sees; None if all of them. Shape: (R, G, C).
        rows: R.
        beams: K.
        length: C.
        steps: the most steps that any row has seen.
        device: where the buffers are.
    """

    def __init__(
        self,
        buffers: list[Tensor | None],
        visible: Tensor | None,
        rows: int,
        beams: int,
        length: int,
        steps: int,
        device: torch.device,
    ) -> None:
        self.buffers = buffers
        self.visible = visible
        self.rows = rows
        self.beams = beams
        self.length = length
        self.steps = steps
        self.device = device

    @classmethod
    def empty(cls, sentences: int, n_layers: int, device: torch.device) -> KeyValueCache:
        """The cache of sentences of one beam before their first step."""
        return cls([None] * n_layers, None, sentences, 1, 0, 0, device)

    @property
    def shared(self) -> int:
        """G."""
        return self.beams if self.beams <= _SHARED else 1

    def advance(self) -> KeyValueCache:
        """The cache with a column more for each beam, to be appended layer by layer."""
        shared, visible = self.shared, self.visible
        if visible is None and shared > 1:
            visible = torch.ones(
                self.rows, shared, self.length, dtype=torch.bool, device=self.device
            )
        if visible is not None:
            own = torch.eye(shared, dtype=torch.bool, device=self.device)
            visible = torch.cat((visible, own.expand(self.rows, -1, -1)), 2)
        return self._like(visible, self.length + shared, self.steps + 1)._with_room()

    def read(self, visible: Tensor | None, columns: int) -> KeyValueCache:
        """The same of an empty cache, with `columns` at once: a beginning that is read in one pass.

        Args:
            visible: which of them a sentence has; None: all. Shape: (R, C).
            columns: how many.
        """
        seen = None if visible is None else visible[:, None]
        return self._like(seen, columns, columns)

    @property
    def mask(self) -> Tensor | None:
        """The columns that each beam sees, of all heads; None if all. Shape: (R, 1, G, C)."""
        return None if self.visible is None else self.visible[:, None]

    def places(self, positions: Tensor) -> Positions:
        """Where the next vectors of each row stand. Shape: positions (N,)."""
        each = self.beams // self.shared
        index = positions if each == 1 else positions.repeat_interleave(each)
        return Positions(index[:, None], self.steps, self.visible)

    def layer(self, index: int) -> LayerCache:
        """One layer's part."""
        return LayerCache(self, index)

    def append(self, layer: int, last: KeyValue) -> KeyValue:
        """Puts the last columns' keys and values into a layer, and returns all so far.

        Shape: 2 x (R, H, n, d) -> 2 x (R, H, C, d).
        """
        columns, filled = self._columns(layer, last.key, last.key.shape)
        columns[0].copy_(last.key)
        columns[1].copy_(last.value)
        return filled

    def take(self, layer: int, last: Tensor) -> KeyValue:
        """The same of keys and values in one tensor. Shape: (2, R, H, n, d) -> 2 x (R, H, C, d)."""
        columns, filled = self._columns(layer, last, last.shape[1:])
        columns.copy_(last)
        return filled

    def _columns(self, layer: int, like: Tensor, shape: torch.Size) -> tuple[Tensor, KeyValue]:
        """Where a layer's last columns, (R, H, n, d), stand, and all of its columns."""
        rows, heads, size, d_head = shape
        buffer = self.buffers[layer]
        if buffer is None:
            buffer = like.new_zeros(2, rows, heads, self._room(self.length), d_head)
            self.buffers[layer] = buffer
        filled = buffer.narrow(3, 0, self.length)
        return buffer.narrow(3, self.length - size, size), KeyValue(filled[0], filled[1])

    def expand(self, beams: int) -> KeyValueCache:
        """One beam for each sentence as `beams` of them, which begin alike."""
        after = self._like(self.visible, self.length, self.steps)
        after.beams = beams
        if after.shared == 1:
            return after._rows(torch.arange(self.rows, device=self.device).repeat_interleave(beams))
        if self.visible is not None:
            after.visible = self.visible.expand(-1, beams, -1)
        return after

    def reorder(self, beams: Tensor) -> KeyValueCache:
        """Beam `beams[n, k]` becomes beam k of sentence n. Shape: beams (N, K)."""
        if self.shared == 1:
            first = torch.arange(len(beams), device=beams.device)[:, None] * self.beams
            return self._rows((first + beams).flatten())
        visible = self.visible
        if visible is not None:
            visible = visible.gather(1, beams[:, :, None].expand(-1, -1, visible.shape[2]))
        return self._like(visible, self.length, self.steps)

    def keep(self, sentences: Tensor) -> KeyValueCache:
        """These sentences alone. Shape: sentences (M,)."""
        each = self.beams // self.shared
        beams = torch.arange(each, device=sentences.device)
        return self._rows((sentences[:, None] * each + beams).flatten())

    def merge(self, other: KeyValueCache) -> KeyValueCache:
        """The sentences of this cache, then those of `other` (of the same K)."""
        length = max(self.length, other.length)
        buffers: list[Tensor | None] = []
        for pair in zip(self.buffers, other.buffers, strict=True):
            like = next((buffer for buffer in pair if buffer is not None), None)
            if like is None:
                buffers.append(None)
                continue
            parts = [
                side._padded(buffer, like, self._room(length))
                for side, buffer in zip((self, other), pair, strict=True)
            ]
            buffers.append(torch.cat(parts, 1))
        visible = torch.cat([side._visible_among(length) for side in (self, other)])
        after = self._like(visible, length, max(self.steps, other.steps))
        after.buffers, after.rows = buffers, self.rows + other.rows
        return after

    def _like(self, visible: Tensor | None, length: int, steps: int) -> KeyValueCache:
        """The same buffers, otherwise seen."""
        return KeyValueCache(
            list(self.buffers), visible, self.rows, self.beams, length, steps, self.device
        )

    def _rows(self, rows: Tensor) -> KeyValueCache:
        """Rows in a new order, repeated or left out. Shape: rows (R',)."""
        visible = None if self.visible is None else self.visible[rows]
        after = self._like(visible, self.length, self.steps)
        after.rows = len(rows)
        after.buffers = [
            None if buffer is None else buffer.index_select(1, rows) for buffer in self.buffers
        ]
        return after

    def _room(self, length: int) -> int:
        """The capacity that is made where `length` columns are needed."""
        grow = max(_BLOCK, _STEPS * self.shared, length // 4)
        return (length // _BLOCK) * _BLOCK + grow

    def _with_room(self) -> KeyValueCache:
        """Itself, with buffers that hold `length` columns; those that nobody sees are dropped."""
        first = self.buffers[0]
        if first is None or first.shape[3] >= self.length:
            return self
        capacity = first.shape[3]
        used = None if self.visible is None else self.visible.any(1)
        most = self.length if used is None else int(used.sum(1).max())
        if self.visible is None or used is None or most + self.shared > capacity * 3 // 4:
            grown = (0, 0, 0, self._room(self.length) - capacity)
            self.buffers = [None if b is None else F.pad(b, grown) for b in self.buffers]
            return self
        # The last columns, of this step, are seen and still empty: they stay the last ones.
        order = used.to(torch.uint8).argsort(dim=1, stable=True)[:, self.length - most :]
        self.visible = self.visible.gather(2, order[:, None].expand(-1, self.visible.shape[1], -1))
        order = order.clamp(max=capacity - 1)
        self.buffers = [
            None if b is None else _columns(b, order, self._room(most)) for b in self.buffers
        ]
        self.length = most
        return self

    def _padded(self, buffer: Tensor | None, like: Tensor, capacity: int) -> Tensor:
        """A layer's columns with another capacity."""
        if buffer is None:
            _, _, heads, _, d_head = like.shape
            return like.new_zeros(2, self.rows, heads, capacity, d_head)
        filled = buffer[:, :, :, : self.length]
        return F.pad(filled, (0, 0, 0, capacity - self.length))

    def _visible_among(self, length: int) -> Tensor:
        """What is seen when columns that nobody sees make `length` of them. Shape: (R, G, C)."""
        visible = self.visible
        if visible is None:
            shape = (self.rows, self.shared, self.length)
            visible = torch.ones(shape, dtype=torch.bool, device=self.device)
        return F.pad(visible, (0, length - self.length))


def _columns(buffer: Tensor, order: Tensor, capacity: int) -> Tensor:
    """Each row's columns in its own order. Shape: (2, R, H, C, d), (R, C') -> (.., capacity, d)."""
    pairs, rows, heads, size, d_head = buffer.shape
    chosen = order.shape[1]
    base = torch.arange(pairs * rows * heads, device=order.device) * size
    index = base.view(pairs, rows, heads, 1) + order[:, None]
    found = buffer.new_zeros(pairs, rows, heads, capacity, d_head)
    picked = buffer.view(-1, d_head).index_select(0, index.flatten())
    found[:, :, :, :chosen] = picked.view(pairs, rows, heads, chosen, d_head)
    return found


@dataclass(frozen=True)
class LayerCache:
    """One layer's part of a cache, as the layer sees it."""

    cache: KeyValueCache
    index: int

    def append(self, last: KeyValue) -> KeyValue:
        """See `KeyValueCache.append`."""
        return self.cache.append(self.index, last)

    def rows_of(self, x: Tensor) -> Tensor:
        """Vectors of all beams as those of the cache's rows. Shape: (N, K, D) -> (R, G, D)."""
        shared = self.cache.shared
        return x if shared == self.cache.beams else x.reshape(-1, shared, x.shape[-1])
