"""The sentences that are being searched, as tensors: what enters, moves on and leaves together.

Shapes: N sentences, K beams, T history, S source positions, G groups of beams.
"""

from __future__ import annotations

import bisect
import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import pad

from attn_cli.search.candidates import NEVER, Choice
from attn_cli.search.constraints import Constraints, Progress

Links = tuple[tuple[int, int], ...]


@dataclass(frozen=True)
class Request:
    """One sentence to decode.

    Attributes:
        source: whatever the model's `start` reads; its `len` is the source length.
        max_len: longest output in tokens, the end token not counted; raised to the prefix's length.
        prefix: tokens that the output must start with, without the begin token.
        constraints: phrases of tokens that must appear, wherever `max_len` leaves room for them.
        key: what sampling is seeded by, with the run's seed: the input's line number, say. None
            takes the position among the requests.
    """

    source: Any
    max_len: int
    prefix: tuple[int, ...] = ()
    constraints: tuple[tuple[int, ...], ...] = ()
    key: int | None = None


@dataclass(frozen=True)
class Hypothesis:
    """One output.

    Attributes:
        tokens: without begin and end token, the prefix included.
        log_prob: natural log P(tokens, eos), forced tokens counted, penalties not; log P(tokens)
            where the end token was impossible.
        score: what the search ranked by.
        finished: whether the search chose to end here; False where it was cut, at `max_len` or
            because no token was allowed any more.
        text: what the tokens say, for whoever asked the search; it knows tokens alone.
        links: word alignment, likewise: pairs of source word and output word, from 0.
    """

    tokens: tuple[int, ...]
    log_prob: float
    score: float
    finished: bool
    text: str = ""
    links: Links | None = None


class Pool:
    """The best hypotheses of one group of beams of one sentence, at most `size` of them."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._kept: list[tuple[float, tuple[int, ...], Hypothesis]] = []

    def add(self, hypothesis: Hypothesis) -> None:
        """Keeps a hypothesis if it is among the best; of equal scores the smaller tokens win."""
        entry = (-hypothesis.score, hypothesis.tokens, hypothesis)
        bisect.insort(self._kept, entry, key=lambda item: item[:2])
        del self._kept[self._size :]

    @property
    def worst(self) -> float:
        """The score that a newcomer must beat; -inf while there is room."""
        return -self._kept[-1][0] if len(self._kept) == self._size else NEVER

    @property
    def hypotheses(self) -> list[Hypothesis]:
        """Best first."""
        return [hypothesis for *_, hypothesis in self._kept]


@dataclass
class Slot:
    """What one sentence in flight keeps outside of the tensors."""

    index: int
    request: Request
    pools: list[Pool]
    constraints: Constraints | None = None
    progress: list[Progress] = field(default_factory=list)

    def best(self, n_best: int, *, distinct: bool) -> list[Hypothesis]:
        """The outcome over all groups, best first; `distinct` drops repeated outputs."""
        found = [hypothesis for pool in self.pools for hypothesis in pool.hypotheses]
        found.sort(key=lambda hypothesis: (-hypothesis.score, hypothesis.tokens))
        if distinct:
            found = list({hypothesis.tokens: hypothesis for hypothesis in reversed(found)}.values())
            found.reverse()
        return found[:n_best]


@dataclass
class Beams:
    """N sentences with K beams each (one beam before the first step).

    Attributes:
        slots: the sentences. Length: N.
        state: the model's state.
        log_prob: of each beam; -inf for a beam that does not exist. Shape: (N, K).
        tokens: history, left-aligned. Shape: (N, K, T).
        last: the token to read next. Shape: (N, K).
        length: tokens in the history. Shape: (N,).
        max_len: longest history. Shape: (N,).
        source_len: Shape: (N,).
        prefix: forced tokens, padded with -1. Shape: (N, longest prefix).
        worst: the score that a new hypothesis must beat. Shape: (N, G).
        ended: hypotheses that ended so far. Shape: (N, G).
        coverage: attention so far; None without coverage penalty. Shape: (N, K, S).
        uniform: random numbers for sampling; None without. Shape: (N, K, steps).
    """

    slots: list[Slot]
    state: Any
    log_prob: Tensor
    tokens: Tensor
    last: Tensor
    length: Tensor
    max_len: Tensor
    source_len: Tensor
    prefix: Tensor
    worst: Tensor
    ended: Tensor
    coverage: Tensor | None = None
    uniform: Tensor | None = None

    def __len__(self) -> int:
        return len(self.slots)

    def keep(self, sentences: Tensor) -> None:
        """Drops all other sentences. Shape: sentences (M,)."""
        self.slots = [self.slots[i] for i in sentences.tolist()]
        self.state = self.state.keep(sentences)
        for name in _TENSORS:
            value = getattr(self, name)
            if value is not None:
                setattr(self, name, value[sentences])
        self.tokens = self.tokens[:, :, : int(self.length.max())]

    def merge(self, other: Beams) -> None:
        """Takes in the sentences of `other` (the same K) after its own."""
        self.slots = self.slots + other.slots
        self.state = self.state.merge(other.state)
        for name in _TENSORS:
            mine, theirs = getattr(self, name), getattr(other, name)
            if mine is not None:
                fill = -1 if name == "prefix" else 0
                setattr(self, name, _stack(mine, theirs, fill))

    def advance(self, choice: Choice, *, moved: bool) -> None:
        """Extends the beams by what a step chose.

        Args:
            choice: parents, tokens and log-probabilities.
            moved: whether beams changed places (sampling never moves them).
        """
        width = choice.beams.shape[1]
        if self.log_prob.shape[1] < width:
            self.state = self.state.expand(width)
        elif moved and width > 1 and not _in_place(choice.beams):
            self.state = self.state.reorder(choice.beams)
        if moved:
            self.tokens = _take(self.tokens, choice.beams)
            self.coverage = None if self.coverage is None else _take(self.coverage, choice.beams)
        self._append(choice.tokens)
        self.log_prob = choice.log_prob
        self.last = choice.tokens

    def _append(self, tokens: Tensor) -> None:
        if int(self.length.max()) == self.tokens.shape[2]:
            self.tokens = pad(self.tokens, (0, 8))
        at = self.length[:, None, None].expand(-1, tokens.shape[1], 1)
        self.tokens = self.tokens.scatter(2, at, tokens[:, :, None])
        self.length = self.length + 1


_TENSORS = tuple(
    name.name for name in dataclasses.fields(Beams) if name.name not in ("slots", "state")
)


def _in_place(beams: Tensor) -> bool:
    return bool((beams == torch.arange(beams.shape[1], device=beams.device)).all())


def _take(values: Tensor, beams: Tensor) -> Tensor:
    """Row beams[n, k] of sentence n. Shape: values (N, P, X), beams (N, K)."""
    return values.gather(1, beams[:, :, None].expand(-1, -1, values.shape[2]))


def _stack(mine: Tensor, theirs: Tensor, fill: int) -> Tensor:
    """Concatenates along sentences; the narrower last dimension is padded with `fill`."""
    if mine.dim() > 1 and mine.shape[-1] != theirs.shape[-1]:
        width = max(mine.shape[-1], theirs.shape[-1])
        mine = pad(mine, (0, width - mine.shape[-1]), value=fill)
        theirs = pad(theirs, (0, width - theirs.shape[-1]), value=fill)
    return torch.cat([mine, theirs])


def pad_rows(rows: Sequence[Sequence[int]], fill: int) -> Tensor:
    """Rows of different lengths as one integer tensor. Shape: (rows, longest)."""
    width = max(map(len, rows), default=0)
    padded = [[*row, *[fill] * (width - len(row))] for row in rows]
    return torch.tensor(padded, dtype=torch.int64).view(len(rows), width)
