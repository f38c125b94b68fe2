from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from attn_cli.config.attention import AttentionOptions
from attn_cli.nn import int8, prepared
from attn_cli.nn.attention import MultiHeadAttention
from attn_cli.nn.dropout import Dropout
from attn_cli.nn.positions import Positions
from attn_cli.nn.prepared import PreparedLinear, prepare, rounded
from attn_cli.nn.tables import OutputLinear
from attn_cli.nn.transformer import FeedForward


@pytest.fixture(autouse=True)
def _no_clock(monkeypatch):
    monkeypatch.setattr(int8, "_pays", lambda outputs, inputs: True)


@pytest.mark.parametrize("rows", [1, 5, 70, 129])
@pytest.mark.parametrize("outputs", [10, 2048, 11001])
@pytest.mark.parametrize("biased", [True, False])
@torch.inference_mode()
def test_a_prepared_product_is_the_product(rows, outputs, biased):
    weight, bias = torch.randn(outputs, 24), torch.randn(outputs) if biased else None
    layer = PreparedLinear(weight, bias)
    for x in (torch.randn(rows, 24), torch.randn(rows, 3, 24), torch.randn(24, rows).T):
        torch.testing.assert_close(layer(x), F.linear(x, weight, bias), atol=1e-5, rtol=1e-5)
        found = layer(x, relu=True)
        torch.testing.assert_close(found, F.linear(x, weight, bias).relu(), atol=1e-5, rtol=1e-5)
    with torch.autocast("cpu", torch.bfloat16):
        assert layer(torch.randn(rows, 24)).dtype == torch.bfloat16
    assert layer(torch.randn(rows, 24)).dtype == torch.float32


def test_few_numbers_of_rows_are_made_ready():
    counts = range(1, 2001)
    assert len(set(map(rounded, counts))) <= 100
    assert all(count <= rounded(count) <= 1.5 * count for count in counts)
    assert all(rounded(count) == count for count in range(17))


def test_small_matrices_and_other_types_stay_as_they_are():
    assert not PreparedLinear(torch.randn(100, 8), None).is_faster
    assert not PreparedLinear(torch.randn(4096, 8).double(), None).is_faster


def test_where_the_operators_are_gone_the_plain_product_is_taken(monkeypatch):
    def gone(*args, **options):
        raise RuntimeError("no such operator")

    weight, x = torch.randn(4096, 8), torch.randn(3, 8)
    monkeypatch.setattr(prepared.torch.ops.mkldnn, "_linear_pointwise", gone)
    layer = PreparedLinear(weight, None)
    assert not layer.is_faster
    assert torch.equal(layer(x), F.linear(x, weight))


class Block(nn.Module):
    """What models are made of."""

    def __init__(self) -> None:
        super().__init__()
        options = AttentionOptions()
        self.self_attention = MultiHeadAttention(128, 4, options)
        self.cross_attention = MultiHeadAttention(128, 4, options, to_self=False)
        self.inner = nn.Sequential(nn.Linear(128, 512), nn.ReLU(), nn.Linear(512, 128))
        self.output = OutputLinear(128, 300)
        for bias in (self.self_attention.in_bias, self.cross_attention.in_bias):
            nn.init.normal_(bias)

    def forward(self, x, other):
        x = self.self_attention(x, None, Positions.first(x.shape[1], x.device)).context
        memory = self.cross_attention.project_memory(other)
        x = self.cross_attention.attend_to(memory, x, None).context
        return self.output(self.inner(x))


@torch.inference_mode()
def test_every_product_of_a_model_is_prepared_but_that_of_its_task():
    x, other = torch.randn(4, 5, 128), torch.randn(4, 6, 128)
    block = Block().eval()
    wanted = block(x, other)
    names = [name for name, _ in block.named_parameters()]
    assert prepare(block) == 0
    torch.testing.assert_close(block(x, other), wanted, atol=1e-5, rtol=1e-4)
    assert [name for name, _ in block.named_parameters()] == names

    block = Block().eval()
    wanted = block(x, other)
    # q, k, v; q; k, v; two times W_o, and the two of the network
    assert prepare(block, int8=True) == 7
    found = block(x, other)
    assert not torch.equal(found, wanted)
    assert (found - wanted).pow(2).mean() < 4e-4 * wanted.pow(2).mean()
    assert type(block.output) is OutputLinear


@pytest.mark.parametrize("options", [{"tie_key_value": True}, {"projections": "none"}])
@torch.inference_mode()
def test_attention_of_other_projections_is_prepared(options):
    attention = MultiHeadAttention(128, 4, AttentionOptions(**options), to_self=False)
    x, other = torch.randn(4, 5, 128), torch.randn(4, 6, 128)
    wanted = attention.attend_to(attention.project_memory(other), x, None).context
    prepare(attention)
    found = attention.attend_to(attention.project_memory(other), x, None).context
    torch.testing.assert_close(found, wanted, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("activation", ["relu", "gelu"])
@torch.inference_mode()
def test_a_prepared_network_is_the_same_function(activation):
    network = FeedForward(128, 1024, Dropout(0.1), activation).eval()
    x = torch.randn(4, 5, 128)
    wanted = network(x)
    prepare(network)
    torch.testing.assert_close(network(x), wanted, atol=1e-5, rtol=1e-4)
    network.linear1.product = lambda x, relu=False: x.new_full((*x.shape[:-1], 1024), float(relu))
    said = network.linear1.relu(x) if activation == "relu" else network.linear1(x)
    expected = network.linear2(said if activation == "relu" else F.gelu(said))
    assert torch.equal(network(x), expected)  # max(0, W x + b) is one product


def test_on_other_devices_nothing_changes():
    block = Block().to("meta")
    assert prepare(block, int8=True) == 0
    assert type(block.inner[0]) is nn.Linear
