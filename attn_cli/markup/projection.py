"""Marks of a text, put where its translation has the words that they belong to.

A pair of tags goes around one run of target words: the one that holds most words aligned with those
within the pair, and fewest others. What stays as it is takes the place of the words that it was
translated to. What stands alone goes before the word that it stood before. Every mark is written
once, and pairs stay within the pairs that they were in. Standard library only.
"""

from __future__ import annotations

import re
import unicodedata
from bisect import bisect_left, bisect_right
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from attn_cli.markup.passages import Links, Mark, Passage, in_order

_WORD = re.compile(r"\S+")

Span = tuple[int, int]  # from, up to


def project(
    passage: Passage, translation: str, links: Links | None, escape: Callable[[str], str] = str
) -> str:
    """A translation with the marks of its source.

    Args:
        passage: the source.
        translation: of its text.
        links: word alignments; without any, words are taken to keep their order.
        escape: writes a piece of the translation as the file does.
    """
    return _Projection(passage, translation, links).written(escape)


@dataclass
class _Place:
    """Where a mark, or the whole text, goes.

    Attributes:
        span: the characters of the translation.
        words: its words that are in it, if only in part.
        source: the words of the source that are in it.
        taken: of `words`, those that are in marks within it.
        parts: of these words, the characters of marks that hold less than a word.
        spaces: what is written before and behind a mark that stands alone.
        last_tag: where the last tag in it is that is no pair.
    """

    span: Span
    words: Span
    source: Span
    taken: set[int] = field(default_factory=set)
    parts: dict[int, list[Span]] = field(default_factory=lambda: defaultdict(list))
    spaces: tuple[str, str] = ("", "")
    last_tag: int = 0


class _Projection:
    def __init__(self, passage: Passage, translation: str, links: Links | None) -> None:
        self._body = passage.body
        self._marks = passage.marks
        self._out = translation
        self._src = [match.span() for match in _WORD.finditer(passage.body)]
        self._starts = [start for start, _ in self._src]
        self._ends = [end for _, end in self._src]
        self._tgt = [match.span() for match in _WORD.finditer(translation)]
        self._targets = self._by_source(links)
        root = _Place((0, len(translation)), (0, len(self._tgt)), (0, len(self._src)))
        self._places = {-1: root}
        for number, mark in enumerate(self._marks):
            self._places[number] = self._place(mark)

    def _by_source(self, links: Links | None) -> Mapping[int, list[int]]:
        """Source word -> its target words, in order."""
        n_src, n_tgt = len(self._src), len(self._tgt)
        links = links or in_order(n_src, n_tgt)
        targets = defaultdict(list)
        for i, j in sorted({*links}):
            if 0 <= i < n_src and 0 <= j < n_tgt:
                targets[i].append(j)
        return targets

    def written(self, escape: Callable[[str], str]) -> str:
        """The translation, all marks in it."""
        within: dict[int, list[int]] = defaultdict(list)
        for number, mark in enumerate(self._marks):
            within[mark.parent].append(number)
        texts: dict[int, str] = {}
        for number in range(len(self._marks) - 1, -1, -1):  # what is within others comes first
            mark, (before, after) = self._marks[number], self._places[number].spaces
            text = mark.raw
            if mark.closing is not None:
                text += self._filled(number, within[number], texts, escape) + mark.closing
            texts[number] = before + text + after
        return self._filled(-1, within[-1], texts, escape)

    def _filled(
        self,
        number: int,
        within: Sequence[int],
        texts: Mapping[int, str],
        escape: Callable[[str], str],
    ) -> str:
        """What a mark holds: words, and the marks within it."""
        at, end = self._places[number].span
        parts = []
        for inner in sorted(within, key=lambda inner: self._places[inner].span):
            begin, behind = self._places[inner].span
            parts += [escape(self._out[at:begin]), texts[inner]]
            at = max(at, behind)
        return "".join([*parts, escape(self._out[at:end])])

    def _place(self, mark: Mark) -> _Place:
        parent = self._places[mark.parent]
        source = bisect_right(self._ends, mark.start), bisect_left(self._starts, mark.end)
        inner = self._body[mark.start : mark.end].strip()
        found = self._run(mark, inner, source, parent) if inner else None
        if found is None:
            return self._point(mark, source, parent)
        words, span = found
        parent.taken |= {*range(*words)}
        return _Place(span, words, source)

    # ------------------------------------------------------------ marks with words in them

    def _run(
        self, mark: Mark, inner: str, source: Span, parent: _Place
    ) -> tuple[Span, Span] | None:
        """The target words of a mark, and their characters; None if there are none."""
        aligned = {j for i in range(*source) for j in self._targets.get(i, ())}
        if source[1] - source[0] == 1 and inner != self._body[slice(*self._src[source[0]])]:
            part = self._part(inner, sorted(aligned), parent)
            if part is not None:
                return part
        if mark.closing is None and self._is_in_word(mark, source):
            return None
        words: Span | None = parent.words
        if source != parent.source or parent.taken:
            words = self._best(aligned, parent, holes=mark.closing is not None)
            if words is None and mark.closing is not None:
                words = self._best(self._nearby(source, parent), parent, holes=True)
        if words is None or words[0] >= words[1]:
            return None
        span = self._trimmed(mark, inner, source, words, parent)
        return (words, span) if span[0] < span[1] else None

    def _is_in_word(self, mark: Mark, source: Span) -> bool:
        """Whether there is more than punctuation in the words of a mark beside it."""
        begin, end = self._src[source[0]][0], self._src[source[1] - 1][1]
        beside = self._body[begin : mark.start] + self._body[mark.end : end]
        return not all(map(_is_punctuation, beside))

    def _part(self, inner: str, words: Sequence[int], parent: _Place) -> tuple[Span, Span] | None:
        """A piece of a word that stands in a target word as it is, such as the 2 of H2O."""
        for j in words:
            begin, end = self._tgt[j]
            at = self._out.find(inner, max(begin, parent.span[0]), min(end, parent.span[1]))
            span, others = (at, at + len(inner)), parent.parts[j]
            is_free = bool(others) or j not in parent.taken
            if at >= 0 and is_free and all(e <= span[0] or span[1] <= s for s, e in others):
                others.append(span)
                return (j, j + 1), span
        return None

    def _best(self, aligned: set[int], parent: _Place, *, holes: bool) -> Span | None:
        """The run of free words in which aligned ones outnumber others by most.

        Args:
            aligned: the words that should be in it.
            parent: where it must be.
            holes: whether others may be in it at all.
        """
        inside = [j for j in aligned if parent.words[0] <= j < parent.words[1]]
        best, best_sum = None, 0
        begin, total = 0, 0
        for j in range(min(inside), max(inside) + 1) if inside else ():
            if total <= 0:
                begin, total = j, 0
            if j in parent.taken or not (j in aligned or holes):
                total = 0
                continue
            total += 1 if j in aligned else -1
            if total > best_sum:
                best, best_sum = (begin, j + 1), total
        return best

    def _nearby(self, source: Span, parent: _Place) -> set[int]:
        """The word about where those of the source would be if all kept their order."""
        (first, last), (begin, end) = parent.source, parent.words
        if begin >= end or first >= last:
            return set()
        middle = (source[0] + source[1]) / 2 - first
        return {min(end - 1, begin + int(middle * (end - begin) / (last - first)))}

    def _trimmed(self, mark: Mark, inner: str, source: Span, words: Span, parent: _Place) -> Span:
        """The characters of a run, without punctuation at its ends that the source has not."""
        begin, end = self._tgt[words[0]][0], self._tgt[words[1] - 1][1]
        before = self._body[self._src[source[0]][0] : mark.start]
        behind = self._body[mark.end : self._src[source[1] - 1][1]]
        if len(before) + len(behind) < end - begin:
            begin += len(before) * self._out.startswith(before, begin)
            end -= len(behind) * self._out.endswith(behind, begin, end)
        letters = [k for k in range(begin, end) if not _is_punctuation(self._out[k])]
        if letters and not _is_punctuation(inner[0]):
            begin = letters[0]
        if letters and not _is_punctuation(inner[-1]):
            end = letters[-1] + 1
        return max(begin, parent.span[0]), min(end, parent.span[1])

    # ------------------------------------------------------------ marks that stand alone

    def _point(self, mark: Mark, source: Span, parent: _Place) -> _Place:
        """The place of what stands alone, with the spaces that it needs there."""
        gap_before = self._body[mark.start - 1 : mark.start] == " "
        gap_after = mark.is_spaced or self._body[mark.end : mark.end + 1] == " "
        before = bisect_left(self._starts, mark.start) - 1
        after = bisect_left(self._starts, mark.end)
        spaces = ("", " " if gap_before and gap_after else "")
        if before < parent.source[0] or parent.span[0] == parent.span[1]:
            at = parent.span[0]
            spaces = ("", " " if gap_after and parent.span[0] < parent.span[1] else "")
        elif after >= parent.source[1] and self._ends[before] <= mark.start:
            at, spaces = parent.span[1], (" " if gap_before else "", "")
        elif gap_before:
            at = self._edge(after, 0)
        else:
            at = self._edge(before, 1)
        at = min(max(at, parent.span[0]), parent.span[1])
        if self._out[max(0, at - 1) : at + 1].strip()[1:]:  # within a word, which stays one
            spaces = ("", "")
        # Tags whose others stand in another text would overlap if they changed their order.
        if mark.name and mark.closing is None:
            at = parent.last_tag = max(at, parent.last_tag)
        return _Place((at, at), (0, 0), source, spaces=spaces)

    def _edge(self, word: int, side: int) -> int:
        """Where the target words of a source word begin (side 0), or end (1)."""
        if not self._tgt:
            return 0
        near = min(len(self._tgt) - 1, word * len(self._tgt) // len(self._src))
        aligned = self._targets.get(word) or [near]
        return self._tgt[aligned[-side]][side]


def _is_punctuation(character: str) -> bool:
    return unicodedata.category(character)[0] in "PS"
