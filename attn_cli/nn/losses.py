"""Losses over a vocabulary, computed in slices so that no (tokens, V) matrix is ever kept.

Shapes: N tokens, D d_model, V vocabulary.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

_SLICE = 1 << 20  # logits per slice: 4 MiB of float32 stay in a CPU's cache


class _LinearCrossEntropy(torch.autograd.Function):
    """Output layer, log-softmax and label-smoothed cross-entropy with their gradient in one pass.

    The gradient of the logits is known as soon as they are: softmax(z) - q. Taking it slice by
    slice in the forward pass saves two passes over, and the storage of, all logits.
    """

    @staticmethod
    def forward(
        ctx: Any, hidden: Tensor, weight: Tensor, bias: Tensor, targets: Tensor, smoothing: float
    ) -> tuple[Tensor, Tensor]:
        """Shape: hidden (N, D), weight (V, D), bias (V,), targets (N,) -> loss sum, nll sum."""
        n_tokens, vocab = hidden.shape[0], weight.shape[0]
        rows = max(1, _SLICE // vocab)
        needs_grad = any(ctx.needs_input_grad[:3])
        loss = hidden.new_zeros((), dtype=torch.float32)
        nll = hidden.new_zeros((), dtype=torch.float32)
        d_hidden = torch.empty_like(hidden) if needs_grad else None
        d_weight = torch.zeros_like(weight) if needs_grad else None
        d_bias = torch.zeros_like(bias) if needs_grad else None
        for first in range(0, n_tokens, rows):
            part = slice(first, min(first + rows, n_tokens))
            logits = torch.addmm(bias, hidden[part], weight.t()).float()
            gold = logits.gather(1, targets[part, None])
            log_z = logits.logsumexp(1, keepdim=True)
            part_nll = (log_z - gold).sum()
            nll += part_nll
            loss += (1 - smoothing) * part_nll
            if smoothing:
                loss += smoothing * (log_z.sum() - logits.sum() / vocab)
            if d_hidden is not None and d_weight is not None and d_bias is not None:
                grad = logits.sub_(log_z).exp_()
                if smoothing:
                    grad -= smoothing / vocab
                grad.scatter_add_(1, targets[part, None], gold.new_full(gold.shape, smoothing - 1))
                grad = grad.to(hidden.dtype)
                torch.mm(grad, weight, out=d_hidden[part])
                d_weight.addmm_(grad.t(), hidden[part])
                d_bias += grad.sum(0)
        ctx.save_for_backward(*(t for t in (d_hidden, d_weight, d_bias) if t is not None))
        ctx.mark_non_differentiable(nll)
        return loss, nll

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        """Scales the stored gradients by the loss's own."""
        d_hidden, d_weight, d_bias = ctx.saved_tensors
        return d_hidden * grads[0], d_weight * grads[0], d_bias * grads[0], None, None


def linear_cross_entropy(
    hidden: Tensor, weight: Tensor, bias: Tensor, targets: Tensor, smoothing: float = 0.0
) -> tuple[Tensor, Tensor]:
    """Σ over tokens of -(1-ε) log p(y) - ε/V Σ_v log p(v), with p = softmax(W h + b).

    Label smoothing as in Szegedy et al. 2016, section 7.

    Args:
        hidden: the model's output vectors. Shape: (N, D).
        weight: the output matrix W, possibly tied to the embeddings. Shape: (V, D).
        bias: b. Shape: (V,).
        targets: the gold tokens y, without padding. Shape: (N,).
        smoothing: ε.

    Returns:
        The loss, and the negative log-likelihood without smoothing (no gradient): sums in nats.
    """
    loss, nll = _LinearCrossEntropy.apply(hidden, weight, bias, targets, smoothing)
    return loss, nll
