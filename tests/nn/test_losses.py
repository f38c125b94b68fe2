from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from attn_cli.nn import losses
from attn_cli.nn.losses import linear_cross_entropy


def inputs(n_tokens: int, vocab: int, d_model: int = 5, dtype=torch.float32):
    generator = torch.Generator().manual_seed(n_tokens)
    hidden, weight, bias = (
        torch.randn(*shape, generator=generator, dtype=dtype).requires_grad_()
        for shape in ((n_tokens, d_model), (vocab, d_model), (vocab,))
    )
    return hidden, weight, bias, torch.randint(vocab, (n_tokens,), generator=generator)


@pytest.mark.parametrize("rows_per_slice", [1, 4, 100])
@pytest.mark.parametrize("smoothing", [0.0, 0.1, 0.9])
def test_loss_and_gradients_equal_cross_entropy(monkeypatch, smoothing, rows_per_slice):
    vocab = 11
    monkeypatch.setattr(losses, "rows_at_once", lambda device, vocab: rows_per_slice)
    hidden, weight, bias, targets = inputs(10, vocab)
    loss, nll = linear_cross_entropy(hidden, weight, bias, targets, smoothing)
    logits = F.linear(hidden, weight, bias)
    expected = F.cross_entropy(logits, targets, label_smoothing=smoothing, reduction="sum")
    torch.testing.assert_close(loss, expected, rtol=1e-6, atol=1e-5)
    plain = F.cross_entropy(logits, targets, reduction="sum")
    torch.testing.assert_close(nll, plain, rtol=1e-6, atol=1e-5)
    # A factor of its own: the stored gradients are those of the plain sum.
    found = torch.autograd.grad(0.37 * loss, (hidden, weight, bias))
    wanted = torch.autograd.grad(0.37 * expected, (hidden, weight, bias))
    for one, other in zip(found, wanted, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)


def test_gradients_equal_finite_differences():
    hidden, weight, bias, targets = inputs(4, 6)
    direction = torch.randn(6, 5, generator=torch.Generator().manual_seed(0))
    loss = linear_cross_entropy(hidden, weight, bias, targets, 0.1)[0]
    (gradient,) = torch.autograd.grad(loss, weight)
    step = 1e-2
    with torch.no_grad():
        up, down = (
            linear_cross_entropy(hidden, weight + sign * step * direction, bias, targets, 0.1)[0]
            for sign in (1, -1)
        )
    slope = float((up - down) / (2 * step))
    assert float((gradient * direction).sum()) == pytest.approx(slope, rel=1e-2)


def test_a_weight_tied_to_the_embeddings_gets_both_gradients():
    hidden, weight, bias, targets = inputs(6, 8)
    ids = torch.arange(6)
    loss = linear_cross_entropy(hidden + weight[ids], weight, bias, targets, 0.2)[0]
    plain = F.cross_entropy(
        F.linear(hidden + weight[ids], weight, bias), targets, label_smoothing=0.2, reduction="sum"
    )
    (found,), (wanted,) = torch.autograd.grad(loss, weight), torch.autograd.grad(plain, weight)
    torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-5)


def test_a_gold_token_whose_probability_vanishes_has_a_finite_loss():
    """Its p is 0 in float32; its log-probability is not."""
    hidden = torch.tensor([[200.0]], requires_grad=True)
    weight = torch.tensor([[1.0], [-1.0], [0.5]], requires_grad=True)
    gold = torch.tensor([1])
    for smoothing in (0.0, 0.1):
        loss, nll = linear_cross_entropy(hidden, weight, None, gold, smoothing)
        logits = hidden @ weight.t()
        assert float(nll) == pytest.approx(400.0)
        expected = F.cross_entropy(logits, gold, label_smoothing=smoothing)
        torch.testing.assert_close(loss, expected)
        found, wanted = torch.autograd.grad(loss, weight), torch.autograd.grad(expected, weight)
        torch.testing.assert_close(found, wanted)


@pytest.mark.parametrize("vocab", [500, 8000, 32_000, 128_000])
@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_slices_are_large_enough_to_read_the_weights_seldom_and_bounded(vocab, device):
    rows = losses.rows_at_once(torch.device(device), vocab)
    least, logits = (2048, 1 << 27) if device == "cuda" else (256, 1 << 23)
    assert rows >= least
    assert rows == least or rows * vocab <= logits


def test_in_bf16_the_loss_is_near_that_of_float32():
    hidden, weight, bias, targets = inputs(50, 40, d_model=16)
    exact = linear_cross_entropy(hidden, weight, bias, targets, 0.1)[0]
    with torch.autocast("cpu", torch.bfloat16):
        rounded = linear_cross_entropy(hidden, weight, bias, targets, 0.1)[0]
    torch.testing.assert_close(rounded, exact, rtol=1e-2, atol=0)
    for one, other in zip(
        *(torch.autograd.grad(loss, (hidden, weight, bias)) for loss in (rounded, exact)),
        strict=True,
    ):
        assert one.dtype == torch.float32
        assert float((one - other).norm() / other.norm()) < 0.03


def test_in_bf16_a_nearly_certain_token_keeps_its_small_gradient():
    """1 - p is far below what bf16 tells from 1: p is subtracted before it is rounded."""
    hidden, weight = torch.eye(4).requires_grad_(), (8.0 * torch.eye(4)).requires_grad_()
    bias, targets = torch.zeros(4), torch.arange(4)
    with torch.autocast("cpu", torch.bfloat16):
        loss = linear_cross_entropy(hidden, weight, bias, targets)[0]
    found = torch.autograd.grad(loss, weight)[0].diagonal()
    p = torch.tensor([8.0, 0, 0, 0]).softmax(0)[0]
    wanted = (p - 1).expand(4)
    torch.testing.assert_close(found, wanted, rtol=1e-2, atol=0)


def test_no_tokens_no_loss():
    hidden, weight, bias, targets = inputs(0, 7)
    loss, nll = linear_cross_entropy(hidden, weight, bias, targets, 0.1)
    loss.backward()
    assert loss.item() == nll.item() == 0.0
    assert not weight.grad.any()


def test_without_gradients_the_loss_is_the_same():
    hidden, weight, bias, targets = inputs(9, 7)
    with_gradients = linear_cross_entropy(hidden, weight, bias, targets, 0.1)
    with torch.inference_mode():
        without = linear_cross_entropy(hidden, weight, bias, targets, 0.1)
    assert [x.item() for x in with_gradients] == [x.item() for x in without]
    assert not with_gradients[1].requires_grad
