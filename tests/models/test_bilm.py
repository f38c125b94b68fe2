"""Bidirectional language models against torch.nn's LSTM, run by hand from either end."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from attn_cli.config.pretraining import StackSizeOptions, StackVariantOptions
from attn_cli.errors import UsageError
from attn_cli.models import build_model
from attn_cli.models.bilm import BilmConfig
from attn_cli.models.sizes import bilm_config
from attn_cli.systems.pretraining.bidirectional import BidirectionalObjective
from attn_cli.systems.pretraining.causal import LanguageBatch

CONFIG = BilmConfig(vocab_size=13, d_model=8, n_layers=2, dropout=0.0)
TEXTS = [[2, 5, 6, 7, 8, 3], [2, 9, 3], [2, 10, 11, 3]]


@pytest.fixture
def model():
    torch.manual_seed(2)
    built = build_model("bilm", CONFIG).eval()
    with torch.no_grad():
        for weight in built.parameters():
            weight.add_(torch.randn_like(weight) * 0.3)
    return built


def padded(texts):
    width = max(map(len, texts))
    ids = torch.tensor([[*text, *[0] * (width - len(text))] for text in texts])
    return ids, torch.arange(width) < torch.tensor([len(text) for text in texts])[:, None]


def batch_of(texts):
    ids, mask = padded(texts)
    return LanguageBatch(ids, mask[:, 1:])


class Hand:
    """The same weights in torch.nn's own layers, one text at a time and one direction at a time."""

    def __init__(self, backbone):
        self.tokens = backbone.tokens.weight.detach().clone().requires_grad_()
        self.bias = backbone.output_bias.detach().clone().requires_grad_()
        self.ahead = [self.own(recurrent) for recurrent in backbone.forward_layers]
        self.back = [self.own(recurrent) for recurrent in backbone.backward_layers]

    @staticmethod
    def own(recurrent):
        layer = nn.LSTM(4, 4, batch_first=True)
        layer.load_state_dict(recurrent.layers[0].state_dict())
        return layer

    def layers(self, ids, chain):
        """Every layer's vectors of a text that stands in reading order."""
        x = self.tokens[torch.tensor(ids)][None]
        found = [x]
        for number, layer in enumerate(chain):
            out = layer(x)[0]
            x = x + out if number else out
            found.append(x)
        return [one[0] for one in found]

    def loss(self, ids, chain):
        """Of the tokens after the first, as they are read."""
        logits = self.layers(ids, chain)[-1][:-1] @ self.tokens.T + self.bias
        return F.cross_entropy(logits, torch.tensor(ids[1:]), reduction="sum")


@torch.no_grad()
def test_layers_are_two_chains_of_lstms(model):
    hand = Hand(model.backbone)
    layers = model.backbone.layers(*padded(TEXTS))
    assert len(layers) == 3
    for row, text in enumerate(TEXTS):
        ahead = hand.layers(text, hand.ahead)
        back = [one.flip(0) for one in hand.layers(text[::-1], hand.back)]
        for layer, left, right in zip(layers, ahead, back, strict=True):
            torch.testing.assert_close(layer[row, : len(text)], torch.cat((left, right), -1))


@torch.no_grad()
def test_the_mix_is_equation_one(model):
    backbone = model.backbone
    ids, mask = padded(TEXTS)
    layers = backbone.layers(ids, mask)
    total = sum(math.exp(w) for w in backbone.mix.tolist())
    expected = sum(
        math.exp(w) / total * x for w, x in zip(backbone.mix.tolist(), layers, strict=True)
    )
    torch.testing.assert_close(backbone(ids, mask), backbone.scale * expected)


def test_the_loss_is_the_mean_of_both_directions_and_so_is_its_gradient(model):
    hand = Hand(model.backbone)
    ahead = sum(hand.loss(text, hand.ahead) for text in TEXTS)
    back = sum(hand.loss(text[::-1], hand.back) for text in TEXTS)
    expected = (ahead + back) / 2
    expected.backward()
    objective = BidirectionalObjective(model, 0.0)
    loss, nll = objective(batch_of(TEXTS))
    loss.backward()
    assert float(loss.detach()) == pytest.approx(float(expected.detach()), rel=1e-5)
    assert float(nll) == pytest.approx(float(loss.detach()))

    backbone = model.backbone
    pairs = [(backbone.tokens.weight, hand.tokens), (backbone.output_bias, hand.bias)]
    for chain, layers in (
        (backbone.forward_layers, hand.ahead),
        (backbone.backward_layers, hand.back),
    ):
        for recurrent, layer in zip(chain, layers, strict=True):
            pairs += zip(recurrent.parameters(), layer.parameters(), strict=True)
    for own, other in pairs:
        torch.testing.assert_close(own.grad, other.grad, rtol=1e-4, atol=1e-5)
    resting = [backbone.mix, backbone.scale, *backbone.attention_pool.parameters()]
    assert len(pairs) + len(resting) == len(list(model.parameters()))
    assert all(weight.grad is None for weight in resting)

    figures = objective.figures([batch_of(TEXTS[:1]), batch_of(TEXTS[1:])])
    n = sum(len(text) - 1 for text in TEXTS)
    assert figures["loss"] == pytest.approx(float(expected.detach()) / n, rel=1e-5)
    assert figures["forward_perplexity"] == pytest.approx(
        math.exp(float(ahead.detach()) / n), rel=1e-4
    )
    assert figures["backward_perplexity"] == pytest.approx(
        math.exp(float(back.detach()) / n), rel=1e-4
    )


@torch.no_grad()
def test_no_token_sees_itself_or_what_is_behind_it(model):
    """What predicts a token is the same whatever that token, and all beyond it, are."""
    text, other = TEXTS[0], TEXTS[0][:]
    place = 3
    other[place] = 12
    mask = torch.ones(1, len(text), dtype=torch.bool)
    for one, another in zip(
        model.backbone.directions(torch.tensor([text]), mask),
        model.backbone.directions(torch.tensor([other]), mask),
        strict=True,
    ):
        # h→ at place - 1 predicts it, h← at place + 1 does.
        assert torch.equal(one[0][0, :place], another[0][0, :place])
        assert torch.equal(one[1][0, place + 1 :], another[1][0, place + 1 :])
        assert not torch.equal(one[0][0, place], another[0][0, place])
        assert not torch.equal(one[1][0, place], another[1][0, place])


def test_small_batches_add_up_to_a_large_one(model):
    objective = BidirectionalObjective(model, 0.1)
    whole = float(objective(batch_of(TEXTS))[0])
    parts = [float(objective(batch_of([text]))[0]) for text in TEXTS]
    assert sum(parts) == pytest.approx(whole, rel=1e-5)
    assert float(objective(batch_of(TEXTS).without_targets())[0]) == 0


def test_a_size_decides_it_and_foreign_options_are_refused():
    size = StackSizeOptions()
    config = bilm_config(size, StackVariantOptions(dropout=0.3), "mini", 100)
    assert config == BilmConfig(vocab_size=100, d_model=512, n_layers=2, dropout=0.3)
    given = StackSizeOptions(d_model=10, n_layers=1)
    assert bilm_config(given, StackVariantOptions(), "tiny", 100).d_model == 10
    with pytest.raises(UsageError, match="without --n-heads, --norm"):
        bilm_config(StackSizeOptions(n_heads=2), StackVariantOptions(norm="pre"), "mini", 100)
    with pytest.raises(UsageError, match="9 can't be shared"):
        bilm_config(StackSizeOptions(d_model=9), StackVariantOptions(), "mini", 100)
