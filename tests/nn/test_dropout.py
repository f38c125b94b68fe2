from __future__ import annotations

import pytest
import torch

from attn_cli.nn.dropout import Dropout


@pytest.mark.parametrize("p", [0.1, 0.5, 0.9])
@pytest.mark.parametrize("size", [200_000, 3_000_000])  # from the pool, and beyond its windows
def test_rate_and_scale(p, size):
    torch.manual_seed(1)
    dropped = Dropout(p)(torch.ones(size))
    kept = dropped != 0
    assert float(kept.float().mean()) == pytest.approx(1 - p, abs=5 * (p * (1 - p) / size) ** 0.5)
    torch.testing.assert_close(dropped[kept], torch.full((int(kept.sum()),), 1 / (1 - p)))


def test_evaluation_and_zero_leave_everything_as_it_is():
    x = torch.randn(50)
    assert Dropout(0.5).eval()(x) is x
    assert Dropout(0.0)(x) is x


def test_the_same_seed_drops_the_same_and_the_next_call_drops_others():
    dropout, x = Dropout(0.3), torch.ones(40, 50)
    torch.manual_seed(5)
    first, second = dropout(x), dropout(x)
    torch.manual_seed(5)
    assert torch.equal(dropout(x), first)
    assert torch.equal(dropout(x), second)
    assert not torch.equal(first, second)
    assert 0.4 < float((first == second).float().mean()) < 0.75  # 0.58 if independent


def test_the_gradient_passes_where_the_value_did():
    torch.manual_seed(2)
    x = torch.ones(1000, requires_grad=True)
    dropped = Dropout(0.4)(x)
    dropped.sum().backward()
    assert torch.equal(x.grad, dropped.detach())
