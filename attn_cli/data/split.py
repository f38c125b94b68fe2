"""Which rows of a corpus are trained on, and which are held out."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from attn_cli.data.corpus import Corpus
from attn_cli.data.permutation import Permutation

_SPLIT = 7919  # sets the split's permutation apart from those of the epochs


class RowNumbers(Protocol):
    """The rows of a corpus that are used: an array of their numbers, or a rule (`Rows`)."""

    def __len__(self) -> int:
        """How many rows."""

    def __getitem__(self, numbers: NDArray[np.int64], /) -> NDArray[np.int64]:
        """Rows of the corpus, given numbers among the used ones. Shape: (M,) -> (M,)."""


class Rows:
    """All rows of a corpus but the held-out ones, without a list of them.

    Args:
        size: rows of the corpus.
        held_out: sorted numbers of rows that are left out. Shape: (h,).
    """

    def __init__(self, size: int, held_out: NDArray[np.int64]) -> None:
        self._size = size - len(held_out)
        self._gaps = held_out - np.arange(len(held_out))

    def __len__(self) -> int:
        return self._size

    def __getitem__(self, numbers: NDArray[np.int64]) -> NDArray[np.int64]:
        """Rows of the corpus, given numbers among the rows that are left. Shape: (M,) -> (M,)."""
        return numbers + np.searchsorted(self._gaps, numbers, side="right")


class Repeated:
    """Rows of a corpus of which some files are passed several times in an epoch.

    Args:
        rows: those that are used, once each.
        ends: the number of used rows up to the end of each file. Shape: (files,).
        repeats: how often each file is passed. Shape: (files,).
    """

    def __init__(
        self, rows: RowNumbers, ends: NDArray[np.int64], repeats: NDArray[np.int64]
    ) -> None:
        self._rows = rows
        self._sizes: NDArray[np.int64] = np.diff(ends, prepend=0)
        self._firsts: NDArray[np.int64] = ends - self._sizes
        self._ends: NDArray[np.int64] = np.cumsum(self._sizes * repeats)
        self._begins: NDArray[np.int64] = self._ends - self._sizes * repeats

    def __len__(self) -> int:
        return int(self._ends[-1])

    def __getitem__(self, numbers: NDArray[np.int64]) -> NDArray[np.int64]:
        """Rows of the corpus, given numbers among the repeated ones. Shape: (M,) -> (M,)."""
        files = np.searchsorted(self._ends, numbers, side="right")
        inside = (numbers - self._begins[files]) % self._sizes[files]
        return self._rows[self._firsts[files] + inside]


def repeated(files: list[str]) -> tuple[list[str], tuple[int, ...]]:
    """The files that are named `FILE` or `FILE:N`, and how often each is passed in an epoch."""
    names, repeats = [], []
    for name in files:
        path, _, times = name.rpartition(":")
        if path and times.isascii() and times.isdigit() and int(times) and not Path(name).exists():
            names.append(path)
            repeats.append(int(times))
        else:
            names.append(name)
            repeats.append(1)
    return names, tuple(repeats)


def hold_out(corpus: Corpus, seed: int, least: int = 100, most: int = 2000) -> NDArray[np.int64]:
    """A seeded 1 % of the rows, between `least` and `most`, but never more than a tenth.

    A row that stands more than once in the corpus is not taken, so that no held-out row is also
    trained on.

    Returns:
        Sorted row numbers; none if every row has a copy, or if there are fewer than two.
    """
    size = len(corpus)
    wanted = min(max(least, min(most, size // 100)), max(1, size // 10))
    if size < 2:
        return np.empty(0, np.int64)
    count = min(size, 4 * wanted)
    candidates = Permutation(size, (seed, _SPLIT))[np.arange(count)]
    wanted_hashes = corpus.hashes(candidates)
    copies = np.zeros(count, np.int64)
    order = np.argsort(wanted_hashes, kind="stable")
    ordered = wanted_hashes[order]
    for hashes in corpus.all_hashes():
        chunk = np.sort(hashes)
        left = np.searchsorted(chunk, ordered, side="left")
        copies[order] += np.searchsorted(chunk, ordered, side="right") - left
    return np.sort(candidates[copies == 1][:wanted])


def hold_out_groups(
    groups: NDArray[np.int64], seed: int, least: int = 100, most: int = 2000
) -> NDArray[np.int64]:
    """The same of whole groups: rows of one image, say, are all held out or none of them.

    Args:
        groups: the number of each row's group, from 0 on without gaps. Shape: (rows,).
        seed: of the choice.
        least: rows, but never more than a tenth.
        most: rows.

    Returns:
        Sorted row numbers; none if there are fewer than two groups.
    """
    size = len(groups)
    counts = np.bincount(groups)
    if len(counts) < 2:
        return np.empty(0, np.int64)
    wanted = min(max(least, min(most, size // 100)), max(1, size // 10))
    order = Permutation(len(counts), (seed, _SPLIT))[np.arange(len(counts))]
    before = np.cumsum(counts[order]) - counts[order]
    chosen = order[before < wanted][: len(counts) - 1]
    return np.flatnonzero(np.isin(groups, chosen))


def count_shared(dev: Corpus, train: Corpus) -> int:
    """The number of rows of one corpus that also stand in another."""
    wanted = np.concatenate([*dev.all_hashes()] or [np.empty(0, np.uint64)])
    shared = np.zeros(len(wanted), bool)
    for hashes in train.all_hashes():
        shared |= np.isin(wanted, hashes)
    return int(shared.sum())
