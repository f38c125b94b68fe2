"""What a tokenizer's training decides by itself, and what it says of it."""

from __future__ import annotations

import itertools
import random

import pytest
from program import inside

from attn_cli.config.tokenizing import CONTROL_SYMBOLS, SENTENCEPIECE_TYPES, TokenizerOptions
from attn_cli.errors import DataError
from attn_cli.tokenizers.tokenizer_training import VocabularySizeError, train_tokenizer


def trained(texts, said=None, *, usual_size=8000, **options):
    say = said.append if said is not None else (lambda text: None)
    given = TokenizerOptions(**options)
    return train_tokenizer(texts, given, seed=1, threads=1, say=say, usual_size=usual_size)


def few_words() -> list[str]:
    generator = random.Random(2)
    words = ["".join(generator.choices("abdeiklmnorst", k=5)) for _ in range(200)]
    return [" ".join(generator.choices(words, k=8)) for _ in range(600)]


class TestType:
    def test_is_bpe_where_the_text_has_few_distinct_words(self):
        said: list[str] = []
        tokenizer = trained(few_words(), said)
        alone = trained(few_words(), type="unigram")
        assert tokenizer.to_bytes() == trained(few_words(), type="bpe").to_bytes()
        assert tokenizer.vocab_size > 2 * alone.vocab_size  # every word is a piece
        assert said == [
            f"tokenizer: bpe, {tokenizer.vocab_size:,} pieces: the text has 200 distinct words, "
            "fewer than a vocabulary of 8,000"
        ]

    def test_is_unigram_where_it_has_many(self):
        said: list[str] = []
        tokenizer = trained(few_words(), said, vocab_size=100)
        same = trained(few_words(), type="unigram", vocab_size=100)
        assert tokenizer.to_bytes() == same.to_bytes()
        assert said == ["tokenizer: unigram, 100 pieces: the text has 200 distinct words"]

    def test_is_unigram_where_words_have_no_spaces_between_them(self):
        generator = random.Random(2)
        texts = [
            "".join(generator.choices("我你他不知道是在有人这中大来上", k=30)) for _ in range(99)
        ]
        said: list[str] = []
        trained(texts, said)
        assert "few spaces between words" in said[0]

    def test_is_not_spoken_of_where_it_was_asked_for(self):
        said: list[str] = []
        trained(few_words(), said, type="bpe", vocab_size=100)
        assert not said


class TestCharacters:
    @pytest.mark.parametrize("lossless", [False, True])
    def test_a_char_vocabulary_grows_until_all_of_them_have_a_piece(self, lossless):
        text = ["".join(map(chr, range(0xAC00, 0xAC00 + 200)))]
        said: list[str] = []
        tokenizer = trained(text, said, type="char", usual_size=50, lossless=lossless)
        assert tokenizer.unk_id not in tokenizer.encode(text)[0]
        assert "needs" in said[0]
        assert "more than 50" in said[0]

    def test_a_size_that_leaves_some_out_is_refused_and_the_right_one_named(self):
        text = ["".join(map(chr, range(0xAC00, 0xAC00 + 200)))]
        with pytest.raises(VocabularySizeError, match="use --vocab-size 208 or more") as caught:
            trained(text, type="char", vocab_size=90)
        assert trained(text, type="char", vocab_size=caught.value.possible).vocab_size == 208

    @pytest.mark.parametrize("kind", ["bpe", "unigram", "char"])
    def test_those_in_the_names_of_special_tokens_have_their_pieces(self, kind):
        text = ["a b <unk> </s> & c d"] * 3
        tokenizer = trained(text, type=kind)
        assert tokenizer.decode(tokenizer.encode(text)) == text
        assert not {tokenizer.unk_id, tokenizer.eos_id} & set(tokenizer.encode(text)[0])

    def test_words_without_a_piece_are_counted(self):
        said: list[str] = []
        trained(["a b c d e a b c a b"], said, type="word", vocab_size=10)
        assert said[-1] == "tokenizer: 2 of 5 distinct words have no piece, 20.0% of the text"


def test_words_in_two_unicode_forms_are_named():
    said: list[str] = []
    trained(["f\u00fcr dich", "fu\u0308r mich", "u\u0308ber"], said, type="char")
    assert "1 word in two Unicode forms, such as 'für'" in said[0]
    said.clear()
    trained(["fu\u0308r mich", "u\u0308ber"], said, type="char")
    assert not any("Unicode" in line for line in said)


@pytest.mark.parametrize("kind", ["auto", *SENTENCEPIECE_TYPES, "wordpiece"])
def test_no_refusal_speaks_of_a_librarys_sources(kind):
    corpora = (["a"], ["aaaa"] * 5, ["<unk> </s>"], ["   a  "], ["我不知道"] * 3, few_words()[:9])
    for texts, size, lossless, coverage in itertools.product(
        corpora, (None, 8, 90, 300), (False, kind != "wordpiece"), (1.0, 0.98)
    ):
        try:
            trained(texts, type=kind, vocab_size=size, lossless=lossless, coverage=coverage)
        except DataError as error:
            assert "--vocab-size" in str(error)
            assert ".cc" not in str(error)
            assert "INTERNAL" not in str(error)


def test_a_training_says_it_too(tmp_path):
    (tmp_path / "text").write_text("".join(f"{line}\n" for line in few_words()))
    run = inside(
        *("pretrain", tmp_path / "text", "--objective", "clm", "--type", "char"),
        *("--vocab-size", 90, "--d-model", 32, "--max-steps", 1, "-o", tmp_path / "m"),
        status=3,
    )
    assert "256 bytes and its characters take" in run.said
    assert ".cc" not in run.said


@pytest.mark.parametrize(
    "given",
    [
        ("train-mt", "pairs", "--tokenizer", "t.model", "--type", "bpe"),
        ("finetune", "text", "--task", "classify", "--tokenizer", "t.model", "--symbols", "<a>"),
        ("pretrain", "text", "--objective", "mlm", "--init", "m", "--symbols", "<a>"),
    ],
)
def test_a_kind_of_tokenizer_beside_a_tokenizer_is_refused(given):
    run = inside(*given, status=2)
    assert f"and does not read {given[-2]}" in run.said


def test_control_symbols_are_those_of_the_model():
    assert tuple(trained(["a b"]).vocabulary[: len(CONTROL_SYMBOLS)]) == CONTROL_SYMBOLS
