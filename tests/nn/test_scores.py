"""Score functions and normalizations against loops written from their formulas."""

from __future__ import annotations

import math

import pytest
import torch

from attn_cli.config.attention import NORMALIZATIONS, SCORE_FUNCTIONS, AttentionOptions
from attn_cli.nn.attention import Attention, MultiHeadAttention, causal_mask
from attn_cli.nn.normalizers import NORMALIZERS
from attn_cli.nn.scores import SCORES

B, H, T, S, K = 2, 3, 4, 5, 6


@pytest.fixture(autouse=True)
def _seeded():
    torch.manual_seed(13)


def randomized(module):
    for weight in module.parameters():
        torch.nn.init.normal_(weight, std=0.7)
    return module


def compared(score, query, key):
    return score.compare(score.map_query(query), score.map_key(key))


def by_formula(name, score, head, k, q):
    """a(k, q) of one key and one query, from the formula."""
    weights = {name: weight.detach() for name, weight in score.named_parameters()}
    if name in ("dot", "scaled-dot"):
        return sum(k[i] * q[i] for i in range(len(k))) / (
            math.sqrt(len(k)) if name == "scaled-dot" else 1.0
        )
    if name == "general":
        rows, columns = range(len(k)), range(len(q))
        return sum(k[i] * weights["weight"][head, i, j] * q[j] for i in rows for j in columns)
    if name == "additive":
        hidden = weights["key_weight"][head] @ k + weights["query_weight"][head] @ q
        w = weights["combination"].view(-1, len(k))[head]
        return sum(w[i] * math.tanh(hidden[i]) for i in range(len(k)))
    if name == "cosine":
        lengths = math.sqrt(sum(x * x for x in k)) * math.sqrt(sum(x * x for x in q))
        return math.exp(weights["log_sharpness"][head]) * float(k @ q) / lengths
    return 0.0


def table(name, score, head, key, query):
    return torch.tensor([[float(by_formula(name, score, head, k, q)) for k in key] for q in query])


def test_the_options_name_what_there_is():
    assert tuple(SCORES) == SCORE_FUNCTIONS
    assert set(NORMALIZATIONS) == set(NORMALIZERS) - {"hard"}


@pytest.mark.parametrize("name", SCORES)
def test_a_score_is_its_formula_with_parameters_of_each_head(name):
    score = randomized(SCORES[name](K, n_heads=H))
    query, key = torch.randn(B, H, T, K), torch.randn(B, H, S, K)
    found = compared(score, query, key)
    for b in range(B):
        for h in range(H):
            wanted = table(name, score, h, key[b, h], query[b, h])
            torch.testing.assert_close(found[b, h], wanted, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("name", SCORES)
def test_a_score_without_heads_is_its_formula(name):
    score = randomized(SCORES[name](K))
    query, key = torch.randn(B, T, K), torch.randn(B, S, K)
    for b, found in enumerate(compared(score, query, key)):
        wanted = table(name, score, 0, key[b], query[b])
        torch.testing.assert_close(found, wanted, atol=1e-5, rtol=1e-5)


def test_additive_scores_in_blocks_are_the_same(monkeypatch):
    score = randomized(SCORES["additive"](K, n_heads=H))
    query, key = torch.randn(B, H, T, K), torch.randn(B, H, S, K)
    whole = compared(score, query, key)
    monkeypatch.setattr("attn_cli.nn.scores._BLOCK", 1)
    torch.testing.assert_close(compared(score, query, key), whole)


def test_general_begins_as_the_scaled_dot_product():
    query, key = torch.randn(B, T, K), torch.randn(B, S, K)
    wanted = compared(SCORES["scaled-dot"](K), query, key)
    torch.testing.assert_close(compared(SCORES["general"](K), query, key), wanted)


def positive(score):
    return math.log1p(math.exp(score))


@pytest.mark.parametrize(("name", "p"), [("softmax", math.exp), ("sum", positive)])
def test_a_normalization_is_its_formula_over_the_allowed_keys(name, p):
    scores = torch.randn(T, S) * 3
    mask = causal_mask(S)[:T]
    found, open_to_all = (NORMALIZERS[name]()(scores, seen).weights for seen in (mask, None))
    for t in range(T):
        total = sum(p(float(scores[t, s])) for s in range(t + 1))
        for s in range(S):
            wanted = p(float(scores[t, s])) / total if s <= t else 0.0
            assert float(found[t, s]) == pytest.approx(wanted, abs=1e-6)
    torch.testing.assert_close(open_to_all.sum(-1), torch.ones(T))


@pytest.mark.parametrize("name", NORMALIZERS)
@pytest.mark.parametrize("training", [False, True])
def test_no_allowed_key_gives_zeros_and_finite_gradients(name, training):
    scores = torch.randn(3, S, requires_grad=True)
    mask = torch.ones(3, S, dtype=torch.bool)
    mask[1] = False
    weights, log_probs = NORMALIZERS[name]().train(training)(scores, mask)
    assert not weights[1].any()
    torch.testing.assert_close(weights[[0, 2]].sum(-1), torch.ones(2))
    assert (log_probs is not None) == (name == "hard" and training)
    terms = [weights.square().sum(), *([] if log_probs is None else [log_probs[[0, 2]].sum()])]
    if any(term.requires_grad for term in terms):
        sum(terms).backward()
        assert scores.grad.isfinite().all()


def test_mean_attention_is_the_plain_average():
    value = torch.randn(B, S, K)
    mask = torch.tensor([True, True, False, True, False])
    attention = Attention(SCORES["mean"](K))
    context, weights, _ = attention(torch.randn(B, T, K), torch.randn(B, S, K), value, mask)
    assert weights is None
    wanted = value[:, mask].mean(1, keepdim=True).expand(B, T, K)
    torch.testing.assert_close(context, wanted)


def test_hard_attention_takes_the_best_key_at_run_time():
    attention = Attention(SCORES["dot"](K), NORMALIZERS["hard"]()).eval()
    query, key, value = torch.randn(B, T, K), torch.randn(B, S, K), torch.randn(B, S, 2)
    context, weights, _ = attention(query, key, value, need_weights=True)
    best = (query @ key.mT).argmax(-1)
    for b in range(B):
        torch.testing.assert_close(context[b], value[b, best[b]])
    assert torch.equal(weights.sum(-1), torch.ones(B, T))


def test_hard_attention_draws_by_the_softmax_in_training():
    scores = torch.tensor([[0.0, 1.0, 2.0]]).repeat(20_000, 1)
    mask = torch.tensor([True, False, True])
    drawn, log_probs = NORMALIZERS["hard"]().train()(scores, mask)
    share = float(drawn[:, 2].mean())
    chance = math.exp(2) / (1 + math.exp(2))
    assert share == pytest.approx(chance, abs=0.01)
    assert not drawn[:, 1].any()
    wanted = torch.where(drawn[:, 2] > 0, math.log(chance), math.log(1 - chance))
    torch.testing.assert_close(log_probs, wanted)


def test_tied_keys_and_values_share_their_projection():
    tied = MultiHeadAttention(12, 3, AttentionOptions(tie_key_value=True))
    key, value = tied.project_memory(torch.randn(2, 4, 12))
    assert torch.equal(key, value)
    assert tied.in_weight.shape == (2, 12, 12)
