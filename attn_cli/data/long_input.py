"""The rule for inputs longer than a model was made for: cut, decode the parts, join."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from attn_cli.data.sentences import CLAUSE_END, split_sentences
from attn_cli.lines.rows import is_blank
from attn_cli.tokenizers.tokenizer import Tokenizer

_CHARS_PER_TOKEN = 32  # what has more characters a token is cut as if it had that many tokens
_AT_ONCE = 256  # sentences or words

Spaced = tuple[str, str]  # a space, or nothing, and the text behind it


def split_long(text: str, tokenizer: Tokenizer, limit: int) -> list[str]:
    """Cuts a text into parts of at most `limit` tokens; the parts joined by spaces are the text.

    Whole sentences are gathered while they fit; one that is too long is cut between clauses, a
    clause between words, and a word between characters. A text that fits is returned as it is; a
    blank one, however long, as one empty part.
    """
    if is_blank(text):
        return [""]
    is_short = len(text) <= limit * _CHARS_PER_TOKEN
    if is_short and len(tokenizer.encode([text])[0]) <= limit:
        return [text]
    return list(_gathered(_pieces(text, tokenizer, limit, _CUTTERS), limit))


def _sentences(text: str) -> list[Spaced]:
    return [(" " if space else "", sentence) for space, sentence in split_sentences(text)]


def _clauses(text: str) -> list[Spaced]:
    return [(" ", clause) for clause in CLAUSE_END.split(text)]


def _words(text: str) -> list[Spaced]:
    return [(" ", word) for word in text.split()]


_CUTTERS = (_sentences, _clauses, _words)


def _pieces(
    text: str,
    tokenizer: Tokenizer,
    limit: int,
    cutters: Sequence[Callable[[str], list[Spaced]]],
) -> Iterator[tuple[str, str, int]]:
    """What the first cutter makes of a text, and the next ones of what is too long.

    Each with the space before it, and its tokens.
    """
    if not cutters:
        run = max(1, limit // 4)  # a character has at most four byte pieces
        yield from (("", text[start : start + run], limit) for start in range(0, len(text), run))
        return
    cut, *finer = cutters
    for space, part, size in _sized(cut(text), tokenizer, limit):
        if size <= limit:
            yield space, part, size
            continue
        for number, (own, piece, n_tokens) in enumerate(_pieces(part, tokenizer, limit, finer)):
            yield own if number else space, piece, n_tokens


def _sized(
    texts: Sequence[Spaced], tokenizer: Tokenizer, limit: int
) -> Iterator[tuple[str, str, int]]:
    """Each text that is not blank, and its tokens; `limit` + 1 stands for all that is too much.

    Texts are tokenized some at a time, and those that are surely too long never: what a tokenizer
    needs for a text of millions of characters would not fit into memory.
    """
    for start in range(0, len(texts), _AT_ONCE):
        some = [each for each in texts[start : start + _AT_ONCE] if each[1].strip()]
        short = [text for _, text in some if len(text) <= limit * _CHARS_PER_TOKEN]
        sizes = iter(tokenizer.encode(short))
        for space, text in some:
            is_short = len(text) <= limit * _CHARS_PER_TOKEN
            yield space, text, min(len(next(sizes)), limit + 1) if is_short else limit + 1


def _gathered(pieces: Iterator[tuple[str, str, int]], limit: int) -> Iterator[str]:
    """Joins neighbouring pieces while their tokens fit the limit."""
    group: list[str] = []
    total = 0
    for space, piece, size in pieces:
        if group and total + size > limit:
            yield "".join(group)
            group, total = [], 0
        group += [space, piece] if group else [piece]
        total += size
    if group:
        yield "".join(group)
