"""Losses of whole sentences against sums over all that a tiny model can say."""

from __future__ import annotations

import itertools

import pytest
import torch
from torch.nn import functional as F

from attn_cli.nn.sequence_losses import expected_risk, self_critical, sequence_log_probs

LETTERS = 3


def every_sequence(longest):
    """All sequences of up to so many of three tokens."""
    lengths = range(1, longest + 1)
    return [s for n in lengths for s in itertools.product(range(LETTERS), repeat=n)]


def log_prob(table, sequence):
    """Of a chain: the first token's by row 0, each other's by its predecessor's row."""
    rows = [0, *(token + 1 for token in sequence[:-1])]
    return sum(table[row].log_softmax(-1)[token] for row, token in zip(rows, sequence, strict=True))


@pytest.mark.parametrize("sharpness", [1.0, 0.3])
def test_the_risk_of_all_sequences_has_the_gradient_of_the_exact_sum(sharpness):
    torch.manual_seed(4)
    table = torch.randn(LETTERS + 1, LETTERS, dtype=torch.float64, requires_grad=True)
    sequences = every_sequence(3)
    costs = torch.rand(len(sequences), dtype=torch.float64)
    # Written out: Σ P^α Δ / Σ P^α over every sequence, by probabilities, not by logarithms.
    probs = torch.stack([log_prob(table, sequence).exp() for sequence in sequences])
    exact = (probs**sharpness * costs).sum() / (probs**sharpness).sum()
    (wanted,) = torch.autograd.grad(exact, table)
    log_probs = torch.stack([log_prob(table, sequence) for sequence in sequences])[None]
    loss = expected_risk(log_probs, costs[None], torch.ones_like(log_probs).bool(), sharpness)
    (found,) = torch.autograd.grad(loss, table)
    torch.testing.assert_close(found * sharpness, wanted)
    torch.testing.assert_close(loss * sharpness + costs.mean(), exact)


def test_of_small_sharpness_the_risk_is_reinforce_with_the_mean_as_baseline():
    torch.manual_seed(4)
    log_probs = -20 * torch.rand(2, 5, dtype=torch.float64)
    log_probs.requires_grad_()
    rewards, real = torch.rand(2, 5, dtype=torch.float64), torch.ones(2, 5, dtype=torch.bool)
    (one,) = torch.autograd.grad(expected_risk(log_probs, 1 - rewards, real, 1e-6), log_probs)
    critical = self_critical(log_probs, rewards, rewards.mean(1), real)
    (other,) = torch.autograd.grad(critical, log_probs)
    torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-4)


def test_reinforce_has_the_gradient_of_its_formula():
    torch.manual_seed(5)
    table = torch.randn(LETTERS + 1, LETTERS, requires_grad=True)
    samples = [[(0, 1), (2,), (0, 1)], [(1, 1, 2), (0,)]]
    rewards, baseline = [[0.3, 0.9, 0.3], [0.0, 0.4]], [0.5, 0.1]
    wanted = torch.zeros_like(table)
    for own, gains, base in zip(samples, rewards, baseline, strict=True):
        for sample, gain in zip(own, gains, strict=True):
            (gradient,) = torch.autograd.grad(log_prob(table, sample), table)
            wanted -= (gain - base) * gradient / len(own)
    real = torch.tensor([[True] * 3, [True, True, False]])
    log_probs = torch.zeros(2, 3).masked_scatter(
        real, torch.stack([log_prob(table, sample) for own in samples for sample in own])
    )
    padded = torch.tensor([rewards[0], [*rewards[1], 9.0]])  # what is not real must not count
    loss = self_critical(log_probs, padded, torch.tensor(baseline), real)
    (found,) = torch.autograd.grad(loss, table)
    torch.testing.assert_close(found, wanted)


def test_a_sentence_without_outputs_costs_nothing():
    log_probs = torch.zeros(2, 2, requires_grad=True)
    values, real = torch.rand(2, 2), torch.tensor([[True, True], [False, False]])
    alone = expected_risk(log_probs[:1], values[:1], real[:1], 0.5)
    torch.testing.assert_close(expected_risk(log_probs, values, real, 0.5), alone)
    loss = self_critical(log_probs, values, torch.ones(2), real)
    (gradient,) = torch.autograd.grad(loss, log_probs)
    assert gradient[0].abs().sum() > 0
    assert not gradient[1].any()


def test_log_probabilities_of_rows_and_their_gradients(monkeypatch):
    several = "attn_cli.nn.sequence_losses.rows_at_once"
    monkeypatch.setattr(several, lambda device, vocab: 2)
    torch.manual_seed(6)
    hidden, weight, bias = (
        torch.randn(shape, requires_grad=True) for shape in ((3, 4, 5), (7, 5), (7,))
    )
    tokens = torch.randint(7, (3, 4))
    real = torch.arange(4) < torch.tensor([4, 0, 2])[:, None]
    found = sequence_log_probs(hidden, tokens, real, weight, bias)
    each = F.cross_entropy(F.linear(hidden, weight, bias).mT, tokens, reduction="none")
    wanted = -(each * real).sum(1)
    torch.testing.assert_close(found, wanted)
    scale = torch.tensor([0.5, 3.0, -2.0])
    inputs = (hidden, weight, bias)
    gradients = torch.autograd.grad((found * scale).sum(), inputs)
    expected = torch.autograd.grad((wanted * scale).sum(), inputs)
    torch.testing.assert_close(gradients, expected)
