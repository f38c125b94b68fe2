"""Pearson and Spearman correlation of predicted numbers with gold ones."""

from __future__ import annotations

import math
import re
from abc import abstractmethod
from array import array
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING

from attn_cli.config import shown
from attn_cli.errors import DataError
from attn_cli.metrics.base import OwnMetric, Segment, several_references
from attn_cli.metrics.tally import Tally, WeighedTally

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Numbers = NDArray[np.float64]
    # Weights of the lines -> a value for each line: the number itself, or its rank. (lines,)
    Scale = Callable[[Numbers], Numbers]


class _NumberTally(WeighedTally):
    """The numbers of each line.

    Args:
        scale: numbers -> the values that are correlated.
        systems: see `Tally`.
        keep: see `Tally`.
    """

    def __init__(
        self, scale: Callable[[Sequence[float]], Scale], *, systems: int, keep: bool
    ) -> None:
        super().__init__(systems=systems, keep=keep)
        self._scale = scale
        self._numbers = [array("d") for _ in range(systems)]
        self._gold = array("d")

    def count(
        self, hypotheses: Sequence[str], references: Sequence[tuple[str, ...]], system: int
    ) -> None:
        """Reads a window of one system's numbers.

        Raises:
            DataError: a cell is no number, and nobody looked before.
        """
        self._numbers[system].extend(_number(cell) for cell in hypotheses)
        if system == 0:
            self._gold.extend(_number(lines[0]) for lines in references)

    def weighed(self, weights: Numbers) -> Sequence[float]:
        """The correlation of weighted pairs. Shape: (systems * lines,) -> (1,)."""
        x, y = self._scales
        return [_pearson(x(weights), y(weights), weights)]

    def details(self) -> Sequence[Mapping[str, object]]:
        """The number of pairs."""
        return [{"lines": self.n_lines}]

    def undefined(self) -> str:
        """Why there is no correlation, where a side has only one value."""
        if self.n_lines < 2:
            return "of a single line; two or more are needed"
        for side, numbers in (("hypotheses", self._numbers[0]), ("references", self._gold)):
            if min(numbers) == max(numbers):
                return f"all {side} are {numbers[0]:g}"
        return ""

    @cached_property
    def _scales(self) -> tuple[Scale, Scale]:
        """Of all systems' numbers, and of the gold ones beside them, when all are read."""
        x = [number for numbers in self._numbers for number in numbers]
        return self._scale(x), self._scale([*self._gold] * self.systems)


class Correlation(OwnMetric):
    """Correlation r = cov(x, y) / (std(x) std(y)); 0 where a side is constant and r undefined."""

    def problem(self, segment: Segment) -> str | None:
        """The reason that a line can't be scored: a cell is no number, or several references."""
        if len(segment.references) != 1:
            return several_references(segment)
        cells = [segment.hypothesis, segment.references[0]]
        cells += [segment.baseline] if segment.baseline else []
        wrong = [cell for cell in cells if parse_number(cell) is None]
        return not_a_number(wrong[0]) if wrong else None

    def tally(self, *, systems: int = 1, keep: bool = False) -> Tally:
        """An empty tally of lines; see `Metric.tally`."""
        return _NumberTally(self.scale, systems=systems, keep=keep)

    @abstractmethod
    def scale(self, numbers: Sequence[float]) -> Scale:
        """The values of the numbers that are correlated."""


class Pearson(Correlation):
    """Pearson's r of the numbers themselves."""

    names = ("PEARSON",)

    def scale(self, numbers: Sequence[float]) -> Scale:
        """The numbers as they are, whatever the weights."""
        import numpy as np

        values = np.asarray(numbers, dtype=np.float64)
        return lambda weights: values

    def recipe(self) -> str:
        """The part of the signature that says what is correlated."""
        return "of:values"


class Spearman(Correlation):
    """Spearman's rho: Pearson's r of the ranks; equal numbers share their average rank."""

    names = ("SPEARMAN",)

    def scale(self, numbers: Sequence[float]) -> Scale:
        """The average rank of each number among the weighted ones, ranked anew in each resample."""
        import numpy as np

        _, levels = np.unique(np.asarray(numbers, dtype=np.float64), return_inverse=True)

        def ranks(weights: Numbers) -> Numbers:
            ties = np.bincount(levels, weights=weights)
            return (np.cumsum(ties) - (ties - 1) / 2)[levels]

        return ranks

    def recipe(self) -> str:
        """The part of the signature that says what is correlated."""
        return "of:ranks|ties:average"


def parse_number(text: str) -> float | None:
    """A finite decimal number; None for anything else, Python's `1_000` and `nan` included."""
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) and "_" not in text else None


def not_a_number(text: str) -> str:
    """What is said of a text that `parse_number` refuses."""
    said = f"{shown(text)} is not a number"
    if re.fullmatch(r"\s*[+-]?\d+,\d+\s*", text):
        return f"{said}: write it with a decimal point"
    return f"{said} of a size that can be computed with" if _is_too_large(text) else said


def _is_too_large(text: str) -> bool:
    try:
        return "inf" not in text.lower() and math.isinf(float(text))
    except ValueError:
        return False


def _number(text: str) -> float:
    value = parse_number(text)
    if value is None:
        raise DataError(f"{text!r} is not a number, and numbers are what correlations are of")
    return value


def _pearson(x: Numbers, y: Numbers, weights: Numbers) -> float:
    """Weighted correlation, centred first: large means cost no digits. Shape: (lines,) each."""
    import numpy as np

    drawn = weights > 0
    x, y, weights = x[drawn], y[drawn], weights[drawn]
    if any(side.min() == side.max() for side in (x, y)):
        return 0.0
    x, y = (side / np.abs(side).max() for side in (x, y))  # squares of 1e200 don't overflow
    x, y = (side - weights @ side / weights.sum() for side in (x, y))
    spread = np.sqrt(weights @ (x * x)) * np.sqrt(weights @ (y * y))
    return float(np.clip(weights @ (x * y) / spread, -1.0, 1.0)) if spread > 0 else 0.0
