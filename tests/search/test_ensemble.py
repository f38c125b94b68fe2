from __future__ import annotations

import math

import pytest
import torch
from table_model import BOS, EOS, TableModel, sources

from attn_cli.config.decoding import SearchOptions
from attn_cli.errors import UsageError
from attn_cli.search.ensemble import Ensemble
from attn_cli.search.search import Request, search


def run(model, **options):
    requests = [Request(source, 8) for source in sources(30)]
    return search(model, requests, SearchOptions(**options), max_rows=40)


@pytest.mark.parametrize("options", [{"n_best": 5}, {"coverage_penalty": 0.2}, {"sample": True}])
def test_an_ensemble_of_one_is_its_model(options):
    assert run(Ensemble([TableModel(30)]), **options) == run(TableModel(30), **options)


def test_probabilities_are_the_mean():
    members = [TableModel(30, seed=seed) for seed in range(3)]
    for request, (hypothesis,) in zip(sources(30), run(Ensemble(members)), strict=True):
        total = 0.0
        for i, token in enumerate([*hypothesis.tokens, EOS]):
            probs = [
                float(m.next_log_probs(request, hypothesis.tokens[:i])[token].exp())
                for m in members
            ]
            total += math.log(sum(probs) / 3)
        assert hypothesis.log_prob == pytest.approx(total, rel=1e-5)


def test_a_token_that_no_member_allows_stays_impossible():
    members = [TableModel(30, seed=seed) for seed in range(2)]
    for member in members:
        member.table[:, 9] = float("-inf")
    ensemble = Ensemble(members)
    output = ensemble.step(ensemble.start([(4,)]), torch.tensor([[BOS]]))
    assert output.log_probs[0, 0, 9] == float("-inf")
    assert not output.log_probs.isnan().any()


def test_attention_is_the_mean():
    members = [TableModel(30, seed=seed) for seed in range(2)]
    ensemble = Ensemble(members)
    start = ensemble.start([(4, 5, 6)])
    both = ensemble.step(start, torch.tensor([[BOS]]), need_attention=True).attention
    single = [
        m.step(m.start([(4, 5, 6)]), torch.tensor([[BOS]]), need_attention=True).attention
        for m in members
    ]
    torch.testing.assert_close(both, (single[0] + single[1]) / 2)


def test_members_must_share_a_vocabulary():
    with pytest.raises(UsageError, match="30, 31"):
        run(Ensemble([TableModel(30), TableModel(31)]))
    other = TableModel(30)
    other.eos_id = 5
    with pytest.raises(UsageError, match="vocabulary"):
        Ensemble([TableModel(30), other])
    with pytest.raises(UsageError, match="at least one"):
        Ensemble([])
