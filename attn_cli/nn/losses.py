"""Losses: cross-entropy over a vocabulary, and terms about attention.

The cross-entropy is computed in slices, so that no (tokens, V) matrix is ever kept.

Shapes: N tokens, D d_model, V vocabulary, B batch, H heads, T queries, S keys.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.autograd.function import FunctionCtx

# Logits of a slice, where those are more than the rows below: few passes over the weights, and
# slices that stay in the last cache of a CPU. A GPU needs more at once to be busy.
_LOGITS = {"cpu": 1 << 23, "cuda": 1 << 27}
_ROWS = {"cpu": 256, "cuda": 2048}  # a product of fewer rows waits for the weights


class _Context(FunctionCtx):
    """What autograd keeps from the forward pass for the backward pass."""

    saved_tensors: tuple[Tensor, ...]
    needs_input_grad: tuple[bool, ...]


class _LinearCrossEntropy(torch.autograd.Function):
    """Output layer, log-softmax and label-smoothed cross-entropy with their gradient in one pass.

    The gradient of the logits is known as soon as they are: p - (1-ε) e_y - ε/V. Taking it slice by
    slice in the forward pass saves two passes over, and the storage of, all logits. What label
    smoothing adds is linear in the logits, so it needs no pass at all: their mean is
    w̄ᵀh + b̄, with w̄ the mean row of W.
    """

    @staticmethod
    def forward(
        ctx: _Context,
        hidden: Tensor,
        weight: Tensor,
        bias: Tensor,
        targets: Tensor,
        smoothing: float,
    ) -> tuple[Tensor, Tensor]:
        """Shape: hidden (N, D), weight (V, D), bias (V,), targets (N,) -> loss sum, nll sum."""
        kind = hidden.device.type
        mixed = torch.is_autocast_enabled(kind)
        dtype = torch.get_autocast_dtype(kind) if mixed else hidden.dtype
        with torch.autocast(kind, enabled=False):
            gradients = None
            if any(ctx.needs_input_grad):
                gradients = _Gradients(hidden, weight, bias, smoothing)
            tensors = (hidden.to(dtype), weight.to(dtype), bias.to(dtype), targets)
            loss, nll = _sums(*tensors, smoothing, gradients)
        if gradients is not None:
            ctx.save_for_backward(gradients.hidden, gradients.weight, gradients.bias)
        ctx.mark_non_differentiable(nll)
        return loss, nll

    @staticmethod
    def backward(ctx: _Context, *grads: Tensor) -> tuple[Tensor | None, ...]:
        """Scales the stored gradients by the loss's own."""
        d_hidden, d_weight, d_bias = ctx.saved_tensors
        return d_hidden * grads[0], d_weight * grads[0], d_bias * grads[0], None, None


class _Gradients:
    """The gradients of a sum over tokens, gathered slice by slice.

    They begin with what label smoothing adds to all of them alike.
    """

    def __init__(self, hidden: Tensor, weight: Tensor, bias: Tensor, smoothing: float) -> None:
        share = -smoothing / len(weight)
        self.hidden = torch.empty_like(hidden)
        self.weight = (share * hidden.sum(0)).to(weight.dtype).expand_as(weight).contiguous()
        self.bias = torch.full_like(bias, share * len(hidden))

    def add(self, part: slice, logits: Tensor, hidden: Tensor, weight: Tensor) -> None:
        """Adds a slice, given the gradient of its logits. Shape: (n, V), (n, D), (V, D)."""
        self.bias += logits.sum(0)
        logits = logits.to(weight.dtype)
        if weight.dtype == self.weight.dtype == self.hidden.dtype:
            torch.mm(logits, weight, out=self.hidden[part])
            self.weight.addmm_(logits.t(), hidden)
        else:
            self.hidden[part] = logits @ weight
            self.weight += logits.t() @ hidden


def _sums(
    hidden: Tensor,
    weight: Tensor,
    bias: Tensor,
    targets: Tensor,
    smoothing: float,
    gradients: _Gradients | None,
) -> tuple[Tensor, Tensor]:
    """Loss and negative log-likelihood, slice by slice; fills `gradients` on the way."""
    mean_weight, mean_bias = weight.float().mean(0), bias.float().mean()
    loss = torch.zeros((), device=hidden.device)
    nll = torch.zeros((), device=hidden.device)
    rows = rows_at_once(hidden.device, len(weight))
    for first in range(0, len(hidden), rows):
        part = slice(first, min(first + rows, len(hidden)))
        logits = torch.addmm(bias, hidden[part], weight.t())  # (n, V)
        # The products' type, where that is enough, saves a pass: smoothed targets are far from 1,
        # where bf16 tells few numbers apart.
        exact = gradients is None or not smoothing
        probs = logits.softmax(1, torch.float32 if exact else None)
        log_z = logits.amax(1).float() - probs.amax(1).float().log()
        gold = logits.gather(1, targets[part, None]).float()[:, 0]
        part_nll = (log_z - gold).sum()
        nll += part_nll
        loss += (1 - smoothing) * part_nll
        if smoothing:
            mean = hidden[part].float() @ mean_weight + mean_bias
            loss += smoothing * (log_z - mean).sum()
        if gradients is not None:
            del logits
            # Not by scatter: it copies matrices of bf16, and takes a third of all this.
            probs[torch.arange(len(probs), device=probs.device), targets[part]] -= 1 - smoothing
            gradients.add(part, probs, hidden[part], weight)
    if gradients is not None and smoothing:
        gradients.hidden -= smoothing * mean_weight
    return loss, nll


def rows_at_once(device: torch.device, vocab: int) -> int:
    """How many tokens' logits are made at once."""
    kind = "cuda" if device.type == "cuda" else "cpu"
    return max(_ROWS[kind], _LOGITS[kind] // vocab)


def linear_cross_entropy(
    hidden: Tensor, weight: Tensor, bias: Tensor | None, targets: Tensor, smoothing: float = 0.0
) -> tuple[Tensor, Tensor]:
    """Σ over tokens of -(1-ε) log p(y) - ε/V Σ_v log p(v), with p = softmax(W h + b).

    Label smoothing as in Szegedy et al. 2016, section 7.

    Args:
        hidden: the model's output vectors. Shape: (N, D).
        weight: the output matrix W, possibly tied to the embeddings. Shape: (V, D).
        bias: b; None for 0. Shape: (V,).
        targets: the gold tokens y, without padding. Shape: (N,).
        smoothing: ε.

    Returns:
        The loss, and the negative log-likelihood without smoothing (no gradient): sums in nats.
    """
    bias = weight.new_zeros(len(weight)) if bias is None else bias
    loss, nll = _LinearCrossEntropy.apply(hidden, weight, bias, targets, smoothing)
    return loss, nll


def head_penalty(weights: Tensor, mask: Tensor) -> Tensor:
    """Σₜ ‖Aₜ Aₜᵀ - I‖²_F, the rows of Aₜ (H, S) being what the heads attend to from position t.

    It is small where heads look at different places, and each at few (Lin et al. 2017, eq. 8).

    Args:
        weights: Shape: (B, H, T, S).
        mask: the valid positions. Shape: (B, T).
    """
    rows = weights.transpose(1, 2)[mask]  # (N, H, S)
    identity = torch.eye(rows.shape[1], device=rows.device)
    return (rows @ rows.mT - identity).square().sum()


def hard_attention_loss(log_probs: Tensor, rewards: Tensor, mask: Tensor) -> Tensor:
    """-Σ ln q(iₜ) (Rₜ - bₜ): its gradient is the score-function estimator (Xu et al. 2015, eq. 11).

    Rₜ is the sum of the rewards from step t on: what a choice can still change. The baseline bₜ is
    what the other sentences of the batch got for a step, times the steps left; since it does not
    depend on the sentence's own draws, the estimator stays unbiased.

    Args:
        log_probs: ln q of the positions drawn, as `HardNormalizer` gives them. Shape: (B, T).
        rewards: ln p(yₜ) of each step; no gradient flows through them. Shape: (B, T).
        mask: the valid steps. Shape: (B, T).
    """
    rewards = rewards.detach().masked_fill(~mask, 0.0)
    totals, steps = rewards.sum(1), mask.sum(1)
    others = (steps.sum() - steps).clamp_min(1)
    each = (totals.sum() - totals) / others  # a step's reward in the other sentences
    left = mask.flip(1).cumsum(1).flip(1)
    advantage = rewards.flip(1).cumsum(1).flip(1) - each[:, None] * left
    return -(log_probs.masked_fill(~mask, 0.0) * advantage).sum()
