"""A tokenizer with some of its pieces alone, which cuts texts of these pieces as it did.

The best way to cut a text stays the best one where only others are taken away. Byte-pair encoding
gets to a piece by way of shorter ones: these stay, too. So do pieces of one character, bytes and
special tokens, so that every text can still be written; and pieces that could not be spelt by them.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Mapping, Sequence

from attn_cli.errors import DataError
from attn_cli.tokenizers.huggingface_tokenizer import SPECIAL_IDS, WordPieceTokenizer
from attn_cli.tokenizers.sentencepiece_model import (
    BYTE,
    CONTROL,
    NORMAL,
    UNKNOWN,
    Piece,
    renumbered,
    scored_pieces,
)
from attn_cli.tokenizers.sentencepiece_tokenizer import SentencePieceTokenizer
from attn_cli.tokenizers.tokenizer import Tokenizer
from attn_cli.tokenizers.tokenizer_files import tokenizer_from_bytes

_BYTES = "<0x"  # begin pieces that are bytes
_INNER = "##"  # begins pieces of a vocab.txt that continue a word


def trimmed(tokenizer: Tokenizer, used: Collection[int]) -> tuple[Tokenizer, list[int]]:
    """The tokenizer with those of its pieces alone that are used, or needed by others.

    Args:
        tokenizer: any but one of whole words.
        used: the pieces that some texts are cut into.

    Returns:
        It, and for each of its ids the one that the piece had.

    Raises:
        DataError: its pieces are words, which nothing else could be written with; or its file
            holds what can't be numbered anew.
    """
    if tokenizer.kind not in ("unigram", "bpe", "wordpiece"):
        raise DataError(
            f"{tokenizer.file_name}: a tokenizer of kind {tokenizer.kind} can't be trimmed: a text "
            "is cut into pieces that can be spelt by shorter ones by bpe, unigram and wordpiece"
        )
    specials = {index for index in tokenizer.special_ids.values() if index >= 0}
    wanted = specials.union(used)
    if isinstance(tokenizer, SentencePieceTokenizer):
        raw, kept = _sentencepiece(tokenizer, wanted)
    elif isinstance(tokenizer, WordPieceTokenizer):
        raw, kept = _vocab_txt(tokenizer, wanted)
    else:
        raw, kept = _tokenizer_json(tokenizer, wanted)
    smaller = tokenizer_from_bytes(tokenizer.file_name, raw)
    _check(tokenizer, smaller, kept)
    return smaller, kept


def _check(tokenizer: Tokenizer, smaller: Tokenizer, kept: Sequence[int]) -> None:
    """Raises DataError if a piece has another number than it was given, or another role."""
    old, new = tokenizer.special_ids, smaller.special_ids
    same = all(index == (kept[new[role]] if new[role] >= 0 else -1) for role, index in old.items())
    if not same or smaller.vocabulary != [tokenizer.vocabulary[index] for index in kept]:
        raise DataError(
            f"{tokenizer.file_name}: can't be trimmed: its pieces are numbered in a way that is "
            "not known here"
        )


def _sentencepiece(tokenizer: SentencePieceTokenizer, wanted: set[int]) -> tuple[bytes, list[int]]:
    scored = scored_pieces(tokenizer.to_bytes())
    texts, kinds = [*scored], [kind for _, kind in scored.values()]
    each = list(enumerate(zip(texts, kinds, strict=True)))
    kept = wanted | {i for i, (text, kind) in each if kind != NORMAL or len(text) == 1}
    if BYTE not in kinds:
        kept |= _unspelt(texts, {texts[i] for i in kept if len(texts[i]) == 1})
    if tokenizer.kind == "bpe":
        apart = {CONTROL, UNKNOWN, BYTE}
        scores = {text: score for text, (score, kind) in scored.items() if kind not in apart}
        number = {text: i for i, text in enumerate(texts)}
        kept |= {number[made] for i in [*kept] for made in merges_to(texts[i], scores)}
    order = sorted(kept)
    return renumbered(tokenizer.to_bytes(), [Piece(texts[i]) for i in order], {}), order


def merges_to(piece: str, scores: Mapping[str, float]) -> set[str]:
    """The pieces that byte-pair encoding makes, one after another, on its way to a piece.

    The two neighbours are joined whose join has the best score, the first ones of equals. What
    stands around a piece changes nothing: a join across its edge would have kept it from coming
    about.

    Args:
        piece: the piece.
        scores: of every piece that is made by joins.
    """
    symbols, made = list(piece), set()
    while len(symbols) > 1:
        joins = [a + b for a, b in zip(symbols, symbols[1:], strict=False)]
        known = [i for i, join in enumerate(joins) if join in scores]
        if not known:
            break
        best = max(known, key=lambda i: (scores[joins[i]], -i))
        made.add(joins[best])
        symbols[best : best + 2] = [joins[best]]
    return made


def _unspelt(texts: Sequence[str], characters: Collection[str]) -> set[int]:
    """The pieces that are not made of these characters."""
    known = set(characters)
    return {i for i, text in enumerate(texts) if text and not known.issuperset(text)}


def _vocab_txt(tokenizer: WordPieceTokenizer, wanted: set[int]) -> tuple[bytes, list[int]]:
    vocabulary = tokenizer.vocabulary
    kept = _wordpieces(vocabulary, wanted, _INNER)
    if not tokenizer.lowercase:  # which is told by a piece with an upper-case letter
        cased = [
            index
            for index, piece in enumerate(vocabulary)
            if piece != piece.lower() and not piece.startswith("[")
        ]
        kept |= set() if kept.intersection(cased) else {cased[0]}
    order = sorted(kept)
    return "".join(f"{vocabulary[index]}\n" for index in order).encode("utf-8"), order


def _wordpieces(vocabulary: Sequence[str], wanted: set[int], inner: str) -> set[int]:
    """The wanted pieces, those of one character, and those that could not be spelt by them."""
    single = {i for i, piece in enumerate(vocabulary) if len(piece.removeprefix(inner)) == 1}
    known = {vocabulary[i] for i in single}

    def is_spelt(piece: str) -> bool:
        text, within = piece.removeprefix(inner), piece.startswith(inner)
        return all((inner if within or at else "") + c in known for at, c in enumerate(text))

    return wanted | single | {i for i, p in enumerate(vocabulary) if p and not is_spelt(p)}


def _tokenizer_json(tokenizer: Tokenizer, wanted: set[int]) -> tuple[bytes, list[int]]:
    values = json.loads(tokenizer.to_bytes())
    model, vocabulary = values["model"], tokenizer.vocabulary
    named: set[int] = set()

    def note(index: int) -> int:
        named.add(index)
        return index

    _map_numbers(values, note)
    kept = wanted | named
    if tokenizer.kind == "wordpiece":
        kept = _wordpieces(vocabulary, kept, model.get("continuing_subword_prefix", _INNER))
    elif tokenizer.kind == "unigram":
        kept |= {i for i, p in enumerate(vocabulary) if len(p) == 1 or p.startswith(_BYTES)}
        if not model.get("byte_fallback"):
            kept |= _unspelt(vocabulary, {vocabulary[i] for i in kept if len(vocabulary[i]) == 1})
    else:
        kept = _joined(model, vocabulary, kept)
    order = sorted(kept)
    new = {old: index for index, old in enumerate(order)}
    _map_numbers(values, new.__getitem__)
    if isinstance(model["vocab"], dict):
        by_number = sorted(model["vocab"].items(), key=lambda item: item[1])
        model["vocab"] = {piece: new[index] for piece, index in by_number if index in new}
    else:
        model["vocab"] = [entry for index, entry in enumerate(model["vocab"]) if index in new]
    return json.dumps(values, ensure_ascii=False).encode("utf-8"), order


def _map_numbers(values: dict, change: Callable[[int], int]) -> None:
    """Changes each number of a piece that a tokenizer.json names beside its vocabulary."""
    for token in values.get("added_tokens") or ():
        token["id"] = change(token["id"])
    if values.get("padding"):
        values["padding"]["pad_id"] = change(values["padding"]["pad_id"])
    for role, index in values.get(SPECIAL_IDS, {}).items():
        values[SPECIAL_IDS][role] = change(index)
    if values["model"].get("unk_id") is not None:
        values["model"]["unk_id"] = change(values["model"]["unk_id"])
    _map_processor(values.get("post_processor") or {}, change)


def _map_processor(processor: dict, change: Callable[[int], int]) -> None:
    """The same in what puts special tokens around a text: not used here, but others read it."""
    for nested in processor.get("processors") or ():
        _map_processor(nested, change)
    for token in (processor.get("special_tokens") or {}).values():
        token["ids"] = [change(index) for index in token["ids"]]
    for name in ("sep", "cls"):
        if isinstance(processor.get(name), list):
            piece, index = processor[name]
            processor[name] = [piece, change(index)]


def _joined(model: dict, vocabulary: Sequence[str], wanted: set[int]) -> set[int]:
    """The wanted pieces, what they are joined of, and all that no join makes; joins of others go.

    Raises:
        DataError: the joins are not what they should be.
    """
    inner = model.get("continuing_subword_prefix") or ""
    merges = model.get("merges") or []
    pairs = [tuple(m.split(" ", 1) if isinstance(m, str) else m) for m in merges]
    if not isinstance(inner, str) or any(len(pair) != 2 for pair in pairs):
        raise DataError("tokenizer.json: its merges are no pairs of pieces")
    made = [left + right.removeprefix(inner) for left, right in pairs]
    ways: dict[str, list[tuple[str, ...]]] = {}
    for piece, pair in zip(made, pairs, strict=True):
        ways.setdefault(piece, []).append(pair)
    number = {piece: index for index, piece in enumerate(vocabulary)}
    base = {index for index, piece in enumerate(vocabulary) if piece and piece not in ways}
    kept, waiting = set(), [*wanted, *base]
    while waiting:
        index = waiting.pop()
        if index not in kept:
            kept.add(index)
            parts = (part for pair in ways.get(vocabulary[index], ()) for part in pair)
            waiting += [number[part] for part in parts if part in number]
    there = {vocabulary[index] for index in kept}
    model["merges"] = [
        merge
        for merge, piece, pair in zip(merges, made, pairs, strict=True)
        if there.issuperset((piece, *pair))
    ]
    return kept
