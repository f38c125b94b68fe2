"""The rule for inputs longer than a model was made for: cut, decode the parts, join."""

from __future__ import annotations

import re
from collections.abc import Iterator

from attn_cli.data.tokenizer import Tokenizer

_SENTENCE_END = re.compile(r"(?<=[.!?…。！？;:])\s+")
_CHARS_PER_TOKEN = 32  # no text has fewer tokens than a 32nd of its characters


def split_long(text: str, tokenizer: Tokenizer, limit: int) -> list[str]:
    """Cuts a text into parts of at most `limit` tokens; the parts joined by spaces are the text.

    Whole sentences are gathered while they fit; a sentence that is too long is cut between words,
    and a word that is too long between characters. A text that fits is returned as it is.
    """
    if len(text) <= limit or _fits(text, tokenizer, limit):
        return [text]
    return list(_gathered(_pieces(text, tokenizer, limit), limit))


def _fits(text: str, tokenizer: Tokenizer, limit: int) -> bool:
    return len(text) <= limit * _CHARS_PER_TOKEN and len(tokenizer.encode([text])[0]) <= limit


def _pieces(text: str, tokenizer: Tokenizer, limit: int) -> Iterator[tuple[str, int]]:
    """Sentences, or words of too long ones, or runs of characters of too long words."""
    sentences = [part for part in _SENTENCE_END.split(text) if part.strip()]
    for sentence, ids in zip(sentences, tokenizer.encode(sentences), strict=True):
        if len(ids) <= limit:
            yield sentence, len(ids)
            continue
        words = sentence.split()
        for word, word_ids in zip(words, tokenizer.encode(words), strict=True):
            if len(word_ids) <= limit:
                yield word, len(word_ids)
            else:
                size = max(1, limit // 4)  # a character has at most four byte pieces
                for start in range(0, len(word), size):
                    yield word[start : start + size], limit


def _gathered(pieces: Iterator[tuple[str, int]], limit: int) -> Iterator[str]:
    """Joins neighbouring pieces while their tokens fit the limit."""
    group: list[str] = []
    total = 0
    for piece, size in pieces:
        if group and total + size > limit:
            yield " ".join(group)
            group, total = [], 0
        group.append(piece)
        total += size
    if group:
        yield " ".join(group)
