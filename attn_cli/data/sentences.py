"""Texts as sentences: those that a file names one by one, or those that a rule finds.

This is the one place that says where sentences end: `split_sentences` by a careful rule, for texts
whose sentences are translated one by one; `CLAUSE_END` by a coarse one, for what must be cut.
"""

from __future__ import annotations

import re

from attn_cli.data.abbreviations import ABBREVIATIONS, BEFORE_NUMBERS, LEADING, STARTERS
from attn_cli.lines.columns import SENTENCE_MARK

CLAUSE_END = re.compile(r"(?<=[.!?…。！？;:])\s+")

_ASKING = ".!?…‼⁇⁈⁉"  # what follows says whether they end a sentence
_ENDING = "؟۔।॥։።፧។"  # they end one before white space
_WIDE = "。！？｡"  # these need no white space
_CLOSING = "\"'”’“‘»›«‹)]}」』）】〉》〕"
_OPENING = "\"'“”‘’«»‹›„‚([{「『（【〈《¿¡–—-•*"
_NEVER_FIRST = ",;:.!?…)]}%،؛、，。！？”’›」』）】》"
_NEAR = 40  # characters that are looked at on either side
# In French a space stands before a closing mark; in German these marks open.
_FRENCH = r"(?:[ \u00a0\u202f]»(?=\s|$))?"
_END = re.compile(f"([{_ASKING}{_ENDING}{_WIDE}]+)[{re.escape(_CLOSING)}]*{_FRENCH}")
_LAST = re.compile(rf"(?:{_END.pattern})\s*$")
_SPACE = re.compile(r"\s*")
_WORD = re.compile(r"\w+")
_BEFORE = re.compile(r"\S*$")
_DOTTED = re.compile(r"(?:[^\W\d_]{1,3}\.)+[^\W\d_]{1,3}")
_ROMAN = re.compile(r"[ivxlc]+")


def sentences_of(text: str) -> list[str]:
    """The sentences of a text that are not blank, as documents are read.

    They are what its JSON line had as a list; else what ends with a line, or with one of
    `. ! ? … ; :` and white space behind it.
    """
    if SENTENCE_MARK in text:
        parts = text.split(SENTENCE_MARK)
    else:
        parts = [part for line in text.split("\n") for part in CLAUSE_END.split(line)]
    return [sentence for part in parts if (sentence := part.strip())]


def split_sentences(text: str) -> list[tuple[str, str]]:
    """The sentences of a text, each with the white space before it (the first with none).

    All of them joined are the text without white space at its ends. A sentence ends with a full
    stop, a mark of exclamation or question or an ellipsis, with what closes quotes and brackets,
    and white space behind them. None ends before a small letter or further punctuation, behind
    an initial, an ordinal, a number that lists, or an abbreviation, unless the next word says so.
    Danda, Arabic marks and the like end one always; the wide ones of Chinese and Japanese without
    white space, too.
    """
    text = text.strip()
    found: list[tuple[str, str]] = []
    start, space = 0, ""
    for match in _END.finditer(text):
        if match.end() < len(text) and _is_end(text, start, match):
            found.append((space, text[start : match.end()]))
            gap = _SPACE.match(text, match.end())
            assert gap
            space, start = gap[0], gap.end()
    if start < len(text):
        found.append((space, text[start:]))
    return found


def ends_sentence(text: str) -> bool:
    """Whether a text stops where a sentence does."""
    match = _LAST.search(text[-_NEAR:])
    if not match or match[1] != ".":
        return bool(match)
    word = _word_before(text[-_NEAR:], match.start(1))
    return word.lower() not in LEADING and not _is_initial(word)


def _is_end(text: str, start: int, match: re.Match[str]) -> bool:
    """Whether a sentence that begins at `start` ends with a match of `_END`, before more text."""
    stops, end = match[1], match.end()
    is_wide = not {*stops}.isdisjoint(_WIDE)
    near = text[end : end + _NEAR]
    if not near[0].isspace():
        # Behind a quotation Japanese goes on with a particle: 「行く。」と言った。
        goes_on = match[0][-1] not in _WIDE and "\u3040" <= near[0] <= "\u309f"
        return is_wide and near[0] not in _NEVER_FIRST and not goes_on
    following = near.lstrip()
    if following[:1] and following[0] in _NEVER_FIRST:
        return False
    if is_wide or not {*stops}.isdisjoint(_ENDING):
        return True
    following = following.lstrip(_OPENING + " \u00a0\u202f")
    first = following[:1]
    # Georgian has small letters alone: they are their own capitals at a sentence's beginning.
    if first.islower() and first.title() != first:
        return False
    return stops != "." or _is_full_stop(text, start, match.start(), following)


def _is_full_stop(text: str, start: int, at: int, following: str) -> bool:
    """Whether the full stop at `at` ends a sentence rather than a word or a number.

    Args:
        text: what it stands in.
        start: where the sentence begins.
        at: where it stands.
        following: what comes after it, some of it.
    """
    while at > start and text[at - 1] == " ":  # tokenized text
        at -= 1
    word = _word_before(text, at)
    lower = word.lower()
    is_alone = not text[max(start, at - _NEAR) : at - len(word)].strip(_OPENING + " ")
    next_word = _WORD.match(following)
    begins = next_word is not None and next_word[0].lower() in STARTERS
    if word.isdecimal():  # `1. Introduction`, `am 3. Oktober`
        return not is_alone and (len(word) > 2 or begins)
    if is_alone and _ROMAN.fullmatch(lower):
        return False
    if following[:1].isdecimal() and lower in BEFORE_NUMBERS:
        return False
    if lower in LEADING or _is_initial(word):
        return False
    if lower in ABBREVIATIONS or _DOTTED.fullmatch(word):
        return begins
    return True


def _word_before(text: str, at: int) -> str:
    match = _BEFORE.search(text[max(0, at - _NEAR) : at])
    assert match
    return match[0].lstrip(_OPENING)


def _is_initial(word: str) -> bool:
    """Whether a word is one letter of a script that has capitals, but `I`."""
    return len(word) == 1 and word.lower() != word.upper() and word != "I"
