"""Resampling for metrics that are figures of weighted lines: the bootstrap and two paired tests.

sacreBLEU's metrics use sacreBLEU's own implementation; these share its definitions, ties aside.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    # The weights of the lines -> the figures. Shape: (lines,) -> (names,).
    Figures = Callable[[NDArray[np.float64]], Sequence[float]]

# sacreBLEU's defaults, so that all metrics of one run are tested equally hard.
BOOTSTRAP_SAMPLES = 1_000
RANDOMIZATION_TRIALS = 10_000


@dataclass(frozen=True)
class Interval:
    """A bootstrap estimate: the mean, and half the width of the 95 % interval around it."""

    mean: float
    ci95: float


@dataclass(frozen=True)
class Comparison:
    """A baseline's score, and how likely chance alone makes a difference as large.

    Attributes:
        baseline: the other system's score.
        p_bootstrap: p-value of the paired bootstrap test (Koehn 2004).
        p_randomization: p-value of approximate randomization (Riezler and Maxwell 2005).
    """

    baseline: float
    p_bootstrap: float
    p_randomization: float


@dataclass(frozen=True)
class Resampling:
    """The number of resamplings for an interval (None: there is none), and their seed."""

    seed: int
    samples: int | None = None


def bootstrap(
    figures: Figures, n_lines: int, n_samples: int, seed: int, n_systems: int = 1
) -> list[Interval]:
    """Estimates each figure's mean and 95 % interval by drawing lines with replacement (Efron).

    Args:
        figures: the figures of weighted lines.
        n_lines: the lines of one system.
        n_samples: how many corpora are drawn.
        seed: seed of the draws.
        n_systems: how many systems' lines `figures` weighs; the first one is estimated.
    """
    intervals = []
    for samples in _draws(figures, n_lines, n_samples, seed, n_systems)[0].T.tolist():
        ordered = sorted(samples)
        cut = len(ordered) // 40  # the 2.5 % points at either end, as sacreBLEU's
        half_width = (ordered[len(ordered) - cut - 1] - ordered[cut]) / 2
        intervals.append(Interval(mean=sum(ordered) / len(ordered), ci95=half_width))
    return intervals


def paired_tests(figures: Figures, n_lines: int, resampling: Resampling) -> list[Comparison]:
    """Tests whether a system differs from a baseline by more than chance, two-sided.

    Args:
        figures: the figures of weighted lines: the system's `n_lines`, then the baseline's.
        n_lines: the lines of either.
        resampling: seed of the draws, and bootstrap samples (default: 1,000).
    """
    import numpy as np

    whole = np.repeat([1.0, 0.0], n_lines)
    system, other = (np.asarray(figures(weights)) for weights in (whole, 1.0 - whole))
    difference = np.abs(system - other)
    n_samples = resampling.samples or BOOTSTRAP_SAMPLES
    drawn = _draws(figures, n_lines, n_samples, resampling.seed, n_systems=2)
    gaps = np.abs(drawn[0] - drawn[1])
    p_bootstrap = _p_values(gaps - gaps.mean(0), difference)
    generator = np.random.default_rng(resampling.seed)
    swapped: list[list[Sequence[float]]] = [[], []]  # two pseudo systems, by coin flips
    for _ in range(RANDOMIZATION_TRIALS):
        kept = generator.integers(2, size=n_lines, dtype=bool)
        first = np.concatenate([kept, ~kept]).astype(np.float64)
        swapped[0].append(figures(first))
        swapped[1].append(figures(1.0 - first))
    gaps = np.abs(np.asarray(swapped[0]) - np.asarray(swapped[1]))
    p_randomization = _p_values(gaps, difference)
    columns = zip(other, p_bootstrap, p_randomization, strict=True)
    return [Comparison(*(float(number) for number in column)) for column in columns]


def _draws(
    figures: Figures, n_lines: int, n_samples: int, seed: int, n_systems: int
) -> list[NDArray[np.float64]]:
    """The figures of `n_samples` corpora, the same draws for every system.

    Shape: (samples, names) of each system.
    """
    import numpy as np

    generator = np.random.default_rng(seed)
    results: list[list[Sequence[float]]] = [[] for _ in range(n_systems)]
    for _ in range(n_samples):
        picked = generator.choice(n_lines, size=n_lines, replace=True)
        drawn = np.bincount(picked, minlength=n_lines)
        for system, samples in enumerate(results):
            weights = np.zeros((n_systems, n_lines))
            weights[system] = drawn
            samples.append(figures(weights.reshape(-1)))
    return [np.asarray(samples) for samples in results]


def _p_values(
    statistics: NDArray[np.float64], difference: NDArray[np.float64]
) -> NDArray[np.float64]:
    """The share of trials at least as extreme as the real difference, never 0. Shape: (names,)."""
    # Plus one on both sides: the observed outcome is itself one of the possible ones. A tie counts
    # against significance (sacreBLEU: for it): two equal systems have p = 1, and sums of whole
    # counts tie often. The tolerance keeps rounding from breaking ties.
    return ((statistics >= difference - 1e-12).sum(0) + 1) / (len(statistics) + 1)
