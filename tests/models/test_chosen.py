from __future__ import annotations

import pytest
import torch

from attn_cli.models.stack import Bert, StackConfig


@pytest.mark.parametrize("norm", ["pre", "post"])
def test_the_vectors_of_chosen_positions_are_those_of_all_positions(norm):
    torch.manual_seed(0)
    config = StackConfig(
        vocab_size=30, d_model=16, d_ff=32, n_heads=2, n_layers=2, norm=norm, dropout=0.0
    )
    model = Bert(config)
    ids = torch.randint(30, (3, 7))
    mask = torch.arange(7) < torch.tensor([[7], [4], [5]])
    segments = (torch.arange(7) > 2).long().expand(3, 7)
    chosen = (torch.rand(3, 7) < 0.4) & mask
    expected = model(ids, mask, segments)[chosen]
    found = model.at(ids, mask, segments, chosen)
    torch.testing.assert_close(found, expected, atol=1e-6, rtol=1e-5)
    gradients = []
    for vectors in (expected, found):
        model.zero_grad()
        vectors.square().sum().backward()
        gradients.append([w.grad.clone() for w in model.parameters() if w.grad is not None])
    torch.testing.assert_close(gradients[0], gradients[1], atol=1e-5, rtol=1e-4)
    nothing = model.at(ids, mask, segments, torch.zeros_like(chosen))
    assert nothing.shape == (0, 16)
