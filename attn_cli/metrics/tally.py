"""What a metric keeps of the lines it has read: sums, and where they are resampled each line's.

Lines come in windows, and their text is not kept: memory grows by no more than a few numbers of a
line that is labels or numbers, and by nothing for a line of text.
"""

from __future__ import annotations

import tempfile
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Figures = NDArray[np.floating[Any]]

_IN_MEMORY = 4 << 20  # bytes of a system's rows; more of them lie in a file without a name
_BLOCK = 1 << 14  # rows that are read at a time


class Tally(ABC):
    """The counts of one metric, of one system's lines or of two systems'.

    Args:
        systems: 1, or 2 where there is a baseline.
        keep: whether lines will be resampled.

    Attributes:
        n_lines: the lines of one system.
        n_references: how many references lines have.
    """

    def __init__(self, *, systems: int, keep: bool) -> None:
        self.n_lines = 0
        self.n_references: set[int] = set()
        self.systems = systems
        self.keep = keep

    def add(self, answers: Sequence[Sequence[str]], references: Sequence[tuple[str, ...]]) -> None:
        """Counts a window of lines.

        Args:
            answers: each system's lines.
            references: the references of each line.
        """
        for system, lines in enumerate(answers):
            self.count(lines, references, system)
        self._note(references)

    def _note(self, references: Sequence[tuple[str, ...]]) -> None:
        self.n_lines += len(references)
        self.n_references.update(map(len, references))

    @abstractmethod
    def count(
        self, hypotheses: Sequence[str], references: Sequence[tuple[str, ...]], system: int
    ) -> None:
        """Counts a window of one system's lines."""

    @abstractmethod
    def figures(self, system: int = 0) -> Sequence[float]:
        """The figures of all lines of a system. Shape: (names,)."""

    @abstractmethod
    def details(self) -> Sequence[Mapping[str, object]]:
        """What is worth telling a user behind each figure of the system. Shape: (names,)."""

    def undefined(self) -> str:
        """Why the figures of the system are undefined; "" where they are not."""
        return ""

    @abstractmethod
    def drawn(self, counts: NDArray[np.uint16], system: int) -> Figures:
        """See `significance.Resampled.drawn`."""

    @abstractmethod
    def swapped(self, kept: NDArray[np.bool_]) -> tuple[Figures, Figures]:
        """See `significance.Resampled.swapped`."""


class WeighedTally(Tally):
    """A tally that scores one weighting of all lines at a time."""

    @abstractmethod
    def weighed(self, weights: NDArray[np.float64]) -> Sequence[float]:
        """The figures of a corpus of weighted lines. Shape: (systems * lines,) -> (names,).

        A corpus weighs each line 1, a bootstrap sample as often as it was drawn, and a swap either
        line of a pair 1 and the other 0.
        """

    def figures(self, system: int = 0) -> Sequence[float]:
        """The figures of all lines of a system. Shape: (names,)."""
        return self.weighed(self.whole(system))

    def whole(self, system: int = 0) -> NDArray[np.float64]:
        """The weights by which all lines of a system count alike. Shape: (systems * lines,)."""
        import numpy as np

        return np.repeat(np.arange(self.systems) == system, self.n_lines).astype(np.float64)

    def drawn(self, counts: NDArray[np.uint16], system: int) -> Figures:
        """See `significance.Resampled.drawn`."""
        import numpy as np

        weights = np.zeros((self.systems, self.n_lines))
        figures = []
        for row in counts:
            weights[system] = row
            figures.append(self.weighed(weights.reshape(-1)))
        return np.asarray(figures)

    def swapped(self, kept: NDArray[np.bool_]) -> tuple[Figures, Figures]:
        """See `significance.Resampled.swapped`."""
        import numpy as np

        pairs = [np.concatenate([row, ~row]).astype(np.float64) for row in kept]
        first = np.asarray([self.weighed(weights) for weights in pairs])
        return first, np.asarray([self.weighed(1.0 - weights) for weights in pairs])


class CountTally(Tally):
    """Counts that are added over the lines.

    Args:
        counts: hypotheses, their references -> the counts of each line. Shape: (lines, counts).
        values: counts added over a corpus -> the figures. Shape: (counts,) -> (names,).
        told: counts added over a corpus -> what is worth telling a user behind each figure.
        precision: of the sums in a bootstrap sample.
        systems: see `Tally`.
        keep: see `Tally`.
    """

    def __init__(
        self,
        counts: Callable[[Sequence[str], Sequence[tuple[str, ...]]], Sequence[Sequence[float]]],
        values: Callable[[Sequence[float]], Sequence[float]],
        told: Callable[[Sequence[float]], Sequence[Mapping[str, object]]],
        *,
        precision: str = "float64",
        systems: int,
        keep: bool,
    ) -> None:
        super().__init__(systems=systems, keep=keep)
        self._counts = counts
        self._values = values
        self._told = told
        self._precision = precision
        self._sums: list[NDArray[np.float64] | None] = [None] * systems
        self._rows = [_Rows() for _ in range(systems)]

    def count(
        self, hypotheses: Sequence[str], references: Sequence[tuple[str, ...]], system: int
    ) -> None:
        """Counts a window of one system's lines."""
        self._take(self.counted(hypotheses, references), system)

    def counted(
        self, hypotheses: Sequence[str], references: Sequence[tuple[str, ...]]
    ) -> NDArray[np.float64]:
        """The counts of each line of a window, which are not added yet. Shape: (lines, counts)."""
        import numpy as np

        return np.asarray(self._counts(hypotheses, references), dtype=np.float64)

    def add_counted(
        self, rows: Sequence[NDArray[np.float64]], references: Sequence[tuple[str, ...]]
    ) -> None:
        """What `add` does, with the counts of each system's lines."""
        for system, own in enumerate(rows):
            self._take(own, system)
        self._note(references)

    def _take(self, rows: NDArray[np.float64], system: int) -> None:
        before = self._sums[system]
        self._sums[system] = rows.sum(0) if before is None else before + rows.sum(0)
        if self.keep:
            self._rows[system].append(rows)

    def figures(self, system: int = 0) -> Sequence[float]:
        """The figures of all lines of a system. Shape: (names,)."""
        return self._values(self._sum(system).tolist())

    def details(self) -> Sequence[Mapping[str, object]]:
        """What is worth telling a user behind each figure of the system. Shape: (names,)."""
        return self._told(self._sum(0).tolist())

    def drawn(self, counts: NDArray[np.uint16], system: int) -> Figures:
        """See `significance.Resampled.drawn`."""
        import numpy as np

        totals = np.zeros((len(counts), len(self._sum(system))))
        at = 0
        for rows in self._rows[system]:
            totals += counts[:, at : at + len(rows)].astype(np.float64) @ rows
            at += len(rows)
        return np.asarray([self._values(list(row)) for row in totals.astype(self._precision)])

    def swapped(self, kept: NDArray[np.bool_]) -> tuple[Figures, Figures]:
        """See `significance.Resampled.swapped`."""
        import numpy as np

        moved = np.zeros((len(kept), len(self._sum(0))))
        at = 0
        for ours, theirs in zip(*self._rows, strict=True):
            moved += kept[:, at : at + len(ours)].astype(np.float64) @ (ours - theirs)
            at += len(ours)
        first, second = self._sum(1) + moved, self._sum(0) - moved
        return (
            np.asarray([self._values(row) for row in first.tolist()]),
            np.asarray([self._values(row) for row in second.tolist()]),
        )

    def _sum(self, system: int) -> NDArray[np.float64]:
        total = self._sums[system]
        assert total is not None, "no line was counted"
        return total


class _Rows:
    """Rows of numbers, one for each line; many of them lie on disk."""

    def __init__(self) -> None:
        # Closed, and with it gone from the disk, when nobody refers to it any more.
        self._file = tempfile.SpooledTemporaryFile(_IN_MEMORY)  # noqa: SIM115
        self._width = 0

    def append(self, rows: NDArray[np.float64]) -> None:
        """Keeps rows, all of the same width."""
        self._width = rows.shape[1]
        self._file.write(rows.tobytes())

    def __iter__(self) -> Iterator[NDArray[np.float64]]:
        import numpy as np

        self._file.seek(0)
        while block := self._file.read(_BLOCK * self._width * 8):
            yield np.frombuffer(block).reshape(-1, self._width)
