"""What an output of tokens and blanks says: its best path, or a beam of prefixes.

Shapes: S positions, V vocabulary.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

_TOKENS = 16  # of a position that prefixes may go on with: the likeliest

Tokens = tuple[int, ...]


def collapsed(path: Sequence[int], blank_id: int) -> Tokens:
    """A path without repeats, then without blanks (Graves et al. 2006, section 3.1)."""
    kept = [token for at, token in enumerate(path) if not at or token != path[at - 1]]
    return tuple(token for token in kept if token != blank_id)


def best_path(log_probs: Tensor, blank_id: int) -> Tokens:
    """What the likeliest token of each position becomes. Shape: (S, V + 1)."""
    return collapsed(log_probs.argmax(-1).tolist(), blank_id)


class _Ends(NamedTuple):
    """ln P of the paths that became a prefix so far: those that end with a blank, and others."""

    blank: float
    token: float

    @property
    def total(self) -> float:
        return _add(self.blank, self.token)


_NOTHING = _Ends(-math.inf, -math.inf)


def prefix_beam(log_probs: Tensor, blank_id: int, size: int) -> list[Tokens]:
    """The likeliest outputs, best first, by a beam of prefixes (Hannun et al. 2014, algorithm 1).

    Each prefix keeps the probability of all paths that become it, as far as the beam has kept what
    they begin with.

    Args:
        log_probs: Shape: (S, V + 1).
        blank_id: the last one.
        size: of the beam.
    """
    beam: dict[Tokens, _Ends] = {(): _Ends(0.0, -math.inf)}
    best = log_probs.topk(min(log_probs.shape[1], max(_TOKENS, size)), dim=-1)
    blanks = log_probs[:, blank_id].tolist()
    for at, (values, tokens) in enumerate(
        zip(best.values.tolist(), best.indices.tolist(), strict=True)
    ):
        likely = {
            token: value
            for token, value in zip(tokens, values, strict=True)
            if token != blank_id and value > -math.inf
        }
        for prefix in beam:  # a token that is said on is no new one: it is always looked at
            if prefix and prefix[-1] not in likely:
                likely[prefix[-1]] = float(log_probs[at, prefix[-1]])
        beam = _longer(beam, likely, blanks[at])
        ranked = sorted(beam.items(), key=lambda item: (-item[1].total, item[0]))
        beam = dict(ranked[:size])
    return list(beam)


def _longer(
    beam: dict[Tokens, _Ends], likely: dict[int, float], blank: float
) -> dict[Tokens, _Ends]:
    """The prefixes after one more position, of the log-probabilities of tokens and of blank."""
    after: dict[Tokens, _Ends] = defaultdict(lambda: _NOTHING)
    for prefix, ends in beam.items():
        same = after[prefix]
        after[prefix] = same._replace(blank=_add(same.blank, ends.total + blank))
        for token, value in likely.items():
            longer = (*prefix, token)
            new = ends.total
            if prefix and token == prefix[-1]:
                same = after[prefix]
                after[prefix] = same._replace(token=_add(same.token, ends.token + value))
                new = ends.blank
            found = after[longer]
            after[longer] = found._replace(token=_add(found.token, new + value))
    return {prefix: ends for prefix, ends in after.items() if ends.total > -math.inf}


def _add(one: float, other: float) -> float:
    """The logarithm of the sum of what both are logarithms of."""
    high, low = max(one, other), min(one, other)
    return high if low == -math.inf else high + math.log1p(math.exp(low - high))


def without(log_probs: Tensor, never_ids: Sequence[int]) -> Tensor:
    """The same where some tokens are never said. Shape: (..., V + 1) -> the same."""
    index = torch.tensor(list(never_ids), device=log_probs.device, dtype=torch.long)
    return log_probs.index_fill(-1, index, -math.inf)
