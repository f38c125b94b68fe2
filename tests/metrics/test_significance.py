"""The bootstrap and the paired tests of count metrics, against theory and sacreBLEU's own."""

from __future__ import annotations

import json
import math
import random

import numpy as np
import pytest

from attn_cli.config.scoring import METRIC_NAMES, MetricOptions
from attn_cli.metrics import METRICS
from attn_cli.metrics.base import Segment
from attn_cli.metrics.exact import ExactMatch
from attn_cli.metrics.significance import Resamples, Resampling, compare
from attn_cli.metrics.tally import CountTally


def mean(totals):
    return [totals[0] / totals[1]]


def tally(*systems):
    """The counts of the lines of one system or two, given as rows; a figure is their mean."""
    kept = CountTally(
        lambda lines, references: [json.loads(line) for line in lines],
        mean,
        lambda totals: [{}],
        systems=len(systems),
        keep=True,
    )
    answers = [[json.dumps(row) for row in rows] for rows in systems]
    for start in range(0, len(answers[0]), 7):
        window = [lines[start : start + 7] for lines in answers]
        kept.add(window, [("",)] * len(window[0]))
    return kept


def compared(system, baseline, resampling):
    both = tally(system, baseline)
    resamples = Resamples(both, both.n_lines, resampling, systems=2)
    figures = tuple(np.asarray(both.figures(i)) for i in range(2))
    (found,) = compare(both, both.n_lines, resampling, resamples, figures)
    return found


def flips(n_lines, chance, seed):
    generator = random.Random(seed)
    return [[float(generator.random() < chance), 1.0] for _ in range(n_lines)]


def test_every_metric_has_an_option():
    assert set(METRICS) == set(METRIC_NAMES)
    assert all(hasattr(MetricOptions(), name) for name in METRICS)


def test_interval_of_a_mean_is_that_of_the_normal_distribution():
    counts = flips(400, 0.3, seed=5)
    share = sum(row[0] for row in counts) / 400
    (interval,) = Resamples(tally(counts), 400, Resampling(1, 2000)).intervals()
    assert interval.mean == pytest.approx(share, abs=0.003)
    assert interval.half_width == pytest.approx(
        1.96 * math.sqrt(share * (1 - share) / 400), rel=0.08
    )


def test_p_values_agree_with_an_exact_sign_test():
    """24 lines differ, 18 of them for the system: two-sided sign test, p = 0.0227."""
    system = [[1.0, 1.0]] * 18 + [[0.0, 1.0]] * 6 + [[1.0, 1.0]] * 40
    baseline = [[0.0, 1.0]] * 18 + [[1.0, 1.0]] * 6 + [[1.0, 1.0]] * 40
    exact = 2 * sum(math.comb(24, k) for k in range(18, 25)) / 2**24
    found = compared(system, baseline, Resampling(seed=1))
    assert found.p_randomization == pytest.approx(exact, abs=0.006)
    assert found.p_bootstrap < 0.06
    assert found.baseline == pytest.approx(46 / 64)


def test_equal_systems_are_never_called_different():
    counts = flips(50, 0.5, seed=2)
    found = compared(counts, counts, Resampling(seed=1, samples=100))
    assert found.p_bootstrap == found.p_randomization == 1.0


def test_a_large_difference_is_significant_and_reported_by_the_metric():
    segments = [Segment("yes", ("yes",), "no" if i % 2 else "yes") for i in range(40)]
    (score,) = ExactMatch(MetricOptions()).corpus(
        segments, Resampling(seed=1, samples=200), compare=True
    )
    assert (score.value, score.comparison.baseline) == (1.0, 0.5)
    assert max(score.comparison.p_bootstrap, score.comparison.p_randomization) < 0.01
    assert "bs:200|seed:1" in score.signature


def test_bootstrap_draws_the_same_lines_as_sacrebleu():
    from sacrebleu.significance import _bootstrap_resample

    class Mean:
        def _compute_score_from_stats(self, totals):
            return mean(totals)[0]

    counts = flips(30, 0.4, seed=9)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SACREBLEU_SEED", "77")
        _, samples = _bootstrap_resample(counts, Mean(), 100)
    (interval,) = Resamples(tally(counts), 30, Resampling(77, 100)).intervals()
    assert interval.mean == pytest.approx(sum(samples) / 100)
