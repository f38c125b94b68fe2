"""A line's outputs, of those of its parts: sentences, or pieces of what is too long."""

from __future__ import annotations

import unicodedata
from bisect import bisect_right
from collections.abc import Sequence
from itertools import accumulate

from attn_cli.search.search import Hypothesis
from attn_cli.systems.generation.generator import Source

NOTHING = Hypothesis((), 0.0, 0.0, True)


def whole(
    text: str, sources: Sequence[Source], parts: Sequence[Sequence[Hypothesis]]
) -> list[Hypothesis]:
    """The hypotheses of a line, best first: the best of all parts joined, and so on.

    Args:
        text: the line.
        sources: its parts.
        parts: the hypotheses of each.
    """
    if len(parts) > 1 and any(parts):
        ranks = zip(*(several or [NOTHING] for several in parts), strict=False)
        places = _word_places(text, sources)
        gaps = [source.gap for source in sources]
        return [_joined(rank, places, gaps) for rank in ranks]
    return list(parts[0]) if parts else []


def _word_places(text: str, parts: Sequence[Source]) -> list[list[int]]:
    """For each word of each part of a text: the number of the word that it is of in the text.

    A long word may be cut: it is several in the parts. Of a file, for each place of each part: its
    number in the whole.
    """
    if files := [part.file for part in parts if part.file is not None]:
        starts = accumulate(map(len, files[:-1]), initial=0)
        return [[*range(at, at + len(file))] for at, file in zip(starts, files, strict=True)]
    ends = list(accumulate(map(len, text.split())))
    at, places = 0, []
    for part in parts:
        words = part.text.split()
        begins = accumulate(map(len, words[:-1]), initial=at) if words else ()
        places.append([bisect_right(ends, begin) for begin in begins])
        at += sum(map(len, words))
    return places


def _joined(
    parts: Sequence[Hypothesis], places: Sequence[Sequence[int]], gaps: Sequence[str]
) -> Hypothesis:
    """The outputs of a line's parts as one.

    Args:
        parts: the outputs.
        places: the words of their sources, as numbers of words of the line.
        gaps: what stands before each in the line.
    """
    links: list[tuple[int, int]] = []
    times: list[tuple[float, float]] = []
    text, n_words = "", 0
    for words, part, gap in zip(places, parts, gaps, strict=True):
        if not part.text:
            continue
        space = _space(text, gap, part.text)
        begin = n_words - (not space and n_words > 0)  # what no space parts is one word
        links += [(words[min(i, len(words) - 1)], begin + j) for i, j in part.links or ()]
        own = list(part.times or ())
        if begin < n_words and own and times:
            own[0] = times.pop()[0], own[0][1]
        times += own
        text += space + part.text
        n_words = begin + len(part.text.split())
    return Hypothesis(
        tokens=tuple(token for part in parts for token in part.tokens),
        log_prob=sum(part.log_prob for part in parts),
        score=sum(part.score for part in parts),
        finished=all(part.finished for part in parts),
        text=text,
        links=None if all(part.links is None for part in parts) else tuple(links),
        times=None if all(part.times is None for part in parts) else tuple(times),
    )


def _space(before: str, gap: str, after: str) -> str:
    """What stands between two outputs: what stood between their sources, or a space.

    Chinese has none between sentences, nor has the output if it is Chinese or Japanese too.
    """
    if gap or not before:
        return gap if before else ""
    is_wide = any(unicodedata.east_asian_width(c) in "WF" for c in (before[-1], after[0]))
    return "" if is_wide else " "
