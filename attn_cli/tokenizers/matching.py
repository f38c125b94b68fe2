"""Which pieces of one tokenizer stand for the text of a piece of another."""

from __future__ import annotations

from attn_cli.tokenizers.sentencepiece_tokenizer import SentencePieceTokenizer
from attn_cli.tokenizers.tokenizer import Tokenizer

_BYTES = "<0x"  # begin pieces that are bytes
_INNER = "##"  # begins pieces that continue a word
_LOST = "\N{REPLACEMENT CHARACTER}"  # stands for bytes that are no character alone


def counterparts(old: Tokenizer, new: Tokenizer) -> list[tuple[int, ...]]:
    """For each piece of `new` the pieces of `old` that stand for the same text.

    A special token has that of the same role. A piece that `old` has, too, has that one: spelt
    alike, or where the two mark the beginnings of words in different ways, of the same text and as
    much at a word's beginning. Any other has the pieces that `old` cuts its text into. None is left
    for what has no text that `old` knows.
    """
    same = _same_pieces(old, new)
    texts = _texts(new)
    return [
        (same[index],)
        if index in same
        else ()
        if index in new.reserved_ids or _LOST in texts[index]
        else _cut(old, texts[index], begins=new.begins_word(index))
        for index in range(new.vocab_size)
    ]


def _same_pieces(old: Tokenizer, new: Tokenizer) -> dict[int, int]:
    """The pieces of `new` that are one of `old`, by their ids."""
    roles = [(new.special_ids[role], index) for role, index in old.special_ids.items()]
    found = {ours: theirs for ours, theirs in roles if ours >= 0 and theirs >= 0}
    spelt = {piece: index for index, piece in enumerate(old.vocabulary) if piece}
    pieces = [(i, piece) for i, piece in enumerate(new.vocabulary) if i not in found]
    if not _spell_alike(old, new):
        known, texts = _by_text(old), _texts(new)
        plain = [i for i, piece in pieces if i not in new.reserved_ids]
        marks = ((i, (new.begins_word(i), texts[i])) for i in plain)
        found |= {i: known[mark] for i, mark in marks if mark in known}
        pieces = [(i, p) for i, p in pieces if p.startswith(_BYTES) or i in new.reserved_ids]
    return found | {i: spelt[piece] for i, piece in pieces if piece in spelt}


def _spell_alike(old: Tokenizer, new: Tokenizer) -> bool:
    """Whether equal pieces of the two are the same, also where words begin."""
    return type(old) is type(new) and (
        old.kind == new.kind or isinstance(old, SentencePieceTokenizer)
    )


def _texts(tokenizer: Tokenizer) -> list[str]:
    """The text of each piece alone, without the space before it."""
    texts = tokenizer.decode([[index] for index in range(tokenizer.vocab_size)])
    if tokenizer.kind == "wordpiece":  # whose first piece is decoded with its mark
        texts = [text.removeprefix(_INNER) or text for text in texts]
    return [text.strip(" ") or text for text in texts]


def _by_text(tokenizer: Tokenizer) -> dict[tuple[bool, str], int]:
    """Whether it begins a word, and its text -> the first such piece; special tokens left out."""
    found: dict[tuple[bool, str], int] = {}
    for index, text in enumerate(_texts(tokenizer)):
        if text and _LOST not in text and index not in tokenizer.reserved_ids:
            found.setdefault((tokenizer.begins_word(index), text), index)
    return found


def _cut(tokenizer: Tokenizer, text: str, *, begins: bool) -> tuple[int, ...]:
    """The pieces of a text, without a space before it that is a piece and belongs to no word."""
    (ids,) = tokenizer.encode([text])
    if not begins and len(ids) > 1 and not tokenizer.decode([ids[:1]])[0].strip():
        ids = ids[1:]
    return tuple(ids)
