"""What a search is asked for and what it answers."""

from __future__ import annotations

import bisect
from collections.abc import Sized
from dataclasses import dataclass

import torch
from torch import Tensor

from attn_cli.search.candidates import NEVER

Links = tuple[tuple[int, int], ...]
Times = tuple[tuple[float, float], ...]


@dataclass(frozen=True)
class Request:
    """One sentence to decode.

    Attributes:
        source: whatever the model's `start` reads; its `len` is the source length.
        max_len: longest output in tokens, the end token not counted; raised to the prefix's length.
        prefix: tokens that the output must start with, without the begin token.
        opening: tokens of which one must come next, behind the prefix; None: any may. Shape: (O,).
        among: tokens among which the output's are, the end token included; None: all. Of all
            requests of a search or of none. Shape: (C,).
        constraints: phrases of tokens that must appear, wherever `max_len` leaves room for them.
        key: what sampling is seeded by, with the run's seed: the input's line number, say. None
            takes the position among the requests.
        given: how many tokens of the prefix are an input that is continued, all of them or none: no
            limit from below counts them, nor does the score by which outputs are ranked.
    """

    source: Sized
    max_len: int
    prefix: tuple[int, ...] = ()
    opening: Tensor | None = None
    among: Tensor | None = None
    constraints: tuple[tuple[int, ...], ...] = ()
    key: int | None = None
    given: int = 0


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
        times: likewise, where the source is a recording: the seconds at which each word of the
            output begins and ends.
    """

    tokens: tuple[int, ...]
    log_prob: float
    score: float
    finished: bool
    text: str = ""
    links: Links | None = None
    times: Times | None = None


def length_norm(length: Tensor, alpha: float) -> Tensor:
    """L^alpha, the divisor of log P; L counts the end token, so the empty output has L = 1.

    Args:
        length: tokens without the end token, any shape.
        alpha: the length penalty; 0 gives 1.
    """
    return (length + 1).to(torch.float32).pow(alpha)


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
