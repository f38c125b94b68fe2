"""Connectionist temporal classification (Graves et al. 2006): the encoder's own output.

Shapes: B batch, S positions, D d_model, V vocabulary, T target length.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from attn_cli.nn.tables import OutputLinear


class CtcOutput(nn.Module):
    """p(π_s | x) of each position by itself: one of V tokens, or blank, which comes last.

    Args:
        d_model: D.
        vocab_size: V.
    """

    def __init__(self, d_model: int, vocab_size: int) -> None:
        super().__init__()
        self.blank_id = vocab_size
        self.output = OutputLinear(d_model, vocab_size + 1)
        nn.init.normal_(self.output.weight, std=d_model**-0.5)
        nn.init.zeros_(self.output.bias)

    def forward(self, encoded: Tensor) -> Tensor:
        """Logarithms of probabilities. Shape: (B, S, D) -> (B, S, V + 1)."""
        return self.output(encoded).float().log_softmax(-1)


def ctc_nll(
    log_probs: Tensor, mask: Tensor, targets: Tensor, lengths: Tensor, *, infinite: bool = False
) -> Tensor:
    """-ln Σ_π Π_s p(π_s | x) over all π that become the target without repeats and blanks.

    Args:
        log_probs: of tokens and blank, the last one. Shape: (B, S, V + 1).
        mask: which positions are no padding. Shape: (B, S).
        targets: tokens; beyond their lengths anything. Shape: (B, T).
        lengths: of the targets; -1: nothing is to be learnt of it, which is 0. Shape: (B,).
        infinite: whether a target that no π can become costs infinity, as it does; else 0, so that
            others are learnt.

    Returns:
        Nats of each target. Shape: (B,).
    """
    wanted = lengths >= 0
    with torch.autocast(log_probs.device.type, enabled=False):
        nll = F.ctc_loss(
            log_probs.transpose(0, 1),
            targets.clamp(max=log_probs.shape[2] - 2),
            mask.sum(1),
            lengths.clamp_min(0),
            blank=log_probs.shape[2] - 1,
            reduction="none",
            zero_infinity=not infinite,
        )
    return torch.where(wanted, nll, torch.zeros_like(nll))


def positions_needed(tokens: list[int]) -> int:
    """How many positions a target needs: one a token, and a blank between equal ones."""
    repeats = sum(one == other for one, other in zip(tokens, tokens[1:], strict=False))
    return len(tokens) + repeats


def ctc_alignment(log_probs: Tensor, mask: Tensor, targets: Tensor, lengths: Tensor) -> Tensor:
    """Where the tokens of targets are said on the likeliest path that becomes them (Viterbi).

    Args:
        log_probs: of tokens and blank, the last one. Shape: (B, S, V + 1).
        mask: which positions are no padding; each target needs as many of them as
            `positions_needed` says. Shape: (B, S).
        targets: tokens; beyond their lengths anything. Shape: (B, T).
        lengths: of the targets. Shape: (B,).

    Returns:
        The first position of each token, and the one behind its last. Shape: (B, T, 2).
    """
    blank_id = log_probs.shape[2] - 1
    n, size = targets.shape
    # A blank, the first token, a blank, …, a blank: what a path is at, state by state.
    labels = targets.new_full((n, 2 * size + 1), blank_id)
    labels[:, 1::2] = targets
    skips = F.pad(labels[:, 2:] != labels[:, :-2], (2, 0), value=False)
    skips &= labels != blank_id
    emitted = log_probs.gather(2, labels[:, None].expand(-1, log_probs.shape[1], -1)).clone()
    emitted[:, :, 1::2].masked_fill_(~mask[..., None], -torch.inf)
    emitted[:, :, 0::2].masked_fill_(~mask[..., None], 0.0)  # all that padding says is blank
    best = torch.full_like(emitted[:, 0], -torch.inf)
    best[:, :2] = emitted[:, 0, :2]
    moves = []
    for scores in emitted.unbind(1)[1:]:
        one = F.pad(best[:, :-1], (1, 0), value=-torch.inf)
        two = F.pad(best[:, :-2], (2, 0), value=-torch.inf).masked_fill(~skips, -torch.inf)
        best, move = torch.stack((best, one, two)).max(0)
        best = best + scores
        moves.append(move)
    ends = torch.stack((2 * lengths, (2 * lengths - 1).clamp_min(0)), 1)
    state = ends.gather(1, best.gather(1, ends).argmax(1, keepdim=True))
    path = [state]
    for move in reversed(moves):
        path.append(path[-1] - move.gather(1, path[-1]))
    states = torch.cat(path[::-1], 1)  # (B, S)
    said = states[:, None] == 2 * torch.arange(size, device=states.device)[:, None] + 1
    first = said.int().argmax(2)
    return torch.stack((first, first + said.sum(2)), 2)
