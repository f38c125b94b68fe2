"""A seeded permutation of 0..n-1 that needs no memory of its own."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

_ROUNDS = 6


class Permutation:
    """A Feistel network over the smallest even-bit domain that holds n, with cycle walking.

    Black & Rogaway 2002, "Ciphers with arbitrary finite domains": a value that falls outside
    0..n-1 is sent through again, which leaves a permutation of 0..n-1.

    Args:
        size: n.
        seed: any integers; different seeds give unrelated permutations.
    """

    def __init__(self, size: int, seed: tuple[int, ...]) -> None:
        self.size = size
        self._half = np.uint64(max(1, (max(size - 1, 1).bit_length() + 1) // 2))
        self._mask = np.uint64((1 << int(self._half)) - 1)
        self._keys = np.random.SeedSequence(seed).generate_state(_ROUNDS, np.uint64)

    def __getitem__(self, positions: NDArray[np.int64]) -> NDArray[np.int64]:
        """The values at these positions. Shape: (M,) -> (M,)."""
        values = self._encrypt(positions.astype(np.uint64))
        outside = values >= self.size
        while outside.any():
            values[outside] = self._encrypt(values[outside])
            outside = values >= self.size
        return values.astype(np.int64)

    def _encrypt(self, values: NDArray[np.uint64]) -> NDArray[np.uint64]:
        left, right = values >> self._half, values & self._mask
        for key in self._keys:
            left, right = right, left ^ (mixed(right + key) & self._mask)
        return (left << self._half) | right


def mixed(values: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """64 well-mixed bits of each number (splitmix64's finalizer, Steele et al. 2014).

    Unsigned overflow is meant. Shape: any -> the same.
    """
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))
