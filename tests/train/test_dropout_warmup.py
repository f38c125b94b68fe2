"""Dropout by passes: what it is when, that it is what layers drop, and where it is the default."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from attn_cli.config.command import resolve
from attn_cli.config.translation import TrainMtCommand
from attn_cli.nn.dropout import Dropout
from attn_cli.train.dropout_warmup import DropoutWarmup


def probabilities(passes, when, *whole):
    layers = nn.Sequential(*map(Dropout, whole))
    dropout = DropoutWarmup(layers, passes)
    found = []
    for passed in when:
        dropout.set(passed)
        found.append([layer.p for layer in layers])
    return found


def test_it_grows_by_quarters_to_what_each_layer_has():
    found = probabilities(8, (0.0, 1.99, 2.0, 4.5, 7.9, 8.0, 1e6), 0.2, 0.0, 0.4)
    shares = [0.0, 0.0, 0.25, 0.5, 0.75, 1.0, 1.0]
    assert found == [[pytest.approx(0.2 * share), 0.0, 0.4 * share] for share in shares]


def test_what_goes_back_to_an_earlier_pass_has_its_dropout_again():
    assert probabilities(2, (0.0, 2.0, 1.4), 0.2) == [[0.0], [0.2], [0.1]]


def test_without_a_warmup_all_is_there_from_the_start():
    assert probabilities(0.0, (0.0, 100.0), 0.1, 0.7) == [[0.1, 0.7]] * 2


def test_a_layer_drops_as_much_as_it_says():
    layers = nn.Sequential(Dropout(0.4))
    dropout = DropoutWarmup(layers, 1.0)
    ones = torch.ones(1000, 100)
    for passed, p in ((0.0, 0.0), (0.5, 0.2), (1.0, 0.4)):
        dropout.set(passed)
        out = layers(ones)
        assert (out == 0).float().mean().item() == pytest.approx(p, abs=0.005)
        assert out.mean().item() == pytest.approx(1.0, abs=0.01)


@pytest.mark.parametrize(
    "given",
    [{"init": "m"}, {"arch": "rnn"}, {"decoder": "mask-predict"}, {"source": "audio"}],
)
def test_only_a_new_transformer_of_texts_has_it_by_default(given):
    for usual in ({}, {"arch": "transformer", "size": "small", "dropout": 0.3}):
        assert resolve(TrainMtCommand, usual).training.dropout_warmup == 8.0
    assert resolve(TrainMtCommand, given).training.dropout_warmup == 0.0
    assert resolve(TrainMtCommand, given | {"dropout_warmup": 3}).training.dropout_warmup == 3.0
