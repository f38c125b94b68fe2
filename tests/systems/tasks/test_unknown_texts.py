"""Texts of which a model knows nothing are answered and named; those that are invisible, blank."""

from __future__ import annotations

from pathlib import Path

import pytest
from builders import predictor
from program import inside


@pytest.fixture(scope="module")
def sorter(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("sorter")
    (place / "t.tsv").write_text("banu kera\tpos\nlimo livo\tneg\nkera banu\tpos\nlivo\tneg\n" * 4)
    sizes = ("--size", "tiny", "--max-steps", 1, "--type", "bpe", "--vocab-size", 30)
    inside(
        *("finetune", place / "t.tsv", "--task", "classify", *sizes, "--threads", 1),
        *("--device", "cpu", "-o", place / "m"),
    )
    return place / "m"


def test_a_text_without_a_known_piece_is_answered_as_a_guess(sorter: Path) -> None:
    stdin = "😆\nbanu\nბ 😆\tkept\n\n\u200b\n \u00ad\ufeff\nlimo 😆\n".encode()
    run = inside("decode", "-m", sorter, "--threads", 1, stdin=stdin)
    assert [bool(line) for line in run.lines] == [True, True, True, False, False, False, True]
    assert run.lines[2].endswith("\tkept")
    named = [line for line in run.said.split("\n") if "standard input" in line]
    assert [line.split(":")[2] for line in named] == ["1", "3"]
    assert all("no character of it is known to the model's tokenizer" in line for line in named)


def test_many_such_texts_are_counted(sorter: Path) -> None:
    run = inside("decode", "-m", sorter, "--threads", 1, stdin="😆\n".encode() * 12)
    assert run.said.count("the answer is a guess") == 10
    assert "12 lines have no character that the model's tokenizer knows" in run.said


def test_a_line_of_invisible_characters_has_no_vectors(sorter: Path) -> None:
    stdin = "   \n\u200b\n\nbanu\n".encode()
    run = inside("embed", "-m", sorter, "--pool", "mean", "--threads", 1, stdin=stdin)
    assert [bool(line) for line in run.lines] == [False, False, False, True]


@pytest.mark.parametrize("arch", ["bert", "gpt", "rnn"])
def test_what_is_known_does_not_depend_on_special_tokens(arch: str) -> None:
    answerer = predictor("pair", arch, labels=["a", "b"])
    texts = [["banu", "zzz"], ["zzz", "yyy"], ["zzz kera", "yyy"], ["zzz", "kera"]]
    known = [answer.known for answer in answerer.answer(texts)]
    assert known == [True, False, True, True]
