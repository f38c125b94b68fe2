"""Inputs of absurd size or content, to every command: an answer or a refusal, in bounded memory."""

from __future__ import annotations

import gzip
import random
import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from lived import LINE_BY_LINE, Command, Commands, Life, Lives
from program import COMMAND, ENVIRONMENT, TINY, inside, peak_mebibytes, write_reversal

MEBIBYTES = 1024
PART_BY_PART = ("decode", "decode to labels", "embed")  # they read all of it: 8 MiB take a day
CONTENTS = {
    "NULs": b"ba\0ke\t\0\n\0\n\0\0 li\tmo\n",
    "right-to-left marks": "\u202eba ke\u202c \u200f\tli\n\u2067mo\u2069\n".encode(),
    "other line ends": "ba\x0bke\x0cli\u2028mo\u2029nu\x85ra\t\r\n".encode(),
    "combining marks": ("a" + "\u0301" * 5000 + "\tb\n").encode(),
    "private and unassigned": "\U0010ffff \ue000 \U000e0001\tba\n".encode(),
    "lone surrogates": b"\xed\xa0\x80\tba\nba\t\xed\xbf\xbf\n",
    "200,000 tabs": b"ba" + b"\t" * 200_000 + b"\n",
    "a carriage return alone": b"ba\rke\tli\r\n\r\n",
}


@pytest.mark.parametrize("name", LINE_BY_LINE)
def test_strange_characters_are_only_characters(
    name: str, lives: Lives, streaming: Commands, tmp_path: Path
) -> None:
    source = tmp_path / "in"
    source.write_bytes(b"".join(CONTENTS.values()))
    done = lives.run(*streaming[name], stdin=source)
    assert done.status in (0, 3), done.said
    assert done.out.count(b"\n") == source.read_bytes().count(b"\n")


@pytest.mark.parametrize("name", LINE_BY_LINE)
def test_a_line_without_end_is_one_unusable_line(
    name: str, lives: Lives, streaming: Commands, tmp_path: Path
) -> None:
    done = meet_long_line(20 << 20, streaming[name], lives, tmp_path)
    assert done.mebibytes < MEBIBYTES


@pytest.mark.slow
@pytest.mark.parametrize("name", LINE_BY_LINE)
def test_a_line_of_200_megabytes(
    name: str, lives: Lives, streaming: Commands, tmp_path: Path
) -> None:
    done = meet_long_line(200_000_000, streaming[name], lives, tmp_path)
    assert done.mebibytes < MEBIBYTES


def write_long_line(source: Path, size: int = 200_000_000) -> None:
    with source.open("wb") as file:
        file.write(b"ba\tke\n")
        for _ in range(size >> 20):
            file.write(b"ba ke li mo " * 87_381 + b"nuxx")
        file.write(b"\tba\nli\tmo\n")


def meet_long_line(size: int, command: Command, lives: Lives, place: Path) -> Life:
    source = place / "in"
    write_long_line(source, size)
    done = lives.run(*command, stdin=source)
    assert done.status == 3
    assert "standard input:2: longer than 16 MiB" in done.said
    lines = done.out.split(b"\n")
    assert len(lines) == 4 and lines[0] and not lines[1].strip() and lines[2]
    return done


@pytest.mark.slow
@pytest.mark.parametrize("name", LINE_BY_LINE)
def test_a_word_of_megabytes_is_answered_or_refused(
    name: str, lives: Lives, streaming: Commands, tmp_path: Path
) -> None:
    source = tmp_path / "in"
    size = 100_000 if name in PART_BY_PART else 8 << 20
    source.write_bytes(b"x" * size + b"\tba\n" + b"ba\tke\n")
    done = lives.run(*streaming[name], stdin=source)
    assert done.status in (0, 3), done.said
    assert done.out.count(b"\n") == 2
    assert done.mebibytes < 2 * MEBIBYTES


@pytest.mark.parametrize("name", ["decode", "tokenize encode", "score"])
def test_a_gzip_bomb_is_a_line_too_long(
    name: str, lives: Lives, streaming: Commands, tmp_path: Path
) -> None:
    bomb = tmp_path / "bomb.gz"
    write_bomb(bomb, 20)
    done = lives.run(*streaming[name], bomb)
    assert done.status == 3
    assert "longer than 16 MiB" in done.said
    assert done.out == b"\n"
    assert done.mebibytes < MEBIBYTES


def write_bomb(path: Path, mebibytes: int = 1000) -> None:
    """Zeros without a line end, packed to a thousandth."""
    with gzip.open(path, "wb") as file:
        for _ in range(mebibytes):
            file.write(bytes(1 << 20))


@pytest.mark.slow
@pytest.mark.parametrize("name", LINE_BY_LINE)
def test_a_million_blank_lines(
    name: str, lives: Lives, streaming: Commands, tmp_path: Path
) -> None:
    source = tmp_path / "in"
    write_blank_lines(source)
    done = lives.run(*streaming[name], stdin=source)
    assert done.status in (0, 3), done.said  # a blank line has no second column to score against
    assert done.out.count(b"\n") == 1_000_000
    assert done.mebibytes < MEBIBYTES


def write_blank_lines(path: Path) -> None:
    path.write_bytes(b"\n" * 1_000_000)


ABSURD: dict[str, tuple[str, Callable[[Path], object], str]] = {
    "a line of 200 megabytes": ("t.tsv", write_long_line, r"t.tsv:2: longer than 16 MiB"),
    "a gzip bomb": ("t.tsv.gz", write_bomb, r"t.tsv.gz: .*times its size|t.tsv.gz:1: longer"),
    "a million blank lines": (
        "t.tsv",
        write_blank_lines,
        r"1,000,000 unusable|all lines are blank",
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("kind", ABSURD)
@pytest.mark.parametrize("name", ["train-mt", "tokenize train"])
def test_what_can_not_be_learnt_from_is_refused(
    name: str, kind: str, lives: Lives, tmp_path: Path
) -> None:
    file, write, cause = ABSURD[kind]
    write(tmp_path / file)
    more = (*TINY, "--max-steps", 1) if name == "train-mt" else ("--vocab-size", 20)
    done = lives.run(*name.split(), tmp_path / file, "-o", tmp_path / "out.model", *more)
    assert done.status == 3
    assert re.search(cause, done.said), done.said
    assert done.mebibytes < MEBIBYTES


def test_sentences_of_5000_words_are_decoded(
    lives: Lives, streaming: Commands, tmp_path: Path
) -> None:
    words = " ".join(random.Random(1).choices(["banu", "kera", "livo"], k=5000))
    document = ". ".join([words[:9000]] * 3) + "."
    source = tmp_path / "long.txt"
    source.write_text(f"{words}\tone\n{document}\ttwo\nbanu\tthree\n")
    done = lives.run(*streaming["decode"], stdin=source)
    assert done.status == 0, done.said
    assert [line.split("\t")[1] for line in done.out.decode().splitlines()] == [
        "one",
        "two",
        "three",
    ]
    assert done.said.count("long line, decoded in") == 2


@pytest.mark.slow
def test_memory_does_not_grow_with_the_stream(reversal_model: Path, tmp_path: Path) -> None:
    peaks = {}
    for size in (5_000, 100_000):
        source = write_reversal(tmp_path / "in", size, seed=1)
        arguments = ("decode", "-m", reversal_model, "--greedy", "--threads", "1", str(source))
        peaks[size] = peak_of(*arguments, lines=size)
    print(f"peak MiB by lines: {peaks}")
    assert peaks[100_000] <= 1.2 * peaks[5_000]


def peak_of(*arguments: object, lines: int) -> float:
    """The most memory, in MiB, that a process of the program holds while it writes its lines."""
    command = [*COMMAND, *map(str, arguments)]
    peak, count = 0.0, 0
    with subprocess.Popen(command, env=ENVIRONMENT, stdout=subprocess.PIPE) as process:
        assert process.stdout
        for _ in process.stdout:
            count += 1
            if count % 1000 == 1 or count == lines:
                peak = max(peak, peak_mebibytes(process.pid))
    assert process.returncode == 0
    assert count == lines
    return peak


# --- corpora that are hardly any


def train(place: Path, text: str, *more: object, status: int = 0) -> str:
    (place / "t.tsv").write_text(text)
    options = (*TINY, "--max-steps", 2, "--metric", "loss", "--batch-tokens", 64)
    arguments = ("train-mt", place / "t.tsv", "-o", place / "m", *options, *more)
    return inside(*arguments, status=status).said


def test_one_pair(tmp_path: Path) -> None:
    said = train(tmp_path, "ba ke\tli mo\n")
    assert "too few distinct pairs to hold any out" in said
    assert len(inside("decode", "-m", tmp_path / "m", stdin=b"ba\n").lines) == 1


def test_dev_pairs_that_are_trained_on_are_counted(tmp_path: Path) -> None:
    (tmp_path / "dev.tsv").write_text("a b\tb a\nc d\td c\n")
    text = "a b\tb a\na b\tb a\ne f\tf e\n"
    said = train(tmp_path, text, "--dev", tmp_path / "dev.tsv")
    assert "1 of 2 dev pairs are also trained on" in said


def test_an_empty_dev_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "dev.tsv").write_text("")
    said = train(tmp_path, "a\tb\n" * 5, "--dev", tmp_path / "dev.tsv", status=3)
    assert "dev.tsv: no pair to work with" in said


def test_a_vocabulary_of_a_few_pieces(tmp_path: Path) -> None:
    train(tmp_path, "a\tb\nb\ta\n" * 20)
    assert len(inside("decode", "-m", tmp_path / "m", stdin=b"a b xyz\n").lines) == 1


def test_bad_lines_are_counted_named_and_left_out_when_that_is_accepted(tmp_path: Path) -> None:
    text = "a b\tb a\n" * 12 + "alone\nc\t\n" + "c d\td c\n" * 12
    said = train(tmp_path, text, status=3)
    assert "t.tsv:13: 1 column" in said and "t.tsv:14: empty target" in said
    assert "2 unusable lines" in said
    said = train(tmp_path, text, "--skip-bad")
    assert "2 unusable lines: left out" in said


def test_a_corpus_that_changes_under_a_training_is_noticed(tmp_path: Path) -> None:
    import numpy as np

    from attn_cli.data.corpus import Corpus, build_corpus
    from attn_cli.data.entries import CorpusFiles
    from attn_cli.errors import DataError
    from attn_cli.lines.columns import Columns
    from attn_cli.lines.unusable import BadLines

    path = tmp_path / "t.tsv"
    path.write_text("ab\tcd\nef\tgh\n")
    bad = BadLines(lambda text: None, skip_bad=False)
    files = CorpusFiles((str(path),), Columns.parse(None, 2))
    corpus: Corpus = build_corpus(files, tmp_path / "work", "train", bad, lambda row: None)
    rows = np.arange(2)
    assert corpus.read(rows) == [["ab", "cd"], ["ef", "gh"]]
    for changed in ("ab\tcd\nef\tgi\n", "ab\tcd\nefgh\n\n", "ab\tcd\n", "ab\tcd\nef\t\udc80h"):
        path.write_bytes(changed.encode("utf-8", "surrogateescape"))
        with pytest.raises(DataError, match="t.tsv: has changed since it was indexed"):
            corpus.read(rows)
