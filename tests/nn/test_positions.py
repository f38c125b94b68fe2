from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from attn_cli.nn.positions import POSITIONS, SinusoidalPositions, TokenEmbedding


@pytest.mark.parametrize("d_model", [8, 7])
def test_sinusoidal_positions_are_the_published_formula(d_model):
    found = SinusoidalPositions(d_model, 4)(torch.tensor([[0, 1, 3, 50, 700]]))[0]
    for row, position in zip(found, (0, 1, 3, 50, 700), strict=True):
        for i, value in enumerate(row.tolist()):
            angle = position / 10000 ** (2 * (i // 2) / d_model)
            wanted = math.cos(angle) if i % 2 else math.sin(angle)
            assert value == pytest.approx(wanted, abs=1e-6)


def test_sinusoidal_positions_do_not_depend_on_what_was_asked_before():
    asked_late, asked_early = SinusoidalPositions(6, 2), SinusoidalPositions(6, 2)
    asked_early(torch.tensor([[5000]]))
    places = torch.arange(900)[None]
    assert torch.equal(asked_late(places), asked_early(places))


def test_learned_positions_beyond_the_last_share_its_vector():
    learned = POSITIONS["learned"](4, 3)
    found = learned(torch.tensor([[0, 2, 3, 99]]))[0]
    assert torch.equal(found[1], found[2])
    assert torch.equal(found[1], found[3])
    assert not torch.equal(found[0], found[1])


@pytest.mark.parametrize("kind", POSITIONS)
def test_tokens_are_scaled_and_placed(kind):
    tokens = nn.Embedding(9, 4)
    embed = TokenEmbedding(tokens, kind, 16, nn.Identity())
    ids = torch.tensor([[3, 1, 4], [1, 5, 8]])
    whole = embed(ids)
    expected = tokens(ids) * 2.0 + embed.positions(torch.arange(3)[None])
    torch.testing.assert_close(whole, expected)
    later = embed(ids[:, 2:], torch.tensor([[2], [2]]))  # as a step of the decoder asks for it
    torch.testing.assert_close(later, whole[:, 2:])
    apart = embed(ids[:, 2:], torch.tensor([[2], [0]]))
    torch.testing.assert_close(apart[0], whole[0, 2:])
    alone = embed(ids[1:, 2:])
    torch.testing.assert_close(apart[1], alone[0])
