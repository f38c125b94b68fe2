"""Drawing segmentations reproducibly: BPE-dropout and unigram sampling.

SentencePiece draws too, but its generator is salted anew in every process (0.2.3), so that no seed
makes a training repeatable. Here a seed decides. Both models cut a text word by word, for no piece
reaches over the beginning of a word; what is known of a word is kept, which makes it fast.
"""

from __future__ import annotations

import heapq
import math
import re
from abc import ABC, abstractmethod
from bisect import bisect
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from itertools import accumulate
from random import Random
from typing import Generic, TypeVar

T = TypeVar("T")

SPACE_MARK = "\u2581"  # SentencePiece writes a space so
_WORD = re.compile(f"{SPACE_MARK}*[^{SPACE_MARK}]+|{SPACE_MARK}+")
_KEPT_LENGTH = 24  # characters; longer words hardly come twice
_KEPT_WORDS = 1 << 17


@dataclass(frozen=True)
class Pieces:
    """The pieces that text is cut into.

    Attributes:
        ids: the id of each piece.
        scores: log-probability (unigram) or negated rank of the merge (bpe) of each piece.
        unk_id: the id of a character without a piece.
        byte_ids: the ids of the 256 bytes, which then replace `unk_id`; empty if there are none.
        symbols: the ids of texts that are one piece wherever they stand.
    """

    ids: Mapping[str, int]
    scores: Mapping[str, float]
    unk_id: int
    byte_ids: tuple[int, ...] = ()
    symbols: Mapping[str, int] = field(default_factory=dict)

    def cut(self, symbols: Collection[str]) -> list[int]:
        """The ids of pieces, and of characters that may have none."""
        result: list[int] = []
        for symbol in symbols:
            index = self.ids.get(symbol)
            if index is not None:
                result.append(index)
            elif self.byte_ids:
                result += [self.byte_ids[byte] for byte in symbol.encode("utf-8")]
            else:
                result.append(self.unk_id)
        return result


def _words(text: str) -> list[str]:
    """The words of a normalized text, each with the space marks before it."""
    if SPACE_MARK * 2 in text:
        return _WORD.findall(text)
    words = text.replace(SPACE_MARK, " " + SPACE_MARK).split(" ")  # a normalized text has no space
    return words if words[0] else words[1:]


class SubwordSampler(ABC, Generic[T]):
    """Draws a segmentation word by word, and remembers for each word what does not change."""

    def __init__(self, pieces: Pieces) -> None:
        self.pieces = pieces
        self._known: dict[str, T] = {}
        longest_first = sorted(pieces.symbols, key=lambda symbol: (-len(symbol), symbol))
        self._symbol = re.compile(f"({'|'.join(map(re.escape, longest_first))})")

    def draw(self, text: str, generator: Random) -> list[int]:
        """The ids of one random segmentation of a normalized text."""
        ids: list[int] = []
        if not self.pieces.symbols:
            ids = self._draw_words(_words(text), generator)
        else:
            for number, part in enumerate(self._symbol.split(text)):
                if number % 2:
                    ids.append(self.pieces.symbols[part])
                elif part:
                    ids += self._draw_words(_words(part), generator)
        if self.pieces.unk_id in ids:  # a run of unknown characters is one unknown token
            unk_id = self.pieces.unk_id
            return [i for at, i in enumerate(ids) if i != unk_id or not at or ids[at - 1] != unk_id]
        return ids

    @abstractmethod
    def _draw_words(self, words: list[str], generator: Random) -> list[int]:
        """The ids of one random segmentation of each word with its space mark, joined."""

    def _keep(self, word: str, value: T) -> T:
        """Remembers what is known of a word, within bounds."""
        if len(word) <= _KEPT_LENGTH:
            if len(self._known) >= _KEPT_WORDS:
                self._known.clear()
            self._known[word] = value
        return value


@dataclass
class _Lattice:
    """All segmentations of a word, seen from its end.

    For each end position: the possible last pieces there, as (start, ids), and their cumulative
    probabilities.
    """

    arcs: list[list[tuple[int, list[int]]]]
    cumulative: list[list[float]]


class UnigramSampler(SubwordSampler[_Lattice]):
    """Draws x from P(x)^alpha / Σ P^alpha over all segmentations (Kudo 2018, equation 5, l = ∞).

    Forward filtering, backward sampling: with f(e) = Σ_s f(s) p(piece s…e)^alpha, the last piece
    before e starts at s with probability f(s) p^alpha / f(e).
    """

    _UNK_PENALTY = (
        10.0  # as SentencePiece: an unknown character is this much below the rarest piece
    )

    def __init__(self, pieces: Pieces, alpha: float) -> None:
        super().__init__(pieces)
        self._longest = max(map(len, pieces.ids), default=1)
        self._arcs = {p: (alpha * score, [pieces.ids[p]]) for p, score in pieces.scores.items()}
        lowest = min(pieces.scores.values(), default=0.0)
        self._unk_score = alpha * (lowest - self._UNK_PENALTY)

    def _draw_words(self, words: list[str], generator: Random) -> list[int]:
        """Draws each word's pieces from the last to the first."""
        known, draw = self._known, generator.random
        ids: list[int] = []
        for word in words:
            lattice = known.get(word) or self._keep(word, self._lattice(word))
            arcs, cumulative, end = lattice.arcs, lattice.cumulative, len(word)
            drawn: list[list[int]] = []
            while end:
                end, piece = arcs[end][bisect(cumulative[end], draw())]
                drawn.append(piece)
            for piece in reversed(drawn):
                ids += piece
        return ids

    def _lattice(self, word: str) -> _Lattice:
        forward = [0.0]  # log f
        lattice = _Lattice([[]], [[]])
        find = self._arcs.get
        for end in range(1, len(word) + 1):
            arcs, logs = [], []
            for start in range(max(0, end - self._longest), end):
                arc = find(word[start:end])
                if arc is None and end - start == 1:
                    arc = self._unk_score, self.pieces.cut([word[start]])
                if arc is not None:
                    arcs.append((start, arc[1]))
                    logs.append(forward[start] + arc[0])
            top = max(logs)
            weights = [math.exp(value - top) for value in logs]
            total = math.fsum(weights)
            forward.append(top + math.log(total))
            lattice.arcs.append(arcs)
            # Without the last sum, which is 1 but for rounding: what lies above is the last arc.
            lattice.cumulative.append([weight / total for weight in accumulate(weights[:-1])])
        return lattice


@dataclass
class _Merged:
    """A word merged with some merges dropped.

    Attributes:
        ids: the result.
        drops: which merges were dropped, counted in the order in which they came up.
        tried: how many merges came up after the last one dropped.
        chance: the probability that none of these is dropped.
        after: what results if the n-th of these is dropped too.
    """

    ids: list[int]
    drops: tuple[int, ...]
    tried: int
    chance: float
    after: dict[int, _Merged] = field(default_factory=dict)


class BpeDropout(SubwordSampler[_Merged]):
    """BPE whose merges are dropped with probability alpha each (Provilkov et al. 2020, section 3).

    As in SentencePiece, a dropped merge of two symbols does not come up again. How many merges pass
    before the next dropped one is geometric: one random number instead of one for each merge.
    """

    def __init__(self, pieces: Pieces, alpha: float) -> None:
        super().__init__(pieces)
        self._alpha = alpha
        self._log_pass = math.log1p(-alpha) if alpha < 1 else -math.inf

    def _draw_words(self, words: list[str], generator: Random) -> list[int]:
        """Merges each word's characters, now and then dropping a merge."""
        known, draw = self._known, generator.random
        ids: list[int] = []
        for word in words:
            if len(word) > _KEPT_LENGTH:
                ids += self.pieces.cut(self._merge(word, lambda _: draw() < self._alpha)[0])
                continue
            merged = known.get(word) or self._keep(word, self._merged(word, ()))
            # u > (1 - alpha)^n is that one of n is dropped, the one at log u / log(1 - alpha).
            while (number := draw()) >= merged.chance:
                passed = int(math.log(number) / self._log_pass) if number else 0
                passed = min(passed, merged.tried - 1)  # rounding at the edge
                following = merged.after.get(passed)
                if following is None:
                    last = merged.drops[-1] if merged.drops else -1
                    following = self._merged(word, (*merged.drops, last + 1 + passed))
                    merged.after[passed] = following
                merged = following
            ids += merged.ids
        return ids

    def _merged(self, word: str, drops: tuple[int, ...]) -> _Merged:
        symbols, count = self._merge(word, drops.__contains__)
        tried = count - (drops[-1] + 1 if drops else 0)
        chance = (1 - self._alpha) ** tried if tried else 2.0  # 2: no draw can reach it
        return _Merged(self.pieces.cut(symbols), drops, tried, chance)

    def _merge(self, word: str, dropped: Callable[[int], bool]) -> tuple[list[str], int]:
        """Merges the best pair first, and of equals the leftmost.

        Returns:
            The symbols that remain, and how many merges came up.
        """
        symbols: list[str] = list(word)  # a merged symbol stands at its start, "" at the rest
        after = list(range(1, len(word) + 1))
        before = list(range(-1, len(word) - 1))
        agenda: list[tuple[float, int, int, int]] = []
        scores = self.pieces.scores

        def consider(left: int, right: int) -> None:
            if left >= 0 and right < len(word):
                piece = symbols[left] + symbols[right]
                if piece in scores:
                    heapq.heappush(agenda, (-scores[piece], left, right, len(piece)))

        for left in range(len(word) - 1):
            consider(left, left + 1)
        count = 0
        while agenda:
            _, left, right, size = heapq.heappop(agenda)
            if not (symbols[left] and symbols[right]):
                continue
            if len(symbols[left]) + len(symbols[right]) != size:
                continue  # one of them has grown since
            count += 1
            if dropped(count - 1):
                continue
            symbols[left] += symbols[right]
            symbols[right] = ""
            after[left] = after[right]
            if after[left] < len(word):
                before[after[left]] = left
            consider(before[left], left)
            consider(left, after[left])
        return [symbol for symbol in symbols if symbol], count
