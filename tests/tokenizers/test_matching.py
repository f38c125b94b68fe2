"""Which pieces of an old tokenizer a new one's pieces stand for."""

from __future__ import annotations

import pytest
from test_trimming import MAKE, OURS

from attn_cli.config.tokenizing import TokenizerOptions
from attn_cli.tokenizers.huggingface_tokenizer import WordPieceTokenizer
from attn_cli.tokenizers.matching import counterparts
from attn_cli.tokenizers.tokenizer import Tokenizer
from attn_cli.tokenizers.tokenizer_training import train_tokenizer


@pytest.fixture(scope="module")
def small() -> Tokenizer:
    options = TokenizerOptions(type="bpe", vocab_size=90)
    return train_tokenizer(OURS, options, seed=1, threads=1, say=lambda text: None)


@pytest.mark.parametrize("kind", MAKE)
def test_a_tokenizer_matches_itself(kind):
    tokenizer = MAKE[kind]()
    assert counterparts(tokenizer, tokenizer) == [(i,) for i in range(tokenizer.vocab_size)]


def test_a_piece_is_the_same_or_what_it_was_cut_into(small):
    new = MAKE["unigram"]()
    same, cut = 0, 0
    for index, old in enumerate(counterparts(small, new)):
        piece = new.vocabulary[index]
        if piece in small.vocabulary:
            assert [small.vocabulary[i] for i in old] == [piece]
            same += 1
        elif small.unk_id not in old:
            assert "".join(small.vocabulary[i] for i in old).lstrip("▁") == piece.lstrip("▁")
            cut += len(old) > 1
    assert same > 20 and cut > 100


def test_words_begin_in_different_ways():
    marks = "[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\n"
    old = WordPieceTokenizer(f"{marks}ka\n##ka\nmi\n##mi\n##z\n".encode())
    new = MAKE["unigram"]()
    found = dict(zip(new.vocabulary, counterparts(old, new), strict=True))
    named = {piece: [old.vocabulary[i] for i in ids] for piece, ids in found.items()}
    assert named["<pad>"] == ["[PAD]"] and named["<unk>"] == ["[UNK]"]
    assert named["<s>"] == ["[CLS]"] and named["</s>"] == ["[SEP]"]
    begins = {p: ids for p, ids in named.items() if p.strip("▁") in ("ka", "mi")}
    assert begins
    for piece, ids in begins.items():
        assert ids == [piece.replace("▁", "") if piece[0] == "▁" else f"##{piece}"]
    back = dict(zip(old.vocabulary, counterparts(new, old), strict=True))
    assert [new.vocabulary[i] for i in back["[CLS]"]] == ["<cls>"]  # bos, too, but cls by name
    assert [new.vocabulary[i] for i in back["[MASK]"]] == ["<mask>"]


def test_bytes_that_are_no_character_match_by_name_alone():
    lossless, plain = MAKE["bpe, lossless"](), MAKE["unigram"]()
    found = dict(zip(lossless.vocabulary, counterparts(plain, lossless), strict=True))
    assert found["<0xC3>"] == ()
    level = MAKE["json byte-level"]()
    half = next(i for i, text in enumerate(level.vocabulary) if text == "Ã")  # the byte C3
    assert counterparts(plain, level)[half] == ()
