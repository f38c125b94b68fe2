from __future__ import annotations

from attn_cli.config.scoring import MetricOptions
from attn_cli.metrics.base import Segment
from attn_cli.metrics.exact import ExactMatch


def test_a_match_with_any_reference_counts_and_case_matters_unless_told():
    segments = [
        Segment("New York ", ("Boston", "New York")),
        Segment("new york", ("New York",)),
        Segment("", ("",)),
        Segment("York", ("New York",)),
    ]
    assert [ExactMatch(MetricOptions()).line(s) for s in segments] == [[1.0], [0.0], [1.0], [0.0]]
    assert ExactMatch(MetricOptions(lowercase=True)).line(segments[1]) == [1.0]
