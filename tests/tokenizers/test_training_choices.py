"""What a tokenizer's training decides by itself, and what it says of it."""

from __future__ import annotations

import itertools
import random
from collections import Counter

import pytest
from program import inside

from attn_cli.config.tokenizing import CONTROL_SYMBOLS, SENTENCEPIECE_TYPES, TokenizerOptions
from attn_cli.errors import DataError
from attn_cli.tokenizers.tokenizer_choice import fitting_size
from attn_cli.tokenizers.tokenizer_training import VocabularySizeError, train_tokenizer


def trained(texts, said=None, *, usual_size=8000, predicted=False, **options):
    say = said.append if said is not None else (lambda text: None)
    return train_tokenizer(
        *(texts, TokenizerOptions(**options)),
        seed=1,
        threads=1,
        say=say,
        usual_size=usual_size,
        predicted=predicted,
    )


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


def natural(n_lines: int) -> list[str]:
    """Words as a language has them, the frequency of each in inverse proportion to its rank."""
    generator = random.Random(3)
    words = ["".join(generator.choices("abdeiklmnorst", k=6)) for _ in range(20_000)]
    weights = list(itertools.accumulate(1 / rank for rank in range(1, len(words) + 1)))
    return [" ".join(generator.choices(words, cum_weights=weights, k=12)) for _ in range(n_lines)]


class TestSize:
    def test_is_smaller_where_few_words_stand_in_a_text_often_enough_to_be_learnt(self):
        texts, said = natural(600), []
        counts = Counter(word for text in texts for word in text.split())
        often = sum(count >= 10 for count in counts.values())
        letters = len({word[0] for word in counts}) + len({c for word in counts for c in word[1:]})
        tokenizer = trained(texts, said, predicted=True)
        assert tokenizer.vocab_size == 2 * often + letters + len(CONTROL_SYMBOLS) < 1000
        assert said[0].endswith(
            f"; a piece has to be seen often: 2 for each of the {often} words that stand there 10 "
            "times or more"
        )
        assert trained(texts).vocab_size > 5000  # of a classifier: pieces are no classes

    def test_is_the_usual_one_where_the_text_is_large_enough(self):
        sizes = [
            fitting_size(Counter(w for t in natural(n) for w in t.split()))[1] for n in (50, 4000)
        ]
        assert sizes[0] < 100 < 1000 < sizes[1]
        assert trained(natural(4000), predicted=True, usual_size=1000).vocab_size == 1000

    def test_is_the_usual_one_where_all_words_are_frequent(self):
        """The grammar of the quickstart: 2,031 pieces for 1,212 words."""
        said, texts = [], few_words()
        assert trained(texts, said, predicted=True).to_bytes() == trained(texts).to_bytes()
        assert "often" not in said[0]

    @pytest.mark.parametrize("kind", ["word", "char"])
    def test_is_not_chosen_by_words_where_pieces_are_words_or_letters(self, kind):
        texts = natural(100)
        same = trained(texts, type=kind)
        assert trained(texts, type=kind, predicted=True).vocab_size == same.vocab_size

    def test_has_room_for_bytes_and_symbols(self):
        plain, more = (
            trained(natural(600), predicted=True, type="bpe", **options).vocab_size
            for options in ({}, {"byte_fallback": True, "symbols": "<a>,<b>"})
        )
        assert more == plain + 258

    def test_a_size_that_was_given_wins(self):
        said = []
        assert trained(natural(600), said, predicted=True, vocab_size=2000).vocab_size == 2000
        assert "often" not in said[0]


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
