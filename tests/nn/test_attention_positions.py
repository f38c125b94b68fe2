"""Positions inside self-attention, against a double loop and against complex numbers."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from attn_cli.config.attention import AttentionOptions
from attn_cli.nn.attention import MultiHeadAttention
from attn_cli.nn.positions import (
    Positions,
    RelativePositions,
    RotaryPositions,
    SinusoidalHalvesPositions,
    SinusoidalPositions,
)

B, H, T, K = 2, 2, 7, 4


@pytest.fixture(autouse=True)
def _seeded():
    torch.manual_seed(17)


def test_halves_are_the_pairs_in_another_order():
    positions = Positions.first(40, torch.device("cpu"))
    pairs, halves = (
        kind(8, 16)(positions) for kind in (SinusoidalPositions, SinusoidalHalvesPositions)
    )
    assert torch.equal(halves, torch.cat((pairs[..., 0::2], pairs[..., 1::2]), -1))


def heads_by_hand(module, query, key, value, causal):
    """Shaw et al. 2018, eq. 3 and 4, for one pair of positions after another."""
    scheme = module.attention.positions
    context = torch.zeros_like(value)
    n = len(query)
    for i in range(n):
        last = i + 1 if causal else n
        r = [max(-scheme.max_distance, min(scheme.max_distance, j - i)) for j in range(last)]
        rows = [d + scheme.max_distance for d in r]
        e = [float(query[i] @ (key[j] + scheme.keys[rows[j]])) / math.sqrt(K) for j in range(last)]
        total = sum(math.exp(x) for x in e)
        for j in range(last):
            context[i] += math.exp(e[j]) / total * (value[j] + scheme.values[rows[j]])
    return context


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("max_distance", [1, 3, 16])
@torch.no_grad()
def test_relative_positions_are_the_direct_double_loop(max_distance, causal):
    options = AttentionOptions(positions="relative", max_distance=max_distance, combine="concat")
    module = MultiHeadAttention(H * K, H, options)
    x = torch.randn(B, T, H * K)
    found, weights, _ = module(x, None, Positions.first(T, x.device), causal=causal)
    assert weights is None
    projected = nn.functional.linear(x, module.in_weight.flatten(0, 1), module.in_bias.flatten())
    query, key, value = projected.unflatten(-1, (3, H, K)).permute(2, 0, 3, 1, 4)
    for b in range(B):
        heads = [
            heads_by_hand(module, query[b, h], key[b, h], value[b, h], causal) for h in range(H)
        ]
        torch.testing.assert_close(found[b], torch.cat(heads, -1), atol=1e-5, rtol=1e-5)


def test_a_relative_step_sees_the_distances_of_the_whole():
    scheme = RelativePositions(K, 2)
    query, weights = torch.randn(B, H, T, K), torch.rand(B, H, T, T)
    positions = Positions.first(T, query.device)
    whole, values = scheme.score_terms(query, positions, T), scheme.value_terms(weights, positions)
    for t in range(T):
        step = Positions(torch.tensor([[t]]), t + 1)
        one = scheme.score_terms(query[:, :, t : t + 1], step, t + 1)
        torch.testing.assert_close(one[:, :, 0], whole[:, :, t, : t + 1])
    last = scheme.value_terms(weights[:, :, -1:], step)
    torch.testing.assert_close(last, values[:, :, -1:])


@torch.no_grad()
def test_rotary_positions_turn_each_pair_by_a_matrix():
    """Su et al. 2021, eq. 14-15."""
    places = torch.tensor([[0, 1, 5, 700, 2, 3, 4], [9, 8, 7, 6, 5, 4, 3]])
    heads = torch.randn(B, H, T, K)
    found = RotaryPositions(K, 1).rotate(heads, Positions(places, 701))
    speed = 10000.0 ** (-torch.arange(0, K, 2, dtype=torch.float64) / K)
    angle = places[:, None, :, None] * speed
    rows = [
        torch.stack((angle.cos(), -angle.sin()), -1),
        torch.stack((angle.sin(), angle.cos()), -1),
    ]
    turned = torch.stack(rows, -2) @ heads.double().unflatten(-1, (-1, 2, 1))
    torch.testing.assert_close(found.double(), turned.flatten(-3), atol=1e-5, rtol=1e-5)


def test_rotary_scores_depend_on_distance_alone():
    scheme = RotaryPositions(K, 1)
    query, key = torch.randn(1, 1, 1, K), torch.randn(1, 1, 1, K)

    def score(i, j):
        one = scheme.rotate(query, Positions(torch.tensor([[i]]), i + 1))
        two = scheme.rotate(key, Positions(torch.tensor([[j]]), j + 1))
        return float((one * two).sum())

    assert score(3, 1) == pytest.approx(score(90, 88), abs=1e-4)
    assert score(3, 1) != pytest.approx(score(1, 3), abs=1e-3)
    first = Positions.first(1, query.device)
    assert torch.equal(scheme.rotate(query, first), query)  # the first position is not turned


@pytest.mark.parametrize("positions", ["relative", "rotary"])
def test_only_self_attention_has_positions(positions):
    module = MultiHeadAttention(8, 2, AttentionOptions(positions=positions), to_self=False)
    x, memory = torch.randn(1, 3, 8), torch.randn(1, 5, 8)
    mixed = torch.tensor([4, 2, 0, 1, 3])
    found, again = (
        module.attend_to(module.project_memory(read), x, None).context
        for read in (memory, memory[:, mixed])
    )
    torch.testing.assert_close(again, found, atol=1e-5, rtol=1e-5)


def test_relative_positions_store_no_vector_for_a_pair():
    module = MultiHeadAttention(64, 1, AttentionOptions(positions="relative"))
    biggest = 0

    def watch(tensor):
        nonlocal biggest
        biggest = max(biggest, tensor.numel())
        return tensor

    x = torch.randn(1, 512, 64)
    with torch.autograd.graph.saved_tensors_hooks(watch, lambda tensor: tensor):
        module(x, None, Positions.first(512, x.device)).context.sum().backward()
    assert 0 < biggest <= 512 * 512
