"""`encode | decode` gives a text's normal form, in pieces and in ids, whatever the tokenizer."""

from __future__ import annotations

import json
import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from program import inside
from tiny_models import write_byte_tokenizer

from attn_cli.config.tokenizing import SENTENCEPIECE_TYPES, TokenizerOptions
from attn_cli.tokenizers.token_lines import line_decoder, line_encoder
from attn_cli.tokenizers.tokenizer_files import load_tokenizer, tokenizer_from_bytes
from attn_cli.tokenizers.tokenizer_training import train_tokenizer

ALPHABET = "abdeinostzÉéßäло男人.,;:!?¿'\"-#@()"
TEXTS = ["Oui ? Non ! do n't", *(f"{a}{b} {b} {a}" for a in ALPHABET for b in ALPHABET)]
WORDS = st.text(ALPHABET + " ", max_size=40)


def trained(**options):
    return train_tokenizer(
        TEXTS, TokenizerOptions(**options), seed=1, threads=1, say=lambda text: None
    )


def bert_words(text: str) -> list[str]:
    """What BERT's splitting makes of a cased text: punctuation and Chinese stand alone."""
    spaced = "".join(
        f" {c} " if unicodedata.category(c)[0] == "P" or c in "$+<=>^`|~男人" else c for c in text
    )
    return spaced.split()


def in_lines(tokenizer, unit: str, text: str) -> str:
    encode = line_encoder(tokenizer, unit, None, 1)
    (decoded,) = line_decoder(tokenizer, unit)(encode([text]))
    assert isinstance(decoded, str), decoded
    return decoded


@pytest.fixture(scope="module")
def sentencepiece() -> dict:
    # A word vocabulary knows what it has seen: its normal form is tested with bytes.
    return {
        (kind, lossless): trained(type=kind, lossless=lossless)
        for kind in SENTENCEPIECE_TYPES
        for lossless in (False, True)
        if lossless or kind != "word"
    }


@pytest.fixture(scope="module")
def wordpiece():
    return trained(type="wordpiece", vocab_size=300)


@pytest.fixture(scope="module")
def byte_level(tmp_path_factory):
    folder = tmp_path_factory.mktemp("gpt")
    write_byte_tokenizer(folder)
    return load_tokenizer(str(folder))


@pytest.mark.parametrize("unit", ["pieces", "ids"])
class TestNormalForm:
    @given(text=WORDS)
    @settings(max_examples=60, deadline=None)
    def test_of_sentencepiece_is_single_spaces(self, sentencepiece, unit, text):
        for (_, lossless), tokenizer in sentencepiece.items():
            normal = text if lossless else " ".join(text.split())
            assert in_lines(tokenizer, unit, text) == normal

    @given(text=WORDS)
    @settings(max_examples=60, deadline=None)
    def test_of_wordpiece_is_its_words_with_spaces_between_them(self, wordpiece, unit, text):
        normal = " ".join(bert_words(text))
        assert in_lines(wordpiece, unit, text) == normal
        assert in_lines(wordpiece, unit, normal) == normal

    @given(text=st.text(st.characters(exclude_characters="\t\n", exclude_categories=["Cs"])))
    @settings(max_examples=60, deadline=None)
    def test_of_byte_level_vocabularies_is_the_text(self, byte_level, unit, text):
        assert in_lines(byte_level, unit, text) == text

    def test_is_not_tidied_by_rules_of_english(self, wordpiece, unit):
        for text in ("Oui ? Non !", "a , b . c", "do n ' t", "it ' s"):
            letters = text.replace("c", "z")
            assert in_lines(wordpiece, unit, letters) == letters

    def test_pieces_with_spaces_tabs_and_line_ends_survive(self, unit):
        import tokenizers

        pieces = ["New York", "a\tb", "c\n", "\ufeffd", "New\\x20York", " ", "New", "x"]
        engine = tokenizers.Tokenizer(
            tokenizers.models.WordLevel({"[UNK]": 0, "x": 1}, unk_token="[UNK]")
        )
        engine.pre_tokenizer = tokenizers.pre_tokenizers.Split("x", "isolated")
        engine.add_tokens([tokenizers.AddedToken(piece, normalized=False) for piece in pieces])
        tokenizer = tokenizer_from_bytes("tokenizer.json", engine.to_str().encode())
        ids = [[tokenizer.vocabulary.index(piece) for piece in pieces]]
        (line,) = line_encoder(tokenizer, unit, None, 1)(["".join(pieces)])
        assert len(line.split(" ")) == len(pieces)
        assert "\t" not in line
        assert "\n" not in line
        (text,) = line_decoder(tokenizer, unit)([line])
        assert text == tokenizer.decode(ids)[0].replace("\t", " ").replace("\n", " ")


def test_a_foreign_decoder_does_not_tidy_either():
    tokenizer = trained(type="wordpiece", vocab_size=300)
    values = json.loads(tokenizer._engine.to_str())
    values["decoder"] = {"type": "WordPiece", "prefix": "##", "cleanup": True}
    for decoder in (values["decoder"], {"type": "Sequence", "decoders": [values["decoder"]]}):
        raw = json.dumps({**values, "decoder": decoder}).encode()
        foreign = tokenizer_from_bytes("tokenizer.json", raw)
        assert foreign.decode(foreign.encode(["Oui ? Non !"])) == ["Oui ? Non !"]
        assert foreign.to_bytes() == raw


class TestVocabularyFiles:
    def test_equal_and_blank_lines_are_named_and_read_as_others_read_them(self, tmp_path):
        import tokenizers

        path = tmp_path / "vocab.txt"
        path.write_text("[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\nthe\ncat\n\nthe\nsat\n\n")
        tokenizer = load_tokenizer(str(path))
        oracle = tokenizers.BertWordPieceTokenizer(str(path))
        texts = ["the cat sat", "the"]
        assert tokenizer.encode(texts) == [
            oracle.encode(text, add_special_tokens=False).ids for text in texts
        ]
        assert tokenizer.encode(["the"]) == [[8]]
        assert tokenizer.vocab_size == 11
        assert tokenizer.pieces([5, 7, 8]) == ["", "", "the"]
        assert "vocab.txt:8: a blank line: no piece has the id 7" in tokenizer.remarks[0]
        assert "vocab.txt:9: piece 'the' again, as in line 6: its id is 8" in tokenizer.remarks[1]

    def test_are_said_by_the_command(self, tmp_path):
        path = tmp_path / "vocab.txt"
        path.write_text("[PAD]\n[UNK]\n[CLS]\n[SEP]\nthe\nthe\n")
        run = inside("tokenize", "encode", "-t", path, stdin=b"the\n")
        assert run.lines == ["the"]
        assert "vocab.txt:6: piece 'the' again" in run.said

    def test_settings_beside_a_vocabulary_are_not_passed_over_in_silence(self, tmp_path):
        (tmp_path / "vocab.txt").write_text("[PAD]\n[UNK]\n[CLS]\n[SEP]\nthe\n")
        assert not load_tokenizer(str(tmp_path)).remarks
        (tmp_path / "tokenizer_config.json").write_text('{"do_lower_case": false}')
        (remark,) = load_tokenizer(str(tmp_path)).remarks
        assert "tokenizer_config.json is not read" in remark
        assert "attn convert reads both" in remark

    def test_many_odd_lines_are_counted(self):
        tokenizer = tokenizer_from_bytes("vocab.txt", b"[UNK]\na\n" + b"\n" * 30)
        assert len(tokenizer.remarks) == 6
        assert "further lines" in tokenizer.remarks[-1]


class TestByteLevelFiles:
    def test_a_directory_of_both_is_a_tokenizer(self, tmp_path):
        write_byte_tokenizer(tmp_path)
        run = inside("tokenize", "encode", "-t", tmp_path, stdin=b"the cat sat\n")
        assert run.lines == ["the Ġcat Ġsat"]

    def test_the_space_before_a_text_is_as_its_settings_say(self, tmp_path):
        write_byte_tokenizer(tmp_path)
        (tmp_path / "tokenizer_config.json").write_text('{"add_prefix_space": true}')
        tokenizer = load_tokenizer(str(tmp_path))
        assert tokenizer.pieces(tokenizer.encode(["cat"])[0]) == ["Ġcat"]
