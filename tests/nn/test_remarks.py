"""What is said about attention in lectures, as equations between modules."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from attn_cli.config.attention import AttentionOptions
from attn_cli.nn.attention import MultiHeadAttention
from attn_cli.nn.dropout import Dropout
from attn_cli.nn.positions import Positions
from attn_cli.nn.transformer import Encoder, EncoderLayer, FeedForward

B, T = 3, 9
FIRST = Positions.first(T, torch.device("cpu"))
SHARP = 1000.0  # α: from 104 on, float32's softmax gives all other positions exactly 0


@pytest.fixture(autouse=True)
def _seeded():
    torch.manual_seed(19)


def quadratic(module: MultiHeadAttention, shifts: list[int]) -> None:
    """Makes head h attend to position i + shifts[h] alone (Cordonnier et al. 2020, lemma 2).

    Their quadratic encoding: every query is u = -α (1, -2Δ, 0 ...) by its bias, every distance r
    is (r², r, 0 ...), so that the score is -α (r - Δ)² and a constant.
    """
    scheme = module.attention.positions
    distance = torch.arange(-scheme.max_distance, scheme.max_distance + 1.0)
    d_head = scheme.keys.shape[1]
    for weight in (module.in_weight, module.in_bias, scheme.keys, scheme.values):
        weight.zero_()
    scheme.keys[:, 0], scheme.keys[:, 1] = distance**2, distance
    bias = module.in_bias[0].view(len(shifts), d_head)
    bias[:, 0] = -SHARP * math.sqrt(d_head)
    bias[:, 1] = torch.tensor(shifts) * 2 * SHARP * math.sqrt(d_head)


def convolution(kernel: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
    """PyTorch's, the ends repeated: the nearest position is best where i + Δ is outside."""
    half = kernel.shape[-1] // 2
    padded = F.pad(x.mT, (half, half), mode="replicate")
    return F.conv1d(padded, kernel).mT


@pytest.mark.parametrize("width", [3, 5])
@torch.no_grad()
def test_averaged_heads_with_quadratic_positions_are_a_convolution(width):
    channels = 2 * width
    options = AttentionOptions(positions="relative", combine="mean", max_distance=T)
    module = MultiHeadAttention(channels, width, options)
    quadratic(module, list(range(-(width // 2), width // 2 + 1)))
    kernel = torch.randn(channels, channels, width)
    value = module.in_weight[2].view(width, channels, channels)
    value.copy_(width * kernel.permute(2, 0, 1))
    x = torch.randn(B, T, channels)
    context, weights, _ = module(x, None, FIRST, need_weights=True)
    torch.testing.assert_close(context, convolution(kernel, x), atol=1e-4, rtol=1e-4)
    assert set(weights.unique().tolist()) == {0.0, 1.0}


@torch.no_grad()
def test_projected_heads_with_quadratic_positions_are_a_convolution():
    """As published: heads of width K carry K input channels, and W_o holds the kernel."""
    channels, shifts = 4, [-1, 0, 1]
    d_model = channels * len(shifts)
    options = AttentionOptions(positions="relative", max_distance=2)
    module = MultiHeadAttention(d_model, len(shifts), options)
    quadratic(module, shifts)
    kernel = torch.randn(d_model, channels, len(shifts))
    value = module.in_weight[2].view(len(shifts), channels, d_model)
    value[:, :, :channels] = torch.eye(channels)
    module.out_proj.weight.copy_(kernel.permute(0, 2, 1).flatten(1))
    x = torch.randn(B, T, d_model)
    wanted = convolution(kernel, x[..., :channels])
    torch.testing.assert_close(module(x, None, FIRST).context, wanted, atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_the_feed_forward_network_is_two_convolutions_of_width_one():
    feed_forward = FeedForward(8, 20, Dropout(0.0))
    first, second = nn.Conv1d(8, 20, 1), nn.Conv1d(20, 8, 1)
    for convolved, linear in ((first, feed_forward.linear1), (second, feed_forward.linear2)):
        nn.init.normal_(linear.bias)
        convolved.weight.copy_(linear.weight[..., None])
        convolved.bias.copy_(linear.bias)
    x = torch.randn(B, T, 8)
    wanted = second(first(x.mT).relu()).mT
    torch.testing.assert_close(feed_forward(x), wanted, atol=1e-6, rtol=1e-5)


@torch.no_grad()
def test_attention_without_projections_is_softmax_of_x_with_itself():
    module = MultiHeadAttention(8, 1, AttentionOptions(projections="none", combine="concat"))
    x = torch.randn(B, T, 8)
    wanted = (x @ x.mT / math.sqrt(8)).softmax(-1) @ x
    torch.testing.assert_close(module(x, None, FIRST).context, wanted, atol=1e-6, rtol=1e-5)
    assert not list(module.parameters())


PLAIN = {"projections": "none", "combine": "concat", "positions": "none"}
VERSIONS = [  # options, heads, layers: each version adds one idea to the one before
    (PLAIN, 1, 1),
    (PLAIN | {"projections": "learned"}, 1, 1),
    (PLAIN | {"projections": "learned", "combine": "concat-linear"}, 4, 1),
    (PLAIN | {"projections": "learned", "combine": "concat-linear"}, 4, 3),
    ({"positions": "relative"}, 4, 3),
]


@torch.no_grad()
def test_five_versions_of_the_encoder_by_options_alone():
    """Their weights grow by what each adds; only the last tells one order from another."""
    d, order = 8, torch.randperm(T)
    sizes = []
    for options, n_heads, n_layers in VERSIONS:
        torch.manual_seed(2)
        layers = [
            EncoderLayer(d, n_heads, 16, "post", AttentionOptions(**options), Dropout(0.0))
            for _ in range(n_layers)
        ]
        encoder = Encoder(layers, d, "post")
        x = torch.randn(B, T, d)
        same = torch.allclose(encoder(x, None)[:, order], encoder(x[:, order], None), atol=1e-5)
        assert same == (options["positions"] == "none")
        attention = layers[0].self_attention
        sizes.append((sum(weight.numel() for weight in attention.parameters()), len(layers)))
    qkv, out, tables = 3 * (d * d + d), d * d + d, 2 * 33 * d // 4
    assert sizes == [(0, 1), (qkv, 1), (qkv + out, 1), (qkv + out, 3), (qkv + out + tables, 3)]
