"""Which tokens extend which beams: the best K of K V, for plain and for diverse beam search.

Shapes: N sentences, K beams, V vocabulary, C candidates, G groups of K / G beams. A step may come
with fewer beams than it leaves (P parents, P = 1 at the first step of a sentence).
"""

from __future__ import annotations

import functools
from dataclasses import dataclass

import torch
from torch import Tensor

NEVER = float("-inf")
FLOOR = -1e4  # log P of a forced token that the model holds for impossible
_FOLD = 16  # tokens compared at once; 8 to 20 are equally fast, at 8,000 tokens
_SMALL = 64 * _FOLD  # below this many tokens a plain top-k is as fast


@dataclass(frozen=True)
class Choice:
    """What one step decided for N sentences.

    Attributes:
        beams: the parent of each beam that lives on. Shape: (N, K).
        tokens: the token that extends it. Shape: (N, K).
        log_prob: log P of the extended beam; -inf where there is none. Shape: (N, K).
        end_beams: the parents that end here. Shape: (N, K).
        end_log_prob: log P with the end token; -inf where nothing ends. Shape: (N, K).
    """

    beams: Tensor
    tokens: Tensor
    log_prob: Tensor
    end_beams: Tensor
    end_log_prob: Tensor

    def keep(self, sentences: Tensor) -> Choice:
        """The choices for these sentences alone. Shape: sentences (M,)."""
        return Choice(
            self.beams[sentences],
            self.tokens[sentences],
            self.log_prob[sentences],
            self.end_beams[sentences],
            self.end_log_prob[sentences],
        )


def top_candidates(
    log_probs: Tensor, beam_log_prob: Tensor, count: int
) -> tuple[Tensor, Tensor, Tensor]:
    """The best `count` extensions of each sentence, best first.

    A top-k over K V numbers costs several times a maximum over them. The best `count` numbers lie
    in the `count` groups of `_FOLD` tokens with the largest maxima, so a top-k over the maxima and
    one over the tokens of the winning groups find the same.

    Args:
        log_probs: of the next token. Shape: (N, P, V).
        beam_log_prob: of the beams so far. Shape: (N, P).
        count: how many; the answer is filled up with -inf where there are fewer.

    Returns:
        Log-probabilities, parents and tokens. Shape: (N, count) each.
    """
    n, parents, vocabulary = log_probs.shape
    if vocabulary < _SMALL or count * _FOLD > parents * vocabulary:
        scores = (log_probs + beam_log_prob[:, :, None]).flatten(1)
        best, flat = scores.topk(min(count, scores.shape[1]))
    else:
        flat = _winning_groups(log_probs, beam_log_prob, count)
        scores = log_probs.flatten(1).gather(1, flat)
        scores = scores + beam_log_prob.gather(1, flat // vocabulary)
        best, at = scores.topk(count)
        flat = flat.gather(1, at)
    missing = count - best.shape[1]
    if missing:
        best = torch.cat([best, best.new_full((n, missing), NEVER)], 1)
        flat = torch.cat([flat, flat.new_zeros((n, missing))], 1)
    return best, flat // vocabulary, flat % vocabulary


def _winning_groups(log_probs: Tensor, beam_log_prob: Tensor, count: int) -> Tensor:
    """Flat indices of the tokens among which the best `count` are. Shape: (N, at least count)."""
    n, parents, vocabulary = log_probs.shape
    groups = vocabulary // _FOLD
    folded = log_probs[..., : groups * _FOLD].unflatten(2, (_FOLD, groups))
    maxima = (folded.amax(2) + beam_log_prob[:, :, None]).flatten(1)  # (N, P * groups)
    winners = maxima.topk(count).indices
    first = winners + winners // groups * (vocabulary - groups)
    members, tail = _members(parents, vocabulary, first.device)
    flat = (first[:, :, None] + members).flatten(1)
    return flat if tail is None else torch.cat([flat, tail.expand(n, -1)], 1)


@functools.lru_cache(maxsize=16)
def _members(parents: int, vocabulary: int, device: torch.device) -> tuple[Tensor, Tensor | None]:
    """Where the tokens of a group stand from its first on, and those in no group."""
    groups = vocabulary // _FOLD
    with torch.inference_mode(False):
        members = torch.arange(_FOLD, device=device) * groups
        if vocabulary == groups * _FOLD:
            return members, None
        rest = torch.arange(groups * _FOLD, vocabulary, device=device)
        starts = torch.arange(parents, device=device) * vocabulary
        return members, (starts[:, None] + rest).flatten()


def split_ends(best: Tensor, beams: Tensor, tokens: Tensor, width: int, eos_id: int) -> Choice:
    """Parts candidates, best first, into beams that live on and beams that end.

    Of the best 2 K extensions at most K end (each parent can end once), so K are left to live on.
    An ending counts if it is among the best K. Shape: best, beams, tokens (N, 2 K).
    """
    is_end = tokens == eos_id
    order = is_end.to(torch.uint8).argsort(dim=1, stable=True)[:, :width]
    return Choice(
        beams=beams.gather(1, order),
        tokens=tokens.gather(1, order),
        log_prob=best.masked_fill(is_end, NEVER).gather(1, order),
        end_beams=beams[:, :width],
        end_log_prob=best[:, :width].masked_fill(~is_end[:, :width], NEVER),
    )


def plain_tokens(log_probs: Tensor, beam_log_prob: Tensor, width: int, eos_id: int) -> Choice:
    """One step of beam search: the best extensions of any beam. Shape: (N, P, V), (N, P)."""
    best, beams, tokens = top_candidates(log_probs, beam_log_prob, 2 * width)
    return split_ends(best, beams, tokens, width, eos_id)


def diverse_tokens(
    log_probs: Tensor,
    beam_log_prob: Tensor,
    width: int,
    eos_id: int,
    n_groups: int,
    diversity: float,
) -> Choice:
    """One step of diverse beam search (Vijayakumar et al. 2016, eq. 5, Hamming diversity).

    The groups choose in turn; a token loses `diversity` for each beam of an earlier group that took
    it at this step. The loss steers the choice alone: log-probabilities stay the model's.
    """
    parents, each = log_probs.shape[1], width // n_groups
    choices: list[Choice] = []
    for group in range(n_groups):
        first = group * each if parents > 1 else 0  # at the first step all share one parent
        group_beams = slice(first, first + (each if parents > 1 else 1))
        steered = _less_taken(log_probs[:, group_beams], choices, diversity)
        best, beams, tokens = top_candidates(steered, beam_log_prob[:, group_beams], 2 * each)
        flat = beams * log_probs.shape[2] + tokens
        true = log_probs[:, group_beams].flatten(1).gather(1, flat)
        true = true + beam_log_prob[:, group_beams].gather(1, beams)
        true = true.masked_fill(best == NEVER, NEVER)
        choices.append(split_ends(true, beams + first, tokens, each, eos_id))
    return Choice(
        *(
            torch.cat(parts, 1)
            for parts in zip(*(vars(choice).values() for choice in choices), strict=True)
        )
    )


def _less_taken(log_probs: Tensor, earlier: list[Choice], diversity: float) -> Tensor:
    """Log-probabilities less the Hamming penalty for what earlier groups chose."""
    if not earlier or not diversity:
        return log_probs
    tokens = torch.cat([choice.tokens for choice in earlier], 1)
    alive = torch.cat([choice.log_prob for choice in earlier], 1) > NEVER
    loss = log_probs.new_zeros(log_probs.shape[0], log_probs.shape[2])
    loss.scatter_add_(1, tokens, alive.to(loss.dtype) * diversity)
    return log_probs - loss[:, None, :]
