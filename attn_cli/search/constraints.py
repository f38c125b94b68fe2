"""Lexical constraints: phrases that must appear, by dynamic beam allocation.

Post & Vilar 2018, "Fast lexically constrained decoding with dynamic beam allocation for neural
machine translation": candidates are sorted into banks by how many constraint tokens they have met,
and the beam is shared among the banks, so that hypotheses on their way to the constraints are not
crowded out by likelier ones that ignore them. Here, besides, a candidate is dropped if the tokens
it still owes no longer fit under the maximum length, so every constraint is met whenever they all
fit at the start.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

Phrase = tuple[int, ...]
Progress = tuple[int, ...]  # for each phrase: how many of its tokens end the history; its length
# once it has appeared


@dataclass(frozen=True)
class Candidate:
    """One way to extend one beam: its parent, the token, log P of both, and where it leads."""

    beam: int
    token: int
    log_prob: float
    progress: Progress


class Constraints:
    """The phrases of one request. A phrase inside another is met by it; repeats count once."""

    def __init__(self, phrases: Iterable[Sequence[int]]) -> None:
        self.phrases: tuple[Phrase, ...] = tuple(
            dict.fromkeys(tuple(phrase) for phrase in phrases if phrase)
        )
        self._fallbacks = tuple(_fallbacks(phrase) for phrase in self.phrases)

    def start(self) -> Progress:
        """The progress of an empty history."""
        return (0,) * len(self.phrases)

    def advance(self, progress: Progress, token: int) -> Progress:
        """The progress after one more token (Knuth-Morris-Pratt in each unmet phrase)."""
        return tuple(
            at if at == len(phrase) else _next_match(phrase, fallback, at, token)
            for phrase, fallback, at in zip(self.phrases, self._fallbacks, progress, strict=True)
        )

    def owed(self, progress: Progress) -> int:
        """Tokens that are enough to meet what is unmet: finish the longest start, then the rest."""
        unmet = [
            (len(phrase), at)
            for phrase, at in zip(self.phrases, progress, strict=True)
            if at < len(phrase)
        ]
        return sum(size for size, _ in unmet) - max((at for _, at in unmet), default=0)

    def wanted(self, progress: Progress) -> list[int]:
        """The next token of each unmet phrase."""
        return sorted(
            {
                phrase[at]
                for phrase, at in zip(self.phrases, progress, strict=True)
                if at < len(phrase)
            }
        )

    def allocate(
        self, candidates: Iterable[Candidate], width: int, room: int, eos_id: int
    ) -> tuple[list[Candidate], list[Candidate]]:
        """Shares the beam among the banks.

        Args:
            candidates: extensions of the beams, in any order.
            width: beams to fill, K.
            room: tokens that still fit after this one.
            eos_id: the token that ends a hypothesis.

        Returns:
            Beams that live on (at most `width`, likeliest first), and hypotheses that end.
        """
        pool = list(candidates)
        fitting = [c for c in pool if self.owed(c.progress) <= room] or pool
        banks: dict[int, list[Candidate]] = {}
        for candidate in sorted(fitting, key=lambda c: (c.log_prob, -c.beam, -c.token)):
            banks.setdefault(self.owed(candidate.progress), []).append(candidate)
        live: list[Candidate] = []
        ends: list[Candidate] = []
        while banks and len(live) < width:
            for owed in sorted(banks):  # in turn, those who owe least first
                bank = banks[owed]
                while bank and bank[-1].token == eos_id:
                    ends.append(bank.pop())
                if bank and len(live) < width:
                    live.append(bank.pop())
            banks = {owed: bank for owed, bank in banks.items() if bank}
        live.sort(key=lambda c: (-c.log_prob, c.beam, c.token))
        return live, ends


def _fallbacks(phrase: Phrase) -> tuple[int, ...]:
    """For each start of a phrase, the length of its longest proper start that also ends it."""
    table = [0] * len(phrase)
    at = 0
    for i in range(1, len(phrase)):
        while at and phrase[i] != phrase[at]:
            at = table[at - 1]
        at += phrase[i] == phrase[at]
        table[i] = at
    return tuple(table)


def _next_match(phrase: Phrase, fallback: tuple[int, ...], at: int, token: int) -> int:
    while at and phrase[at] != token:
        at = fallback[at - 1]
    return at + (phrase[at] == token)
