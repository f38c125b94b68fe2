from __future__ import annotations

import pytest
import torch
from torch import nn

from attn_cli.config.attention import AttentionOptions
from attn_cli.nn.attention import MultiHeadAttention, causal_mask
from attn_cli.nn.dropout import Dropout
from attn_cli.nn.positions import Positions
from attn_cli.nn.transformer import (
    Decoder,
    DecoderLayer,
    Encoder,
    EncoderLayer,
    close_sublayers,
)

B, S, T, D, H, F = 3, 6, 5, 16, 4, 24
SIZES = {"d_model": D, "nhead": H, "dim_feedforward": F, "dropout": 0.0, "batch_first": True}


@pytest.fixture(autouse=True)
def _seeded():
    torch.manual_seed(3)


def layer(kind: type, norm: str) -> nn.Module:
    made = kind(D, H, F, norm, AttentionOptions(), Dropout(0.0))
    for weight in made.parameters():  # zeros and ones would hide a bias or a gain left out
        nn.init.normal_(weight, std=0.3)
    return made


def copy_attention(ours: MultiHeadAttention, theirs: nn.MultiheadAttention) -> None:
    theirs.in_proj_weight.copy_(ours.in_weight.flatten(0, 1))
    theirs.in_proj_bias.copy_(ours.in_bias.flatten())
    theirs.out_proj.load_state_dict(ours.out_proj.state_dict())


@torch.no_grad()
def as_torch(ours: nn.Module) -> nn.Module:
    """PyTorch's layer with the same weights."""
    kind = nn.TransformerEncoderLayer
    if isinstance(ours, DecoderLayer):
        kind = nn.TransformerDecoderLayer
    theirs = kind(**SIZES, norm_first=ours.residuals[0].pre).eval()
    copy_attention(ours.self_attention, theirs.self_attn)
    if isinstance(ours, DecoderLayer):
        copy_attention(ours.cross_attention, theirs.multihead_attn)
    theirs.linear1.load_state_dict(ours.feed_forward.linear1.state_dict())
    theirs.linear2.load_state_dict(ours.feed_forward.linear2.state_dict())
    for number, residual in enumerate(ours.residuals, 1):
        getattr(theirs, f"norm{number}").load_state_dict(residual.norm.state_dict())
    return theirs


@pytest.mark.parametrize("norm", ["pre", "post"])
def test_encoder_layer_equals_torch(norm):
    ours = layer(EncoderLayer, norm)
    x, real = torch.randn(B, S, D), torch.arange(S) < torch.tensor([[6], [3], [1]])
    with torch.no_grad():
        found, _ = ours(x, real[:, None, None, :], Positions.first(S, x.device))
    # With gradients on, so that PyTorch does not take its own padding-dropping fast path.
    expected = as_torch(ours)(x, src_key_padding_mask=~real)
    torch.testing.assert_close(found[real], expected[real], atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("need_weights", [False, True])
@pytest.mark.parametrize("norm", ["pre", "post"])
def test_decoder_layer_equals_torch(norm, need_weights):
    ours = layer(DecoderLayer, norm)
    x, memory = torch.randn(B, T, D), torch.randn(B, S, D)
    real = torch.arange(S) < torch.tensor([[6], [3], [1]])
    visible, positions = real[:, None, None, :], Positions.first(T, x.device)
    projected = ours.cross_attention.project_memory(memory)
    found, weights = ours(x, projected, visible, None, positions, need_weights=need_weights)
    expected = as_torch(ours)(x, memory, tgt_mask=~causal_mask(T), memory_key_padding_mask=~real)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-4)
    assert [one is not None for one in weights] == [need_weights, need_weights]
    if need_weights:
        assert not weights.cross.masked_select(
            ~real[:, None, None, :].expand_as(weights.cross)
        ).any()


@pytest.mark.parametrize("norm", ["pre", "post"])
def test_stacks_equal_torch(norm):
    """Pre-norm stacks end in a normalization, post-norm stacks do not."""
    encoder = Encoder([layer(EncoderLayer, norm) for _ in range(2)], D, norm)
    decoder = Decoder([layer(DecoderLayer, norm) for _ in range(3)], D, norm)
    src, tgt = torch.randn(B, S, D), torch.randn(B, T, D)
    memory = encoder(src, None)
    found, weights = decoder(tgt, memory, None, need_weights=True)
    expected = src
    for one in encoder.layers:
        expected = as_torch(one)(expected)
    expected = nn.functional.layer_norm(expected, (D,)) if norm == "pre" else expected
    torch.testing.assert_close(memory, expected, atol=1e-5, rtol=1e-4)
    for one in decoder.layers:
        tgt = as_torch(one)(tgt, expected, tgt_mask=~causal_mask(T))
    tgt = nn.functional.layer_norm(tgt, (D,)) if norm == "pre" else tgt
    torch.testing.assert_close(found, tgt, atol=1e-4, rtol=1e-4)
    assert [tuple(one.cross.shape) for one in weights] == 3 * [(B, H, T, S)]
    assert [tuple(one.self.shape) for one in weights] == 3 * [(B, H, T, T)]


@pytest.mark.parametrize("options", [{}, {"combine": "concat"}])
@torch.no_grad()
def test_closed_sublayers_change_nothing_until_they_learn(options):
    """But those without a matrix at their end, which stay as they are."""
    torch.manual_seed(4)
    drop = Dropout(0.0)
    layers = [EncoderLayer(8, 2, 12, "pre", AttentionOptions(**options), drop) for _ in range(2)]
    encoder = Encoder(layers, 8, "pre")
    x = torch.randn(3, 5, 8)
    assert not torch.allclose(encoder(x, None), encoder.norm(x))
    close_sublayers(encoder)
    assert torch.equal(encoder(x, None), encoder.norm(x)) == (not options)
    y = torch.randn(3, 5, 8)
    assert torch.equal(layers[0].feed_forward(y), torch.zeros_like(y))
