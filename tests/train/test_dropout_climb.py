"""Dropout by passes: what it is when, that it is what layers drop, and where it is the default."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from attn_cli.config.command import resolve
from attn_cli.config.translation import TrainMtCommand
from attn_cli.nn.dropout import Dropout
from attn_cli.train.dropout_climb import DropoutClimb


def probabilities(climb, passes, *firsts):
    layers = nn.Sequential(*map(Dropout, firsts))
    dropout = DropoutClimb(layers, climb)
    found = []
    for number in passes:
        dropout.set(number)
        found.append([layer.p for layer in layers])
    return found


def test_it_grows_in_steps_of_a_twentieth_from_a_step_below_each_layers_own_to_0_3():
    passes = (0.0, 3.3, 3.4, 9.9, 10.1, 20, 26.7, 1e6)
    found = probabilities(0.0075, passes, 0.15, 0.0, 0.3, 0.5)
    first, second, third, fourth = zip(*found, strict=True)
    assert first == (0.1, 0.1, 0.15, 0.15, 0.2, 0.25, 0.3, 0.3)
    assert second == (0.0, 0.0, 0.0, 0.0, 0.05, 0.1, 0.15, 0.3)
    assert third == (0.25, 0.25, *[0.3] * 6)
    assert fourth == (0.45, 0.45, *[0.5] * 6)


def test_what_goes_back_to_an_earlier_pass_has_its_dropout_again():
    assert probabilities(0.05, (0.0, 2.0, 0.4), 0.15) == [[0.1], [0.2], [0.1]]


def test_without_a_climb_all_stays():
    assert probabilities(0.0, (0.0, 100.0), 0.1, 0.7) == [[0.1, 0.7]] * 2


def test_a_layer_drops_as_much_as_it_says():
    layers = nn.Sequential(Dropout(0.15))
    dropout = DropoutClimb(layers, 0.1)
    ones = torch.ones(1000, 100)
    for passes, p in ((0.0, 0.1), (1.0, 0.2), (9.0, 0.3)):
        dropout.set(passes)
        out = layers(ones)
        assert (out == 0).float().mean().item() == pytest.approx(p, abs=0.005)
        assert out.mean().item() == pytest.approx(1.0, abs=0.01)


@pytest.mark.parametrize(
    "given",
    [
        {"dropout": 0.1},
        {"init": "m"},
        {"arch": "rnn"},
        {"decoder": "mask-predict"},
        {"source": "audio"},
    ],
)
def test_only_a_new_transformer_of_texts_climbs_by_default(given):
    usual = resolve(TrainMtCommand, {"arch": "transformer", "size": "small"})
    assert usual.training.dropout_climb == resolve(TrainMtCommand).training.dropout_climb == 0.003
    assert resolve(TrainMtCommand, given).training.dropout_climb == 0.0
    asked = resolve(TrainMtCommand, given | {"dropout_climb": 0.02})
    assert asked.training.dropout_climb == 0.02
