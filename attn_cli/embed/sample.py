"""Some of many vectors, evenly drawn: those that a map has room for.

Shapes: N points, D width of a vector.
"""

from __future__ import annotations

from collections import Counter

import numpy as np
from numpy.typing import NDArray

from attn_cli.embed.lines import LineVectors

MOST_POINTS = 5000


class VectorSample:
    """Takes in lines and keeps at most so many of them (Vitter 1985, algorithm R).

    Args:
        most: how many are kept.
        seed: of the draw.

    Attributes:
        n_seen: lines that had a vector.
    """

    def __init__(self, most: int = MOST_POINTS, seed: int = 1) -> None:
        self._most = most
        self._generator = np.random.default_rng(seed)
        self._kept: list[tuple[int, NDArray[np.float32], str, str | None]] = []
        self.n_seen = 0

    def add(self, line: LineVectors) -> None:
        """Takes in a line."""
        if line.found is None:
            return
        label = line.rest[0].strip() if line.rest else None
        entry = (self.n_seen, line.found.vectors.reshape(-1), line.text, label)
        self.n_seen += 1
        if len(self._kept) < self._most:
            self._kept.append(entry)
            return
        place = int(self._generator.integers(self.n_seen))
        if place < self._most:
            self._kept[place] = entry

    def taken(self) -> tuple[NDArray[np.float32], list[str], list[str]]:
        """The vectors (N, D), their texts, and their labels: none where no line has one."""
        kept = sorted(self._kept, key=lambda entry: entry[0])
        labels = [label for *_, label in kept]
        named = [label or "" for label in labels] if any(labels) else []
        return np.stack([entry[1] for entry in kept]), [entry[2] for entry in kept], named


def are_labels(labels: list[str]) -> bool:
    """Whether values are labels: some of them stand at several points."""
    return len(labels) <= 10 or 2 * len(Counter(labels)) <= len(labels)
