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
    monkeypatch.setattr(losses, "_SLICE", rows_per_slice * vocab)
    hidden, weight, bias, targets = inputs(10, vocab)
    loss, nll = linear_cross_entropy(hidden, weight, bias, targets, smoothing)
    logits = F.linear(hidden, weight, bias)
    expected = F.cross_entropy(logits, targets, label_smoothing=smoothing, reduction="sum")
    torch.testing.assert_close(loss, expected, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(nll, F.cross_entropy(logits, targets, reduction="sum"))
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
