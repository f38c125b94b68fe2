"""What a hypothesis is ranked by, and which tokens it may not take.

Shapes: N sentences, P beams, V vocabulary, T history, S source positions.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import pad

_UNATTENDED = 1e-6  # coverage of a position that nothing attends to: its logarithm stays finite


def coverage_score(coverage: Tensor, source_len: Tensor, beta: float) -> Tensor:
    """GNMT's coverage penalty, beta sum_i log min(sum_j p_ij, 1) (Wu et al. 2016, eq. 14).

    Args:
        coverage: attention that each source position got so far. Shape: (N, P, S).
        source_len: positions beyond it are padding. Shape: (N,).
        beta: the penalty's weight.

    Returns:
        Numbers <= 0, added to the length-normalised score. Shape: (N, P).
    """
    seen = coverage.clamp(min=_UNATTENDED, max=1.0).log()
    positions = torch.arange(coverage.shape[2], device=coverage.device)
    padding = positions >= source_len[:, None, None]
    return beta * seen.masked_fill(padding, 0.0).sum(2)


def add_attention(coverage: Tensor, attention: Tensor) -> Tensor:
    """Coverage after one more step; the narrower of the two is padded. Shape: (N, P, S)."""
    width = max(coverage.shape[2], attention.shape[2])
    coverage = pad(coverage, (0, width - coverage.shape[2]))
    return coverage + pad(attention, (0, width - attention.shape[2]))


def forbid_repeats(log_probs: Tensor, history: Tensor, length: Tensor, n: int) -> None:
    """Sets to -inf, in place, each token that would complete an n-gram the beam has already.

    Args:
        log_probs: of the next token. Shape: (N, P, V).
        history: tokens so far, left-aligned. Shape: (N, P, T).
        length: how many of them are real. Shape: (N,).
        n: the n-gram's order; 1 forbids every token used before.
    """
    if history.shape[2] < n:
        return
    windows = history.unfold(2, n, 1)  # (N, P, W, n)
    # The last n - 1 tokens; where there are fewer, no window is inside the history either.
    at = (length[:, None] - (n - 1) + torch.arange(n - 1, device=length.device)).clamp(min=0)
    tail = history.gather(2, at[:, None, :].expand(-1, history.shape[1], -1))
    inside = torch.arange(windows.shape[2], device=length.device) + n <= length[:, None]
    same = (windows[..., :-1] == tail[:, :, None, :]).all(3) & inside[:, None, :]
    sentence, beam, window = same.nonzero(as_tuple=True)
    log_probs[sentence, beam, windows[sentence, beam, window, -1]] = float("-inf")
