from __future__ import annotations

import collections

import pytest
import torch
from table_model import TableModel, sources

from attn_cli.config.decoding import SearchOptions
from attn_cli.search.sampling import draw, uniforms
from attn_cli.search.search import Request, search

DRAWS = 40_000


def options(**given):
    return SearchOptions(sample=True, **given)


def chi_square(counts, probs):
    """Pearson's statistic over what is possible; nothing impossible may have been drawn."""
    assert counts[probs == 0].sum() == 0
    expected = probs[probs > 0] * counts.sum()
    return float(((counts[probs > 0] - expected) ** 2 / expected).sum())


def expected_distribution(probs, temperature, top_k, top_p):
    """The definition, in plain Python."""
    scaled = [float(p) ** (1 / temperature) for p in probs]
    order = sorted(range(len(scaled)), key=lambda i: -scaled[i])
    order = order[: top_k or len(order)]
    mass, total, kept = 0.0, sum(scaled[i] for i in order), []
    for i in order:
        kept.append(i)
        mass += scaled[i] / total
        if mass >= top_p:
            break
    result = torch.zeros(len(scaled), dtype=torch.float64)
    for i in kept:
        result[i] = scaled[i]
    return result / result.sum()


@pytest.mark.parametrize(
    ("vocabulary", "temperature", "top_k", "top_p"),
    [
        (20, 1.0, 0, 1.0),
        (20, 0.5, 0, 1.0),
        (20, 2.0, 0, 1.0),
        (20, 1.0, 5, 1.0),
        (20, 1.0, 50, 1.0),
        (20, 1.0, 1, 1.0),
        (20, 1.0, 0, 0.6),
        (20, 1.5, 8, 0.7),
        (20, 1.0, 0, 0.001),
        (600, 4.0, 0, 0.9),  # a nucleus larger than the first try
        (600, 1.0, 0, 0.5),
    ],
)
def test_frequencies_are_the_distribution(vocabulary, temperature, top_k, top_p):
    generator = torch.Generator().manual_seed(7)
    log_probs = (2 * torch.randn(vocabulary, generator=generator)).log_softmax(0)
    tokens = draw(
        log_probs.expand(DRAWS, -1).clone(),
        torch.rand(DRAWS, generator=generator),
        options(temperature=temperature, top_k=top_k, top_p=top_p),
    )
    counts = torch.bincount(tokens, minlength=vocabulary).double()
    probs = expected_distribution(log_probs.double().exp(), temperature, top_k, top_p)
    freedom = int((probs > 0).sum()) - 1
    # Six standard deviations above the statistic's mean, which is its degrees of freedom.
    assert chi_square(counts, probs) <= freedom + 6 * (2 * freedom) ** 0.5


def test_the_extremes_of_the_random_number_hit_possible_tokens():
    log_probs = torch.tensor([[float("-inf"), -0.7, float("-inf"), -0.7, float("-inf")]])
    for uniform in (0.0, 1 - 2**-24):
        for given in ({}, {"top_k": 3}, {"top_p": 0.99}):
            token = draw(log_probs, torch.tensor([uniform]), options(**given))
            assert token.item() in (1, 3)


@pytest.mark.parametrize("given", [{}, {"top_k": 3}, {"top_p": 0.9}, {"temperature": 0.3}])
def test_a_row_without_a_token_spoils_no_other(given):
    log_probs = torch.full((3, 200), float("-inf"))
    log_probs[1, 7] = -400.0
    tokens = draw(log_probs, torch.rand(3), options(**given))
    assert tokens[1] == 7
    assert all(0 <= token < 200 for token in tokens.tolist())


def test_random_numbers_belong_to_seed_and_key():
    first = uniforms(1, 5, 2, 30)
    assert torch.equal(first, uniforms(1, 5, 2, 30))
    assert torch.equal(first[:, :10], uniforms(1, 5, 2, 10))
    assert not torch.equal(first, uniforms(2, 5, 2, 30))
    assert not torch.equal(first, uniforms(1, 6, 2, 30))


def test_samples_follow_their_key_and_not_their_place():
    model = TableModel(40)
    asked = [Request(source, 9, key=100 + i) for i, source in enumerate(sources(20))]

    def run(requests, seed):
        return search(model, requests, options(n_best=2), max_rows=16, seed=seed)

    forward = run(asked, 1)
    assert run(asked[::-1], 1)[::-1] == forward
    assert run(asked, 2) != forward


def test_whole_outputs_come_with_their_probability():
    model = TableModel(6, sharpness=1.0)
    model.table[:, [0, 1]] = float("-inf")
    model.table = model.table.log_softmax(1)
    requests = [Request((5, 8), 6, key=i) for i in range(300)]
    found = search(model, requests, options(n_best=20), max_rows=2000)
    assert all(len(samples) == 20 for samples in found)
    counts = collections.Counter(h.tokens for samples in found for h in samples)
    likely = sorted(model.all_outputs((5, 8), 3), key=lambda item: -item[1])[:8]
    for tokens, log_prob in likely:
        expected = 6000 * float(torch.tensor(log_prob).exp())
        assert abs(counts[tokens] - expected) < 5 * expected**0.5 + 1
