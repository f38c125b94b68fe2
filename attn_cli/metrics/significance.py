"""Resampling for metrics that are counts: the bootstrap and two paired tests.

sacreBLEU's metrics use sacreBLEU's own implementation; these share its definitions, ties aside.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from attn_cli.metrics.base import Comparison, Interval, Resampling

if TYPE_CHECKING:
    import numpy as np

Values = Callable[[Sequence[float]], list[float]]

# sacreBLEU's defaults, so that all metrics of one run are tested equally hard.
BOOTSTRAP_SAMPLES = 1_000
RANDOMIZATION_TRIALS = 10_000


def bootstrap(
    counts: Sequence[Sequence[float]], values: Values, n_samples: int, seed: int
) -> list[Interval]:
    """Estimates each figure's mean and 95 % interval by drawing lines with replacement (Efron).

    Args:
        counts: one row per line.
        values: figures of added counts.
        n_samples: how many corpora are drawn.
        seed: seed of the draws.
    """
    import numpy as np

    rows = np.asarray(counts, dtype=np.float64)
    samples = _draws([rows], values, n_samples, seed)[0]
    return [_interval(column) for column in samples.T]


def paired_tests(
    counts: Sequence[Sequence[float]],
    baseline: Sequence[Sequence[float]],
    values: Values,
    resampling: Resampling,
) -> list[Comparison]:
    """Tests whether a system differs from a baseline by more than chance, two-sided.

    Args:
        counts: the system's counts, one row per line.
        baseline: the baseline's counts of the same lines.
        values: figures of added counts.
        resampling: seed of the draws, and bootstrap samples (default: 1,000).
    """
    import numpy as np

    rows = [np.asarray(each, dtype=np.float64) for each in (counts, baseline)]
    system, other = (np.asarray(values(each.sum(0))) for each in rows)
    difference = np.abs(system - other)
    n_samples = resampling.samples or BOOTSTRAP_SAMPLES
    drawn = _draws(rows, values, n_samples, resampling.seed)
    gaps = np.abs(drawn[0] - drawn[1])
    swapped = _swaps(rows, values, RANDOMIZATION_TRIALS, resampling.seed)
    p_bootstrap = _p_values(gaps - gaps.mean(0), difference)
    p_randomization = _p_values(np.abs(swapped[0] - swapped[1]), difference)
    columns = zip(other, p_bootstrap, p_randomization, strict=True)
    return [Comparison(*(float(number) for number in column)) for column in columns]


def _draws(
    systems: list[np.ndarray], values: Values, n_samples: int, seed: int
) -> list[np.ndarray]:
    """Figures of `n_samples` corpora, the same draws for every system. Shape: (samples, names)."""
    import numpy as np

    generator = np.random.default_rng(seed)
    n_lines = len(systems[0])
    results: list[list[list[float]]] = [[] for _ in systems]
    for _ in range(n_samples):
        picked = generator.choice(n_lines, size=n_lines, replace=True)
        for rows, figures in zip(systems, results, strict=True):
            figures.append(values(rows[picked].sum(0)))
    return [np.asarray(figures) for figures in results]


def _swaps(systems: list[np.ndarray], values: Values, n_trials: int, seed: int) -> list[np.ndarray]:
    """Figures of two pseudo systems whose lines were swapped by coin flips. (trials, names)."""
    import numpy as np

    generator = np.random.default_rng(seed)
    system, baseline = systems
    total, gain = system.sum(0) + baseline.sum(0), system - baseline
    results: list[list[list[float]]] = [[], []]
    for _ in range(n_trials):
        kept = generator.integers(2, size=len(gain), dtype=bool)
        first = baseline.sum(0) + kept @ gain
        results[0].append(values(first))
        results[1].append(values(total - first))
    return [np.asarray(figures) for figures in results]


def _interval(samples: np.ndarray) -> Interval:
    """The mean and half the distance between the 2.5 % points at either end, as sacreBLEU's."""
    ordered = sorted(samples.tolist())
    cut = len(ordered) // 40
    return Interval(
        mean=sum(ordered) / len(ordered), ci95=(ordered[len(ordered) - cut - 1] - ordered[cut]) / 2
    )


def _p_values(statistics: np.ndarray, difference: np.ndarray) -> np.ndarray:
    """Share of trials at least as extreme as the real difference, never 0. Shape: (names,)."""
    # Plus one on both sides: the observed outcome is itself one of the possible ones. A tie counts
    # against significance (sacreBLEU: for it): two equal systems have p = 1, and sums of whole
    # counts tie often. The tolerance keeps rounding from breaking ties.
    return ((statistics >= difference - 1e-12).sum(0) + 1) / (len(statistics) + 1)
