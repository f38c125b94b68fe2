"""Tokens that must come: forced target prefixes and lexical constraints, applied to one step.

Shapes: N sentences, P parents, K beams, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from attn_cli.search.beams import Beams
from attn_cli.search.candidates import FLOOR, NEVER, Choice, top_candidates
from attn_cli.search.constraints import Candidate


@dataclass(frozen=True)
class Forced:
    """What a step must leave possible, taken from the model's answer before anything is masked."""

    prefixed: tuple[Tensor, Tensor, Tensor] | None  # sentences, their columns, log P of these
    wanted: tuple[list[tuple[int, int, int]], Tensor] | None  # where, log P there

    def restore(self, log_probs: Tensor, beams: Beams, eos_id: int) -> None:
        """Undoes masks, in place, for forced tokens. Shape: log_probs (N, P, V).

        A beam that owes a constraint may not end; a sentence inside its prefix may take the
        prefix's next token alone, and one that has come to its opening only a token of that.
        """
        for n, slot in enumerate(beams.slots):
            if slot.constraints:
                for beam, progress in enumerate(slot.progress):
                    if slot.constraints.owed(progress):
                        log_probs[n, beam, beams.column(eos_id)] = NEVER
        if self.wanted is not None:
            where, values = self.wanted
            log_probs[_columns(where)] = values
        if self.prefixed is not None:
            rows, tokens, values = self.prefixed
            log_probs[rows] = NEVER
            log_probs[rows, :, tokens] = values
        for n, slot in enumerate(beams.slots):
            if slot.opening is not None and int(beams.length[n]) >= slot.opens_at:
                opening = beams.columns_of(slot.opening)
                allowed = log_probs[n, :, opening].clamp(min=FLOOR)
                log_probs[n] = NEVER
                log_probs[n, :, opening] = allowed
                slot.opening = None


def forced(beams: Beams, log_probs: Tensor) -> Forced:
    """The next tokens of prefixes and of unmet constraints. Shape: log_probs (N, P, V)."""
    where = [
        (n, beam, beams.column(token))
        for n, slot in enumerate(beams.slots)
        if slot.constraints
        for beam, progress in enumerate(slot.progress)
        for token in slot.constraints.wanted(progress)
    ]
    wanted = (where, log_probs[_columns(where)].clamp(min=FLOOR)) if where else None
    return Forced(_prefixed(beams, log_probs), wanted)


def _prefixed(beams: Beams, log_probs: Tensor) -> tuple[Tensor, Tensor, Tensor] | None:
    longest = beams.prefix.shape[1]
    if not longest:
        return None
    at = beams.length.clamp(max=longest - 1)[:, None]
    token = beams.prefix.gather(1, at).squeeze(1)
    (rows,) = ((beams.length < longest) & (token >= 0)).nonzero(as_tuple=True)
    if not rows.numel():
        return None
    tokens = beams.columns_of(token[rows])
    return rows, tokens, log_probs[rows, :, tokens].clamp(min=FLOOR)  # values (rows, P)


def allocate(beams: Beams, log_probs: Tensor, choice: Choice, eos_id: int) -> None:
    """Replaces, in place, the choice for constrained sentences by dynamic beam allocation.

    Args:
        beams: the sentences before the step.
        log_probs: after masks. Shape: (N, P, V).
        choice: what plain beam search chose.
        eos_id: the end token.
    """
    width = choice.tokens.shape[1]
    _, parents, tokens = top_candidates(log_probs, beams.log_prob, 2 * width)  # (N, 2 K)
    tokens = beams.tokens_at(tokens)
    rooms = (beams.max_len - beams.length - 1).tolist()
    for n, slot in enumerate(beams.slots):
        if slot.constraints:
            pairs = list(zip(parents[n].tolist(), tokens[n].tolist(), strict=True))
            offered = _candidates(beams, n, log_probs[n], pairs)
            live, ends = slot.constraints.allocate(offered, width, rooms[n], eos_id)
            slot.progress = [candidate.progress for candidate in live]
            _write(choice.beams[n], choice.log_prob[n], live)
            _write(choice.end_beams[n], choice.end_log_prob[n], ends)
            choice.tokens[n, : len(live)] = choice.tokens.new_tensor([c.token for c in live])


def _candidates(
    beams: Beams, n: int, log_probs: Tensor, best: list[tuple[int, int]]
) -> list[Candidate]:
    """The best candidates, and for each parent its best token and its constraints' next ones.

    Shape: log_probs (P, V).
    """
    slot = beams.slots[n]
    assert slot.constraints is not None
    pairs = set(best)
    likeliest = beams.tokens_at(log_probs.argmax(1)).tolist()
    for beam, (token, progress) in enumerate(zip(likeliest, slot.progress, strict=False)):
        pairs |= {(beam, token), *((beam, want) for want in slot.constraints.wanted(progress))}
    ordered = sorted(pair for pair in pairs if pair[0] < len(slot.progress))
    if not ordered:
        return []
    rows, tokens = _columns(ordered)
    columns = beams.columns_of(torch.tensor(tokens, device=log_probs.device))
    values = (log_probs[rows, columns] + beams.log_prob[n, rows]).tolist()
    return [
        Candidate(beam, token, value, slot.constraints.advance(slot.progress[beam], token))
        for (beam, token), value in zip(ordered, values, strict=True)
        if value > NEVER
    ]


def _write(parents: Tensor, log_prob: Tensor, chosen: list[Candidate]) -> None:
    """Fills one sentence's row. Shape: parents, log_prob (K,)."""
    log_prob.fill_(NEVER)
    log_prob[: len(chosen)] = log_prob.new_tensor([c.log_prob for c in chosen])
    parents.fill_(0)
    parents[: len(chosen)] = parents.new_tensor([c.beam for c in chosen])


def _columns(rows: Sequence[tuple[int, ...]]) -> tuple[list[int], ...]:
    """Index tuples as one list per dimension, the way a tensor is indexed."""
    return tuple(list(column) for column in zip(*rows, strict=True))
