"""Integrated gradients: their axioms, and a plain Riemann sum as the oracle."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from attn_cli.nn.attribution import TOLERANCE, in_place_of, integrated_gradients


def network(seed: int, activation: type[nn.Module]) -> nn.Module:
    torch.manual_seed(seed)
    layers = [nn.Linear(5, 16), activation(), nn.Linear(16, 16), activation(), nn.Linear(16, 3)]
    model = nn.Sequential(nn.Flatten(1), nn.Linear(20, 5), *layers, nn.Softmax(-1))
    for weight in model.parameters():
        weight.data.mul_(2.5)
    return model.double()


@pytest.mark.parametrize("activation", [nn.Tanh, nn.GELU, nn.ReLU])
def test_they_sum_to_the_change_and_equal_a_riemann_sum(activation):
    model = network(1, activation)
    x, baseline = torch.randn(2, 4, 5, dtype=torch.float64)
    found = integrated_gradients(model, x, baseline)
    wanted = (model(x[None]) - model(baseline[None]))[0]
    assert torch.allclose(found.change, wanted)
    assert found.missed <= TOLERANCE
    assert torch.allclose(found.values.sum(1), wanted, atol=TOLERANCE * 1.01)
    steps = 4000
    for output in range(3):
        total = torch.zeros_like(x)
        for step in range(steps):  # in the middle of each
            point = (baseline + (step + 0.5) / steps * (x - baseline)).requires_grad_()
            total += torch.autograd.grad(model(point[None])[0, output], point)[0]
        by_hand = ((x - baseline) * total / steps).sum(-1)
        tolerance = 2e-2 if activation is nn.ReLU else 1e-5
        assert torch.allclose(found.values[output], by_hand, atol=tolerance)


def test_a_linear_output_gives_each_vector_its_own_term():
    weight = torch.randn(4, 5)
    x, baseline = torch.randn(2, 4, 5)
    found = integrated_gradients(
        lambda points: (points * weight).flatten(1).sum(1, keepdim=True), x, baseline
    )
    assert torch.allclose(found.values[0], ((x - baseline) * weight).sum(-1), atol=1e-5)
    assert found.missed < 1e-4


def test_what_does_not_change_or_does_not_matter_gets_nothing():
    x = torch.randn(3, 2)
    baseline = torch.cat((x[:1], torch.zeros(2, 2)))
    found = integrated_gradients(
        lambda points: points[:, :2].pow(2).sum((1, 2))[:, None], x, baseline
    )
    assert found.values[0, 0] == 0 and found.values[0, 2] == 0
    assert found.values[0, 1] == pytest.approx(float(x[1].pow(2).sum()), rel=1e-4)
    same = integrated_gradients(lambda points: points.sum((1, 2))[:, None], x, x)
    assert not same.values.any() and same.missed == 0


def test_a_jump_is_missed_and_said():
    """A step has no gradient: no number of points finds it."""
    found = integrated_gradients(
        lambda points: (
            (points.sum((1, 2)) > 0.5).float()[:, None] + 0 * points.sum((1, 2))[:, None]
        ),
        torch.ones(2, 2),
        torch.zeros(2, 2),
    )
    assert found.change.tolist() == [1.0] and found.missed == pytest.approx(1.0)


def test_a_module_answers_with_what_is_put_in_its_place():
    table = nn.Embedding(3, 4)
    ids, vectors = torch.tensor([[1, 2]]), torch.randn(1, 2, 4)
    with in_place_of(table, vectors):
        assert table(ids) is vectors
    assert torch.equal(table(ids), table.weight[ids])
    with pytest.raises(ZeroDivisionError), in_place_of(table, vectors):
        raise ZeroDivisionError
    assert torch.equal(table(ids), table.weight[ids])
