"""Recurrent layers against torch.nn's own on sequences without padding, and against formulas."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from attn_cli.nn.rnn import CELLS, Recurrent

B, S, D_IN, C = 4, 7, 5, 6
LENGTHS = [7, 3, 1, 5]
TORCH = {"rnn": nn.RNN, "gru": nn.GRU, "lstm": nn.LSTM}


@pytest.fixture(autouse=True)
def _seeded():
    torch.manual_seed(37)


def mask() -> torch.Tensor:
    return torch.arange(S) < torch.tensor(LENGTHS)[:, None]


def as_torch(ours: Recurrent, cell: str) -> nn.RNNBase:
    """torch.nn's stack of layers with the same weights."""
    theirs = TORCH[cell](
        D_IN, C, len(ours.layers), batch_first=True, bidirectional=ours.n_directions == 2
    )
    with torch.no_grad():
        for number, layer in enumerate(ours.layers):
            for name, weight in layer.named_parameters():
                getattr(theirs, name.replace("_l0", f"_l{number}")).copy_(weight)
    return theirs


@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("cell", CELLS)
def test_a_padded_batch_equals_torch_on_each_row_alone(cell, bidirectional):
    n_directions = 1 + bidirectional
    ours = Recurrent(cell, D_IN, n_directions * C, 2, bidirectional=bidirectional)
    theirs = as_torch(ours, cell)
    x = torch.randn(B, S, D_IN, requires_grad=True)
    outputs, state = ours(x, mask())
    assert state.shape == (B, 2, n_directions, CELLS[cell].n_parts, C)
    for n, length in enumerate(LENGTHS):
        wanted, after = theirs(x[n : n + 1, :length])
        torch.testing.assert_close(outputs[n, :length], wanted[0], atol=1e-6, rtol=1e-5)
        assert not outputs[n, length:].any()
        parts = after if isinstance(after, tuple) else (after,)
        for p, part in enumerate(parts):  # (L * directions, 1, C)
            found = state[n, :, :, p].flatten(0, 1)
            torch.testing.assert_close(found, part[:, 0], atol=1e-6, rtol=1e-5)
    (outputs.square().sum() + state.sum()).backward()
    assert not x.grad[~mask()].any()
    assert x.grad[mask()].any(-1).all()


@pytest.mark.parametrize("cell", CELLS)
@torch.no_grad()
def test_step_by_step_equals_the_whole(cell):
    model = Recurrent(cell, D_IN, C, 2)
    x = torch.randn(B, S, D_IN)
    outputs, final = model(x)
    state = torch.zeros_like(final)
    for t in range(S):
        found, state = model.step(x[:, t], state)
        torch.testing.assert_close(found, outputs[:, t], atol=1e-6, rtol=1e-5)
    torch.testing.assert_close(state, final, atol=1e-6, rtol=1e-5)
    swapped = state[torch.tensor([2, 0])]  # rows of a state are rows of a batch
    found, _ = model.step(x[[2, 0], 0], swapped)
    wanted, _ = model.step(x[:, 0], state)
    torch.testing.assert_close(found, wanted[[2, 0]], atol=1e-6, rtol=1e-5)


@torch.no_grad()
def test_elman_is_its_formula():
    model = Recurrent("rnn", D_IN, C)
    weights = dict(model.layers[0].named_parameters())
    x, h = torch.randn(1, S, D_IN), torch.zeros(C)
    outputs, _ = model(x)
    for t in range(S):
        bias = weights["bias_ih_l0"] + weights["bias_hh_l0"]
        h = torch.tanh(weights["weight_ih_l0"] @ x[0, t] + weights["weight_hh_l0"] @ h + bias)
        torch.testing.assert_close(outputs[0, t], h, atol=1e-6, rtol=1e-5)


def test_recurrent_weights_begin_orthogonal_and_the_forget_gate_open():
    weights = dict(Recurrent("lstm", D_IN, C).layers[0].named_parameters())
    for gate in weights["weight_hh_l0"].chunk(4):
        torch.testing.assert_close(gate @ gate.mT, torch.eye(C), atol=1e-5, rtol=1e-5)
    total = (weights["bias_ih_l0"] + weights["bias_hh_l0"]).view(4, C)
    assert torch.equal(total.sum(1), torch.tensor([0.0, C, 0.0, 0.0]))


def test_dropout_acts_between_layers_in_training_alone():
    model = Recurrent("gru", D_IN, C, 2, dropout=0.5)
    x = torch.randn(B, S, D_IN)
    assert not torch.equal(model(x)[0], model(x)[0])
    model.eval()
    assert torch.equal(model(x)[0], model(x)[0])


def test_an_odd_width_is_no_width_of_two_directions():
    with pytest.raises(ValueError, match="width of 7"):
        Recurrent("gru", D_IN, 7, bidirectional=True)


def test_a_recurrent_skeleton_takes_no_memory():
    with torch.device("meta"):
        model = Recurrent("lstm", 1 << 12, 1 << 12, 2)
    assert all(weight.is_meta for weight in model.parameters())
