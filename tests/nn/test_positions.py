from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from attn_cli.config.attention import POSITION_ENCODINGS, AttentionOptions
from attn_cli.errors import UsageError
from attn_cli.nn.attention import MultiHeadAttention
from attn_cli.nn.positions import (
    POSITIONS,
    Positions,
    RotaryPositions,
    SinusoidalPositions,
    TokenEmbedding,
)


@pytest.mark.parametrize("d_model", [8, 7])
def test_sinusoidal_positions_are_the_published_formula(d_model):
    positions = Positions(torch.tensor([[0, 1, 3, 50, 700]]), 701)
    found = SinusoidalPositions(d_model, 4)(positions)[0]
    for row, position in zip(found, (0, 1, 3, 50, 700), strict=True):
        for i, value in enumerate(row.tolist()):
            angle = position / 10000 ** (2 * (i // 2) / d_model)
            wanted = math.cos(angle) if i % 2 else math.sin(angle)
            assert value == pytest.approx(wanted, abs=1e-6)


def test_sinusoidal_positions_do_not_depend_on_how_far_the_table_goes():
    index, scheme = torch.arange(900)[None], SinusoidalPositions(6, 2)
    assert torch.equal(scheme(Positions(index, 900)), scheme(Positions(index, 5000)))


@torch.no_grad()
@pytest.mark.parametrize("kind", POSITIONS)
def test_positions_put_nothing_into_a_module_that_processes_would_exchange(kind):
    """DistributedDataParallel broadcasts buffers, and expects them to keep their shape."""
    embed = TokenEmbedding(nn.Embedding(9, 4), kind, 16, nn.Identity())
    layer = MultiHeadAttention(4, 1, AttentionOptions(positions=kind))
    with torch.inference_mode():
        positions = Positions.first(700, torch.device("cpu"))
        layer(embed(torch.ones(1, 700, dtype=torch.long)), None, positions)
    assert not [*embed.buffers(), *layer.buffers()]


def test_a_table_made_while_inferring_serves_training():
    index = torch.arange(1100)[None]
    with torch.inference_mode():
        Positions(index, 1100).sinusoids(10)
    heads = torch.randn(1, 1, 1100, 10, requires_grad=True)
    RotaryPositions(10, 1).rotate(heads, Positions(index, 1100)).sum().backward()
    assert heads.grad is not None


def test_the_options_name_what_there_is():
    assert tuple(POSITIONS) == POSITION_ENCODINGS


def test_an_unknown_scheme_is_refused():
    with pytest.raises(UsageError, match="unknown position encoding 'rotari'.*rotary"):
        MultiHeadAttention(8, 2, AttentionOptions(positions="rotari"))
    with pytest.raises(UsageError, match="unknown position encoding 'rotari'"):
        TokenEmbedding(nn.Embedding(9, 4), "rotari", 16, nn.Identity())


def test_learned_positions_beyond_the_last_share_its_vector():
    learned = POSITIONS["learned"].added(4, 3)
    found = learned(Positions(torch.tensor([[0, 2, 3, 99]]), 100))[0]
    assert torch.equal(found[1], found[2])
    assert torch.equal(found[1], found[3])
    assert not torch.equal(found[0], found[1])


@pytest.mark.parametrize("kind", POSITIONS)
def test_tokens_are_scaled_and_placed(kind):
    tokens = nn.Embedding(9, 4)
    embed = TokenEmbedding(tokens, kind, 16, nn.Identity())
    ids = torch.tensor([[3, 1, 4], [1, 5, 8]])
    whole = embed(ids)
    expected = tokens(ids) * 2.0 + embed.positions(Positions.first(3, ids.device))
    torch.testing.assert_close(whole, expected)
    later = embed(
        ids[:, 2:], Positions(torch.tensor([[2], [2]]), 3)
    )  # as a step of the decoder asks for it
    torch.testing.assert_close(later, whole[:, 2:])
    apart = embed(ids[:, 2:], Positions(torch.tensor([[2], [0]]), 3))
    torch.testing.assert_close(apart[0], whole[0, 2:])
    alone = embed(ids[1:, 2:])
    torch.testing.assert_close(apart[1], alone[0])
