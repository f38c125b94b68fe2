"""The rule for inputs longer than a model was made for: cut, decode the parts, join."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from attn_cli.data.sentences import SENTENCE_END
from attn_cli.lines.rows import is_blank
from attn_cli.tokenizers.tokenizer import Tokenizer

_CHARS_PER_TOKEN = 32  # what has more characters a token is cut as if it had that many tokens
_AT_ONCE = 256  # sentences or words


def split_long(text: str, tokenizer: Tokenizer, limit: int) -> list[str]:
    """Cuts a text into parts of at most `limit` tokens; the parts joined by spaces are the text.

    Whole sentences are gathered while they fit; a sentence that is too long is cut between words,
    and a word that is too long between characters. A text that fits is returned as it is; a blank
    one, however long, as one empty part.
    """
    if is_blank(text):
        return [""]
    is_short = len(text) <= limit * _CHARS_PER_TOKEN
    if is_short and len(tokenizer.encode([text])[0]) <= limit:
        return [text]
    return list(_gathered(_pieces(text, tokenizer, limit), limit))


def _pieces(text: str, tokenizer: Tokenizer, limit: int) -> Iterator[tuple[str, int]]:
    """Sentences, or words of too long ones, or runs of characters of too long words."""
    for sentence, size in _sized(SENTENCE_END.split(text), tokenizer, limit):
        if size <= limit:
            yield sentence, size
            continue
        for word, word_size in _sized(sentence.split(), tokenizer, limit):
            if word_size <= limit:
                yield word, word_size
            else:
                run = max(1, limit // 4)  # a character has at most four byte pieces
                for start in range(0, len(word), run):
                    yield word[start : start + run], limit


def _sized(texts: Sequence[str], tokenizer: Tokenizer, limit: int) -> Iterator[tuple[str, int]]:
    """Each text that is not blank, and its tokens; `limit` + 1 stands for all that is too much.

    Texts are tokenized some at a time, and those that are surely too long never: what a tokenizer
    needs for a text of millions of characters would not fit into memory.
    """
    for start in range(0, len(texts), _AT_ONCE):
        some = [text for text in texts[start : start + _AT_ONCE] if text.strip()]
        short = [text for text in some if len(text) <= limit * _CHARS_PER_TOKEN]
        sizes = iter(tokenizer.encode(short))
        for text in some:
            is_short = len(text) <= limit * _CHARS_PER_TOKEN
            yield text, min(len(next(sizes)), limit + 1) if is_short else limit + 1


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
