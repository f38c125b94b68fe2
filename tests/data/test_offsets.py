"""Tokens with the characters that they stand for, whatever the tokenizer."""

from __future__ import annotations

import random

import pytest

from attn_cli.config.tokenizing import TokenizerOptions
from attn_cli.tokenizers.tokenizer import Tokenizer
from attn_cli.tokenizers.tokenizer_training import train_tokenizer

LINES = [
    "the cat sat on the mat and looked at the stars",
    "ein Bär frißt Äpfel, ärgerlich schön",
    "мама мыла раму",
    "where are the hats ? here , said the cat .",
] * 20
ALPHABET = "abcthe  äéß мы?,.-'\u00a0\u3000\u2581😀👩\u200d北京ﬁ½Ⅷo\u0301\u0130x1"
KINDS = (
    {"type": "bpe", "vocab_size": 120},
    {"type": "bpe", "lossless": True, "vocab_size": 400},
    {"type": "unigram", "vocab_size": 50},
    {"type": "char"},
    {"type": "word"},
    {"type": "wordpiece", "vocab_size": 120},
)


@pytest.fixture(scope="module", params=KINDS, ids=lambda kind: "-".join(map(str, kind.values())))
def tokenizer(request) -> Tokenizer:
    options = TokenizerOptions(**request.param)
    return train_tokenizer(LINES, options, seed=1, threads=1, say=lambda text: None)


def random_texts(seed: int, count: int) -> list[str]:
    generator = random.Random(seed)
    return ["".join(generator.choices(ALPHABET, k=generator.randint(1, 40))) for _ in range(count)]


def test_the_tokens_are_those_of_encode(tokenizer):
    texts = [*LINES[:4], *random_texts(1, 200), "", " "]
    found = tokenizer.encode_with_offsets(texts)
    assert [ids for ids, _ in found] == tokenizer.encode(texts)
    assert all(len(ids) == len(spans) for ids, spans in found)


def test_spans_are_in_order_and_without_white_space_at_their_ends(tokenizer):
    for text in random_texts(2, 300):
        ((_, spans),) = tokenizer.encode_with_offsets([text])
        assert all(0 <= first <= end <= len(text) for first, end in spans), text
        assert all(a <= c and b <= d for (a, b), (c, d) in zip(spans, spans[1:], strict=False)), (
            text,
            spans,
        )
        assert all(text[first:end] == text[first:end].strip() for first, end in spans), text


def test_every_visible_character_belongs_to_a_token(tokenizer):
    for text in [*LINES[:4], "the cat 😀😀 sat", "the ▁ mat", "ä ö"]:
        ((_, spans),) = tokenizer.encode_with_offsets([text])
        covered = {at for first, end in spans for at in range(first, end)}
        visible = {at for at, char in enumerate(text) if not char.isspace()}
        assert covered >= visible, (text, spans)


def test_a_slice_is_what_its_token_says(tokenizer):
    """Where pieces are plain text, they are the slices themselves."""
    plain = 0
    for text in LINES[:4]:
        ((ids, spans),) = tokenizer.encode_with_offsets([text])
        for piece, (first, end) in zip(tokenizer.pieces(ids), spans, strict=True):
            bare = piece.removeprefix("##").replace("▁", "")
            if bare and not bare.startswith(("<", "[")):
                assert text[first:end] == bare
                plain += 1
    assert plain > 20
