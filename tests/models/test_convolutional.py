"""The convolutional translator against PyTorch's convolutions, its equations, and step by step."""

from __future__ import annotations

import math

import pytest
import torch
from seq2seq_checks import (
    BOS,
    TOLERANCE,
    check_causality,
    check_padding,
    check_states,
    check_steps,
    model,
)
from torch.nn import functional as F

from attn_cli.config import from_dict, to_dict
from attn_cli.errors import DataError
from attn_cli.models.convolutional import ConvolutionalConfig
from attn_cli.nn.convolution import GatedConvolution

VARIANTS = [
    {},
    {"kernel_size": 1, "positions": "sinusoidal"},
    {"kernel_size": 5, "positions": "none", "attention": "additive", "n_decoder_layers": 3},
    {"attention": "general", "normalize": "sum", "max_positions": 4},
    {"attention": "cosine", "tie_embeddings": False, "n_encoder_layers": 0},
    {"attention": "mean", "share_embeddings": False, "src_vocab": 31},
]


@pytest.mark.parametrize("variant", VARIANTS)
def test_it_decodes_step_by_step_as_it_computes_at_once(variant):
    check_steps(model("convolutional", **variant))


@pytest.mark.parametrize("variant", VARIANTS)
def test_states_survive_expand_reorder_keep_and_merge_at_different_lengths(variant):
    check_states(model("convolutional", **variant))


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_padded_batch_equals_its_rows_alone(variant):
    seq2seq = model("convolutional", **variant)
    check_padding(seq2seq, n_maps=seq2seq.config.n_decoder_layers)


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_later_token_never_changes_an_earlier_logit(variant):
    check_causality(model("convolutional", **variant))


@pytest.mark.parametrize("kernel_size", [1, 3, 5])
@pytest.mark.parametrize("causal", [False, True])
@torch.no_grad()
def test_a_gated_convolution_is_torchs_conv1d_and_glu(kernel_size, causal):
    torch.manual_seed(3)
    ours = GatedConvolution(6, kernel_size, 0.1)
    ours.linear.bias.normal_()
    x = torch.randn(2, 7, 6)
    weight = ours.linear.weight.view(12, kernel_size, 6).transpose(1, 2)  # (2D, D, k)
    left = kernel_size - 1 if causal else kernel_size // 2
    padded = F.pad(x.mT, (left, kernel_size - 1 - left))
    wanted = F.glu(F.conv1d(padded, weight, ours.linear.bias), dim=1).mT
    torch.testing.assert_close(ours(x, causal=causal), wanted, atol=1e-5, rtol=1e-5)


@torch.no_grad()
def by_hand(seq2seq, src, tgt_in):
    """The decoder's vectors for one pair, from section 3 of the paper, loop by loop."""
    half, d_model = math.sqrt(0.5), seq2seq.config.d_model
    k = seq2seq.config.kernel_size

    def embedded(embedding, ids):
        places = embedding.positions.weight[torch.arange(len(ids))]
        return embedding.tokens.weight[torch.tensor(ids)] * math.sqrt(d_model) + places

    def convolved(layer, x, before):
        outputs = []
        for at in range(len(x)):
            window = [
                x[i] if 0 <= i < len(x) else torch.zeros(d_model)
                for i in range(at - before, at - before + k)
            ]
            a, b = layer.linear(torch.cat(window)).chunk(2)
            outputs.append(a * torch.sigmoid(b))
        return torch.stack(outputs)

    e = embedded(seq2seq.src_embedding, src)
    x = seq2seq.encoder.in_proj(e)
    for layer in seq2seq.encoder.layers:
        x = (x + convolved(layer, x, k // 2)) * half
    z = seq2seq.encoder.out_proj(x)
    g = embedded(seq2seq.tgt_embedding, tgt_in)
    x = seq2seq.in_proj(g)
    for layer in seq2seq.decoder:
        h = convolved(layer.convolution, x, k - 1)
        d = (layer.query_proj(h) + g) * half
        alpha = (d @ z.T / math.sqrt(d_model)).softmax(-1)
        c = alpha @ ((z + e) * half) * math.sqrt(len(src))
        x = (x + (h + layer.context_proj(c)) * half) * half
    return seq2seq.out_proj(x)


@torch.no_grad()
def test_the_model_is_its_equations():
    seq2seq = model("convolutional")
    src, tgt_in = [4, 17, 9, 2, 13], [BOS, 5, 6, 5, 20, 11]
    ids = torch.tensor([src])
    hidden = seq2seq(ids, ids > 0, torch.tensor([tgt_in])).hidden
    torch.testing.assert_close(hidden[0], by_hand(seq2seq, src, tgt_in), **TOLERANCE)


def test_a_prediction_depends_on_the_tokens_within_its_reach_alone():
    """Two layers of width 3 reach over 5 tokens; attention reads the source, not the target."""
    seq2seq = model("convolutional")
    tgt = torch.tensor([[BOS, 4, 8, 15, 16, 9, 3]])
    src = torch.tensor([[5, 6, 7]])
    before = seq2seq(src, src > 0, tgt).hidden
    for at in range(7):
        changed = tgt.clone()
        changed[0, at] = 20
        after = seq2seq(src, src > 0, changed).hidden
        differs = (after - before).abs().amax(-1)[0] > 1e-6
        assert differs.nonzero().flatten().tolist() == list(range(at, min(7, at + 5)))


@pytest.mark.parametrize("variant", VARIANTS)
def test_every_weight_learns(variant):
    seq2seq = model("convolutional", **variant).train()
    ids = torch.tensor([[3, 4, 5], [6, 7, 8]])
    hidden = seq2seq(ids, ids > 0, ids).hidden
    F.linear(hidden, *seq2seq.output_layer).logsumexp(-1).sum().backward()
    assert [name for name, weight in seq2seq.named_parameters() if weight.grad is None] == []


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"kernel_size": 4}, "even"),
        ({"kernel_size": 1 << 20}, "above"),
        ({"positions": "rotary"}, "not one of"),
        ({"src_vocab": 31}, "one vocabulary"),
        ({"cell": "lstm"}, "cell"),
        ({"n_decoder_layers": 0}, "below 1"),
    ],
)
def test_configurations_are_read_back_and_hostile_ones_refused(changes, words):
    config = model("convolutional").config
    assert from_dict(ConvolutionalConfig, to_dict(config), "config.json") == config
    with pytest.raises(DataError, match=words):
        from_dict(ConvolutionalConfig, {**to_dict(config), **changes}, "config.json")
