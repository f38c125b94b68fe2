"""Several models' opinions in one search, against the ranking of all outputs."""

from __future__ import annotations

import pytest
import torch
from table_model import BOS, EOS, TableModel, sources

from attn_cli.config.decoding import SearchOptions
from attn_cli.search.fusion import Fusion
from attn_cli.search.search import Request, search

WEIGHT = 0.6


def run(model, requests, max_rows=1000, **options):
    return search(model, requests, SearchOptions(**options), max_rows=max_rows)


def fused(vocabulary=6, weight=WEIGHT):
    own, other = TableModel(vocabulary, seed=0), TableModel(vocabulary, seed=1)
    return own, other, Fusion(own, [(other, weight)])


@pytest.mark.parametrize("alpha", [0.0, 1.0])
def test_a_wide_beam_finds_the_best_by_both(alpha):
    own, other, model = fused()
    asked = [Request(source, 4) for source in sources(8)]
    found = run(model, asked, beam=400, n_best=5, length_penalty=alpha)
    for request, hypotheses in zip(asked, found, strict=True):
        ranked = sorted(
            (
                ((total + WEIGHT * other.log_prob(request.source, y)) / (len(y) + 1) ** alpha, y)
                for y, total in own.all_outputs(request.source, 4)
            ),
            reverse=True,
        )
        assert [h.tokens for h in hypotheses] == [y for _, y in ranked[:5]]
        assert [h.score for h in hypotheses] == pytest.approx([s for s, _ in ranked[:5]], rel=1e-5)


def test_states_follow_their_beams_and_sentences():
    """What comes out does not depend on what is searched beside it."""
    _, _, model = fused(vocabulary=30)
    asked = [Request(source, 8) for source in sources(30)]
    together = run(model, asked, max_rows=40, beam=4)
    assert together == [found for request in asked for found in run(model, [request], beam=4)]


def test_greedy_takes_the_best_of_both_at_each_step():
    own, other, model = fused(vocabulary=30)
    for source in sources(10):
        tokens = []
        while len(tokens) < 8:
            both = own.next_log_probs(source, tokens)
            both = both + WEIGHT * other.next_log_probs(source, tokens)
            best = int(both.argmax())
            if best == EOS:
                break
            tokens.append(best)
        ((hypothesis,),) = run(model, [Request(source, 8)], greedy=True)
        assert hypothesis.tokens == tuple(tokens)


def test_without_weight_it_is_the_model_alone():
    own, _, model = fused(vocabulary=30, weight=0.0)
    asked = [Request(source, 8) for source in sources(10)]
    assert run(model, asked, n_best=5) == run(own, asked, n_best=5)


def test_attention_is_the_models_own():
    own, _, model = fused(vocabulary=30)
    bos = torch.tensor([[BOS]])
    both = model.step(model.start([(4, 5, 6)]), bos, need_attention=True).attention
    alone = own.step(own.start([(4, 5, 6)]), bos, need_attention=True).attention
    torch.testing.assert_close(both, alone)
