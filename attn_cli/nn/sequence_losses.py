"""Losses of whole sentences: what sampled outputs cost, weighed by how likely they are.

Shapes: B sentences, C outputs of each, R rows (outputs of all sentences), T tokens, D d_model,
V vocabulary.
"""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from attn_cli.nn.losses import rows_at_once
from attn_cli.nn.normalizers import masked_softmax


def sequence_log_probs(
    hidden: Tensor, tokens: Tensor, valid: Tensor, weight: Tensor, bias: Tensor
) -> Tensor:
    """Log P of each row's tokens, with gradient; logits are computed again on the way back.

    Args:
        hidden: the model's output vectors. Shape: (R, T, D).
        tokens: what is predicted from them. Shape: (R, T).
        valid: which of them count. Shape: (R, T), boolean.
        weight: the output matrix. Shape: (V, D).
        bias: Shape: (V,).

    Returns:
        Sums in nats. Shape: (R,).
    """
    size = rows_at_once(hidden.device, len(weight))
    again = partial(checkpoint, use_reentrant=False, preserve_rng_state=False)
    parts = [
        again(_log_probs, some, ids, weight, bias)
        for some, ids in zip(hidden[valid].split(size), tokens[valid].split(size), strict=True)
    ]
    flat = torch.cat(parts)
    return flat.new_zeros(valid.shape).masked_scatter(valid, flat).sum(1)


def _log_probs(hidden: Tensor, tokens: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    logits = F.linear(hidden, weight, bias).float()
    return logits.log_softmax(-1).gather(-1, tokens[:, None]).squeeze(-1)


def expected_risk(log_probs: Tensor, costs: Tensor, valid: Tensor, sharpness: float) -> Tensor:
    """Σ over sentences of (Σ_y Q(y) Δ(y) - mean Δ) / α, with Q(y) = P(y)^α / Σ_y′ P(y′)^α.

    The sum in it is the expected risk (Shen et al. 2016, eq. 10-12). The plain mean has no
    gradient, and α takes its own factor out of that of Q: so the gradient is, for small α, that of
    -Σ_y (mean Δ - Δ(y)) ln P(y) / C, as large as `self_critical`'s, and for α = 1 the risk's own.

    Args:
        log_probs: ln P(y) of different outputs. Shape: (B, C).
        costs: Δ(y). Shape: (B, C).
        valid: which outputs there are. Shape: (B, C), boolean.
        sharpness: α.
    """
    q = masked_softmax(sharpness * log_probs, valid)
    risk = (q * costs.masked_fill(~valid, 0.0)).sum(1)
    mean = costs.masked_fill(~valid, 0.0).sum(1) / valid.sum(1).clamp_min(1)
    return (risk - mean).sum() / sharpness


def self_critical(log_probs: Tensor, rewards: Tensor, baseline: Tensor, valid: Tensor) -> Tensor:
    """-Σ over sentences of the mean over samples of (r(y) - b) ln P(y) (Rennie et al. 2017, eq. 9).

    Its gradient is that of the expected reward, estimated from the samples (Williams 1992).

    Args:
        log_probs: ln P(y) of samples. Shape: (B, C).
        rewards: r(y). Shape: (B, C).
        baseline: b, the reward of the greedy output. Shape: (B,).
        valid: which samples there are. Shape: (B, C), boolean.
    """
    advantage = (rewards - baseline[:, None]).masked_fill(~valid, 0.0)
    each = (advantage * log_probs.masked_fill(~valid, 0.0)).sum(1)
    return -(each / valid.sum(1).clamp_min(1)).sum()
