from __future__ import annotations

import gzip
import sys

import numpy as np
import pytest

from attn_cli.config.tokenizing import TokenizerOptions
from attn_cli.data.word_vectors import fitted_to, read_word_vectors
from attn_cli.errors import DataError
from attn_cli.lines.unusable import BadLines
from attn_cli.tokenizers.tokenizer_training import train_tokenizer


@pytest.fixture(scope="module")
def tokenizer():
    words = "red green blue dark light"
    options = TokenizerOptions(type="wordpiece", vocab_size=60, lowercase=True)
    return train_tokenizer([words] * 5, options, seed=1, threads=1, say=lambda text: None)


def read(path, tokenizer, *, skip=False):
    said: list[str] = []
    return read_word_vectors(str(path), tokenizer, BadLines(said.append, skip_bad=skip)), said


def vector_of(found, tokenizer, word):
    (ids,) = tokenizer.encode([word])
    assert len(ids) == 1
    return found.vectors[list(found.ids).index(ids[0])].tolist()


@pytest.mark.parametrize("header", [b"", b"4 3\n"])
def test_glove_and_word2vec_files_give_the_vectors_of_words_that_are_one_token(
    tmp_path, tokenizer, header
):
    path = tmp_path / "v.txt.gz"
    lines = b"red 1 2 3\nRed 3 2 1\nblue -1 0.5 1e-1 \nreddish 9 9 9\n. . . 1 1 1\n"
    path.write_bytes(gzip.compress(header + lines))
    found, said = read(path, tokenizer)
    assert vector_of(found, tokenizer, "red") == [2.0, 2.0, 2.0]  # the mean of two spellings
    assert vector_of(found, tokenizer, "blue") == pytest.approx([-1.0, 0.5, 0.1])
    assert len(found.ids) == 2
    assert found.coverage.startswith(f"2 of {tokenizer.vocab_size} tokens")
    assert "5 words with 3 numbers each" in found.coverage
    assert not said


@pytest.mark.parametrize(
    ("content", "line", "cause"),
    [
        (b"red 1 2 3\nblue 1 2\n", 2, "not a word and 3 numbers"),
        (b"red 1 2 3\nblue 1 nan 3\n", 2, "not a word and 3 numbers"),
        (b"red 1 2 3\nblue 1 1e999 3\n", 2, "not a word and 3 numbers"),
        (b"red 1 2 3\n\xff\xfe 1 2 3\n", 2, "not UTF-8"),
        (b"red 1 2 3\n\nblue 1 2 3\n", 2, "not a word and 3 numbers"),
        (b"red 1 2 3\n 1 2 3\n", 2, "not a word and 3 numbers"),
        (b"words\n", 1, "no word vector"),
        (b"\x80\x02cgensim.models\nKeyedVectors\n", 1, "not UTF-8"),
        (b"red " + b"1 " * 20_000 + b"\n", 1, "no word vector"),
    ],
)
def test_lines_that_are_no_vectors_are_named_and_refused(tmp_path, tokenizer, content, line, cause):
    path = tmp_path / "v.txt"
    path.write_bytes(content)
    said: list[str] = []
    with pytest.raises(DataError, match="unusable line"):
        read_word_vectors(str(path), tokenizer, BadLines(said.append, skip_bad=False))
    assert said[0].startswith(f"{path}:{line}: {cause}")


def test_lines_that_are_no_vectors_can_be_left_out(tmp_path, tokenizer):
    path = tmp_path / "v.txt"
    path.write_bytes(b"red 1 2 3\nbroken\nblue 4 5 6\n")
    found, said = read(path, tokenizer, skip=True)
    assert vector_of(found, tokenizer, "blue") == [4.0, 5.0, 6.0]
    assert said[0] == f"{path}:2: not a word and 3 numbers"


def test_a_file_about_other_words_is_refused(tmp_path, tokenizer):
    path = tmp_path / "v.txt"
    path.write_text("словарь 1 2 3\n")
    with pytest.raises(DataError, match="none of 1 word is one token"):
        read(path, tokenizer)


def test_memory_does_not_grow_with_words_that_are_no_tokens(tmp_path, tokenizer):
    path = tmp_path / "v.txt"
    with path.open("w") as file:
        file.write("red 1 2 3\n")
        for number in range(30_000):
            file.write(f"darklight{number} 1 2 3\n")
    found, _ = read(path, tokenizer)
    assert found.words == 30_001
    assert sys.getsizeof(found.vectors) < 1000


def test_wider_vectors_keep_how_alike_they_are():
    rng = np.random.default_rng(1)
    wide = (rng.normal(size=(50, 4)) @ rng.normal(size=(4, 40))).astype(np.float32)
    fitted = fitted_to(wide, 8, 0.02)
    assert fitted.shape == (50, 8)
    centred = wide - wide.mean(0)
    before, after = centred @ centred.T, fitted @ fitted.T
    np.testing.assert_allclose(after / after[0, 0], before / before[0, 0], rtol=1e-3, atol=1e-3)
    assert np.sqrt(np.square(fitted).mean()) == pytest.approx(0.02, rel=1e-5)


def test_narrower_vectors_stay_as_wide_as_they_are():
    narrow = np.array([[1.0, -1.0], [1.0, 1.0]], np.float32)
    assert fitted_to(narrow, 8, 0.5).tolist() == [[0.5, -0.5], [0.5, 0.5]]


def test_a_word_that_stands_twice_is_said_and_the_first_is_taken(tmp_path, tokenizer):
    path = tmp_path / "v.txt"
    path.write_text("red 1 2 3\nblue 1 0 0\nred 7 7 7\nreddish 1 1 1\nreddish 2 2 2\n")
    found, said = read(path, tokenizer)
    assert vector_of(found, tokenizer, "red") == [1.0, 2.0, 3.0]
    assert found.coverage.endswith("; red in line 3 a second time: the first is taken")
    assert not said
