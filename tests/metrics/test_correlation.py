"""Pearson and Spearman correlation against SciPy."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from attn_cli.config.scoring import MetricOptions, ScoreOptions
from attn_cli.errors import DataError
from attn_cli.metrics import METRICS
from attn_cli.metrics.base import Segment
from attn_cli.metrics.correlation import parse_number
from attn_cli.metrics.scoring import score_corpus
from attn_cli.metrics.significance import Resampling

OPTIONS = ScoreOptions(pearson=True, spearman=True)
number = st.integers(-40, 40).map(lambda n: n / 8)


def figures(x, y):
    segments = [Segment(repr(float(a)), (repr(float(b)),)) for a, b in zip(x, y, strict=True)]
    return [score.value for score in score_corpus(OPTIONS, segments)]


@settings(deadline=None, max_examples=60)
@given(st.lists(st.tuples(number, number), min_size=3, max_size=30))
def test_as_scipy_ties_included(lines):
    x, y = zip(*lines, strict=True)
    if len(set(x)) == 1 or len(set(y)) == 1:
        assert figures(x, y) == [0.0, 0.0]  # undefined
    else:
        expected = [stats.pearsonr(x, y).statistic, stats.spearmanr(x, y).statistic]
        assert figures(x, y) == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize(("shift", "scale"), [(1e9, 1.0), (0.0, 1e-200), (0.0, 1e200)])
def test_large_means_and_extreme_scales_cost_no_digits(shift, scale):
    generator = np.random.default_rng(2)
    x = generator.normal(size=50)
    y = x + generator.normal(size=50)
    plain = [stats.pearsonr(x, y).statistic, stats.spearmanr(x, y).statistic]
    assert figures(x * scale + shift, y) == pytest.approx(plain, abs=1e-6)


@pytest.mark.parametrize(
    ("name", "function"), [("pearson", stats.pearsonr), ("spearman", stats.spearmanr)]
)
def test_a_resample_is_ranked_anew(name, function):
    generator = np.random.default_rng(8)
    x, y = generator.integers(0, 9, size=(2, 30))
    weights = generator.integers(0, 4, size=30)
    repeated = np.repeat(np.arange(30), weights)
    tally = METRICS[name](MetricOptions()).tally(keep=True)
    tally.add([[str(n) for n in x]], [(str(n),) for n in y])
    expected = function(x[repeated], y[repeated]).statistic
    assert tally.drawn(weights[None], 0) == pytest.approx(np.asarray([[expected]]))


def test_a_better_system_is_significantly_better():
    generator = np.random.default_rng(3)
    gold = generator.normal(size=60)
    good, poor = gold + generator.normal(size=(2, 60)) * [[0.3], [3.0]]
    segments = [
        Segment(str(g), (str(y),), str(p)) for g, y, p in zip(good, gold, poor, strict=True)
    ]
    (score,) = METRICS["spearman"](MetricOptions()).corpus(
        segments, Resampling(seed=1, samples=300), compare=True
    )
    assert score.comparison.baseline == pytest.approx(stats.spearmanr(poor, gold).statistic)
    assert score.comparison.p_randomization < 0.01
    assert abs(score.interval.mean - score.value) < score.interval.half_width


def test_what_is_no_number_is_refused():
    assert [parse_number(t) for t in (" -1.5e3 ", "7", "nan", "inf", "1_0", "1,5", "")] == [
        *(-1500.0, 7.0),
        *[None] * 5,
    ]
    with pytest.raises(DataError, match="'high' is not a number"):
        score_corpus(OPTIONS, [Segment("high", ("1",))])
