"""The bootstrap of a figure's interval, and two paired tests of a difference between systems.

Every metric is resampled here, with sacreBLEU's draws: intervals are those of its command. The
tests are those of the literature, in which a tie counts against significance: in |s| >= |d| of
Riezler and Maxwell (2005), figures 1 and 2, s is a trial's statistic and d the real difference.
sacreBLEU counts s > d, so that it finds a system significantly different from itself.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

# sacreBLEU's defaults, so that all metrics of one run are tested equally hard.
BOOTSTRAP_SAMPLES = 1_000
RANDOMIZATION_TRIALS = 10_000
# A difference is called significant where either test finds it less probable by chance.
LEVEL = 0.05
# Sums of other orders differ by rounding; less than this share of a figure is no difference.
_ROUNDING = 1e-10
# Trials are drawn together, as many as make this many choices of a line.
_TOGETHER = 1 << 23
_MOST_TOGETHER = 64


@dataclass(frozen=True)
class Interval:
    """A bootstrap estimate: the mean, and half the width of the 95 % interval around it."""

    mean: float
    half_width: float


@dataclass(frozen=True)
class Comparison:
    """A baseline's score, and how likely chance alone makes a difference as large.

    Attributes:
        baseline: the other system's score.
        difference: the system's score minus that.
        p_bootstrap: p-value of the paired bootstrap test (Efron and Tibshirani 1993, Koehn 2004).
        p_randomization: p-value of approximate randomization (Noreen 1989).
    """

    baseline: float
    difference: float
    p_bootstrap: float
    p_randomization: float

    def verdict(self, *, lower_is_better: bool) -> str:
        """What the tests together say of the system."""
        if max(self.p_bootstrap, self.p_randomization) >= LEVEL:
            return "not significant"
        return "better" if (self.difference < 0) == lower_is_better else "worse"


@dataclass(frozen=True)
class Resampling:
    """The number of resamplings for an interval (None: there is none), and their seed."""

    seed: int
    samples: int | None = None


class Resampled(Protocol):
    """Lines of one or two systems that can be scored again as any choice of them."""

    def drawn(self, counts: NDArray[np.uint16], system: int) -> NDArray[np.floating]:
        """The figures of corpora in which each line of a system stands so many times.

        Shape: (trials, lines) -> (trials, names).
        """

    def swapped(self, kept: NDArray[np.bool_]) -> tuple[NDArray[np.floating], NDArray[np.floating]]:
        """The figures of two pseudo systems: the system where lines are kept, else the baseline.

        The second has the other line of each pair. Shape: (trials, lines) -> (trials, names).
        """


class Resamples:
    """The figures of corpora drawn with replacement (Efron), the same draws for every system.

    Args:
        lines: what is drawn from.
        n_lines: the lines of one system.
        resampling: how many corpora are drawn (default: 1,000), and the seed of the draws.
        systems: how many systems are scored.
    """

    def __init__(
        self, lines: Resampled, n_lines: int, resampling: Resampling, *, systems: int = 1
    ) -> None:
        import numpy as np

        generator = np.random.default_rng(resampling.seed)
        figures: list[list[NDArray[np.floating]]] = [[] for _ in range(systems)]
        for size in _batches(resampling.samples or BOOTSTRAP_SAMPLES, n_lines):
            counts = np.empty((size, n_lines), np.uint16)
            for row in counts:
                picked = generator.choice(n_lines, size=n_lines, replace=True)
                row[:] = np.bincount(picked, minlength=n_lines)
            for system, parts in enumerate(figures):
                parts.append(lines.drawn(counts, system))
        self._figures = [np.concatenate(parts) for parts in figures]

    def intervals(self) -> list[Interval]:
        """The mean and the 95 % interval of each figure of the system."""
        import numpy as np

        intervals = []
        for column in self._figures[0].T:
            ordered = np.sort(column)
            cut = len(ordered) // 40  # the 2.5 % points at either end, as sacreBLEU's
            half_width = 0.5 * (ordered[len(ordered) - cut - 1] - ordered[cut])
            mean = ordered.dtype.type(ordered.mean(dtype=np.float64))
            intervals.append(Interval(float(mean), float(half_width)))
        return intervals

    def p_values(self, difference: NDArray[np.float64], tie: NDArray[np.float64]) -> list[float]:
        """The paired bootstrap: is a gap shifted to the mean 0 as large as the real one?

        Args:
            difference: of each figure, without its sign. Shape: (names,).
            tie: what is no more than rounding. Shape: (names,).
        """
        import numpy as np

        gaps = np.abs(self._figures[0] - self._figures[1])
        return _p_values(gaps - gaps.mean(0), difference - tie)


def randomization(
    lines: Resampled,
    n_lines: int,
    seed: int,
    difference: NDArray[np.float64],
    tie: NDArray[np.float64],
) -> list[float]:
    """Approximate randomization: is a gap as large when coins swap the lines of each pair?

    Args:
        lines: what is swapped.
        n_lines: the lines of one system.
        seed: seed of the coins.
        difference: of each figure, without its sign. Shape: (names,).
        tie: what is no more than rounding. Shape: (names,).
    """
    import numpy as np

    gaps = []
    for kept in _coins(n_lines, RANDOMIZATION_TRIALS, seed):
        first, second = lines.swapped(kept)
        gaps.append(np.abs(first - second))
    return _p_values(np.concatenate(gaps), difference - tie)


def compare(
    lines: Resampled,
    n_lines: int,
    resampling: Resampling,
    resamples: Resamples,
    figures: tuple[NDArray[np.float64], NDArray[np.float64]],
) -> list[Comparison]:
    """Tests whether a system differs from a baseline by more than chance, two-sided.

    Args:
        lines: those of both systems.
        n_lines: the lines of either.
        resampling: seed of the draws.
        resamples: of both systems.
        figures: those of the system and of the baseline. Shape: (names,) each.
    """
    import numpy as np

    system, baseline = figures
    signed = system - baseline
    tie = _ROUNDING * np.maximum(np.maximum(np.abs(system), np.abs(baseline)), 1.0)
    difference = np.abs(signed)
    p_bootstrap = resamples.p_values(difference, tie)
    p_randomization = randomization(lines, n_lines, resampling.seed, difference, tie)
    columns = (baseline.tolist(), signed.tolist(), p_bootstrap, p_randomization)
    return [Comparison(*column) for column in zip(*columns, strict=True)]


def _batches(n_trials: int, n_lines: int) -> Iterator[int]:
    """How many trials are made at once: few where lines are many."""
    most = max(1, min(_MOST_TOGETHER, _TOGETHER // n_lines))
    for start in range(0, n_trials, most):
        yield min(most, n_trials - start)


def _coins(n_lines: int, n_trials: int, seed: int) -> Iterator[NDArray[np.bool_]]:
    """The tosses of every trial, some trials at a time, from one stream. Shape: (trials, lines)."""
    import numpy as np

    generator = np.random.default_rng(seed)
    left = np.empty(0, dtype=bool)
    for size in _batches(n_trials, n_lines):
        needed = size * n_lines
        # 32 tosses come of one draw, and a call throws away what it does not use of the last one.
        n_draws = -(-(needed - len(left)) // 32)
        left = np.concatenate([left, generator.integers(2, size=32 * n_draws, dtype=bool)])
        yield left[:needed].reshape(size, n_lines)
        left = left[needed:]


def _p_values(statistics: NDArray[np.floating], reached: NDArray[np.float64]) -> list[float]:
    """The share of trials at least as extreme as the real difference, never 0. Shape: (names,)."""
    # Plus one on both sides: the observed outcome is itself one of the possible ones.
    extreme = (statistics >= reached).sum(0)
    return [float(p) for p in (extreme + 1) / (len(statistics) + 1)]
