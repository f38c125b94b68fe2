from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from attn_cli.nn import dropout as dropout_module
from attn_cli.nn.dropout import Dropout


@pytest.mark.parametrize("p", [0.1, 0.5, 0.9])
@pytest.mark.parametrize("size", [200_000, 3_000_000, 9_000_000])  # the last: beyond the ring
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


@pytest.mark.parametrize("size", [3_000_000, 9_000_000])
def test_elements_of_a_large_mask_are_independent(size):
    """Their products with elements further on are as rare as chance has it, at any distance."""
    torch.manual_seed(3)
    dropped = (Dropout(0.5)(torch.ones(size)) == 0).float()
    for distance in (1, 256, 1 << 20, 1 << 22, (1 << 22) + 1):
        if distance < size:
            both = (dropped[:-distance] * dropped[distance:]).mean()
            assert float(both) == pytest.approx(0.25, abs=5 * 0.45 / (size - distance) ** 0.5)


def test_a_mask_of_half_precision_has_the_same_places():
    x = torch.ones(1000)
    torch.manual_seed(4)
    single = Dropout(0.3)(x)
    torch.manual_seed(4)
    half = Dropout(0.3)(x.bfloat16())
    assert half.dtype == torch.bfloat16
    assert torch.equal(half, single.bfloat16())


def test_every_place_of_the_ring_is_used_and_its_end_meets_its_beginning(monkeypatch):
    monkeypatch.setattr(dropout_module, "_POOL", 8)
    monkeypatch.setattr(dropout_module, "_mask_pool", lambda p, dtype: torch.arange(1.0, 9.0))
    torch.manual_seed(6)
    masks = {tuple(Dropout(0.5)(torch.ones(5)).tolist()) for _ in range(200)}
    ring = [*range(1, 9)] * 2
    assert masks == {tuple(map(float, ring[start : start + 5])) for start in range(8)}
    whole = Dropout(0.5)(torch.ones(2, 10)).flatten().tolist()
    assert sorted(whole[:8]) == sorted(whole[8:16]) == [*range(1, 9)]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_dropout_of_relu_is_relu_and_then_dropout(dtype):
    x = torch.randn(30, 40, dtype=dtype, requires_grad=True)
    results = []
    for apply in (lambda d, h: d.of_relu(h), lambda d, h: d(F.relu(h))):
        torch.manual_seed(8)
        y = apply(Dropout(0.3), 2 * x)
        (gradient,) = torch.autograd.grad((y * torch.arange(40)).sum(), x)
        results.append((y.detach(), gradient))
    torch.testing.assert_close(results[0], results[1])
    assert torch.equal(Dropout(0.3).eval().of_relu(x), F.relu(x))


def test_dropout_of_relu_keeps_one_tensor_for_the_way_back():
    kept = []
    x = torch.randn(30, 40, requires_grad=True)
    with torch.autograd.graph.saved_tensors_hooks(lambda t: kept.append(t) or t, lambda t: t):
        y = Dropout(0.3).of_relu(2 * x)
    assert [t.data_ptr() for t in kept if t.numel() == x.numel()] == [y.data_ptr()]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_dropout_added_is_the_sum_with_dropout(dtype):
    x, y = torch.randn(30, 40, requires_grad=True), torch.randn(30, 40, dtype=dtype)
    y.requires_grad_()
    results = []
    for apply in (lambda d: d.added(x, y), lambda d: x + d(y)):
        torch.manual_seed(8)
        total = apply(Dropout(0.3))
        weighed = (total * torch.arange(40)).sum()
        results.append((total.detach(), *torch.autograd.grad(weighed, (x, y))))
    torch.testing.assert_close(results[0], results[1])
    assert torch.equal(Dropout(0.3).eval().added(x, y), x + y)
