"""A SentencePiece model as a `tokenizer.json`, for libraries that read no other file.

The `tokenizers` library has the same two algorithms: Unigram by its scores, BPE by merges, whose
order is that of the scores. It is asked to cut texts before it is believed. One thing differs, as
in every tokenizer of that library: what is spelled as a special token is one, in a text too.
"""

from __future__ import annotations

import json
import random
import re
from typing import TYPE_CHECKING

from attn_cli.tokenizers.sentencepiece_model import (
    BPE,
    BYTE,
    NORMAL,
    UNIGRAM,
    USER_DEFINED,
    Normalization,
    normalization_of,
    read_model,
    scored_pieces,
)
from attn_cli.tokenizers.sentencepiece_tokenizer import SentencePieceTokenizer

if TYPE_CHECKING:
    from tokenizers import Tokenizer as Engine
    from tokenizers.models import Model
    from tokenizers.normalizers import Normalizer

Pieces = dict[str, tuple[float, int]]  # piece -> score and type
_MARK = "\u2581"
_PROBES = 400  # texts that are cut by both
_ODD = (
    *("", " ", "a", " a  b ", "  ", "A b.C", "1,000.5", "\t", "x\u00a0y", "\u00e9t\u00e9"),
    *("\u6f22\u5b57 \u6f22", "\U0001f600", "a\U0001f600b c", "e\u0301"),
)


def as_tokenizer_json(tokenizer: SentencePieceTokenizer) -> dict[str, object] | None:
    """The content of a `tokenizer.json` that cuts texts alike; None where there is none."""
    from tokenizers import Tokenizer as Engine
    from tokenizers import decoders

    raw = tokenizer.to_bytes()
    kind, pieces = read_model(raw).model_type, scored_pieces(raw)
    if kind not in (BPE, UNIGRAM) or len(pieces) < tokenizer.vocab_size:
        return None
    symbols = [piece for piece, (_, role) in pieces.items() if role == USER_DEFINED]
    spec, fallback = normalization_of(raw), any(role == BYTE for _, role in pieces.values())
    model = _unigram(tokenizer, pieces, fallback)
    if kind == BPE:
        model = _bpe(tokenizer, pieces, fallback, whole=bool(symbols))
    engine = Engine(model)
    engine.normalizer = _normalizer(spec)
    _set_cutting(engine, spec, symbols)
    joining = [decoders.Replace(_MARK, " "), decoders.ByteFallback(), decoders.Fuse()]
    joining += [decoders.Strip(content=" ", left=1)] if spec.add_dummy_prefix else []
    engine.decoder = decoders.Sequence(joining)
    special = [tokenizer.vocabulary[i] for i in sorted({*tokenizer.special_ids.values()} - {-1})]
    alike = _cuts_alike(tokenizer, engine)
    engine.add_special_tokens(special)
    return json.loads(engine.to_str()) if alike else None


def _unigram(tokenizer: SentencePieceTokenizer, pieces: Pieces, fallback: bool) -> Model:
    from tokenizers import models

    scores = [(piece, score) for piece, (score, _) in pieces.items()]
    return models.Unigram(scores, unk_id=tokenizer.unk_id, byte_fallback=fallback)


def _bpe(
    tokenizer: SentencePieceTokenizer,
    pieces: Pieces,
    fallback: bool,
    *,
    whole: bool,
) -> Model:
    """Every pair of pieces that makes a piece, the best-scored result first."""
    from tokenizers import models

    ids = {piece: index for index, piece in enumerate(pieces)}
    normal = {piece for piece, (_, role) in pieces.items() if role == NORMAL}
    merges = [
        (-pieces[piece][0], ids[piece], piece[:at], piece[at:])
        for piece in normal
        for at in range(1, len(piece))
        if piece[:at] in normal and piece[at:] in normal
    ]
    return models.BPE(
        ids,
        [(left, right) for _, _, left, right in sorted(merges)],
        unk_token=tokenizer.vocabulary[tokenizer.unk_id],
        fuse_unk=True,
        byte_fallback=fallback,
        ignore_merges=whole,
    )


def _normalizer(spec: Normalization) -> Normalizer:
    """What becomes of a text first, in SentencePiece's order."""
    from tokenizers import Regex, normalizers

    steps: list[Normalizer] = []
    if spec.charsmap:
        steps.append(normalizers.Precompiled(spec.charsmap))
    if spec.remove_extra_whitespaces:
        steps.append(normalizers.Replace(Regex(r"\A +| +\z"), ""))
        steps.append(normalizers.Replace(Regex(" {2,}"), " "))
    if spec.escape_whitespaces:
        steps.append(normalizers.Replace(" ", _MARK))
    if spec.add_dummy_prefix:  # which is put before a mark of the text's own, too
        steps.append(normalizers.Replace(Regex(rf"\A{_MARK}"), _MARK * 2))
    return normalizers.Sequence(steps)


def _set_cutting(engine: Engine, spec: Normalization, symbols: list[str]) -> None:
    """The mark before the text, and symbols that stay whole."""
    from tokenizers import Regex, pre_tokenizers

    steps: list[pre_tokenizers.PreTokenizer] = []
    if spec.add_dummy_prefix:
        steps.append(pre_tokenizers.Metaspace(_MARK, prepend_scheme="always", split=False))
    if symbols:
        pattern = "|".join(map(re.escape, sorted(symbols, key=len, reverse=True)))
        steps.append(pre_tokenizers.Split(Regex(pattern), behavior="isolated"))
    if steps:
        engine.pre_tokenizer = pre_tokenizers.Sequence(steps)


def _cuts_alike(tokenizer: SentencePieceTokenizer, engine: Engine) -> bool:
    """Whether both cut texts into the same tokens: odd ones, and some made of the pieces."""
    generator = random.Random(1)
    ordinary = [i for i in range(tokenizer.vocab_size) if i not in tokenizer.reserved_ids]
    drawn = [generator.choices(ordinary, k=generator.randint(1, 12)) for _ in range(_PROBES)]
    texts = [text for text in tokenizer.decode(drawn) if "\ufffd" not in text]
    texts += _ODD
    found = engine.encode_batch(texts, add_special_tokens=False)
    return [each.ids for each in found] == tokenizer.encode(texts)
