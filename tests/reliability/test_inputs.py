"""Inputs of absurd size or content, to every command: an answer or a refusal, in bounded memory."""

from __future__ import annotations

import gzip
import os
import random
import subprocess
import sys
import time
from pathlib import Path

import pytest
from lived import Life, Lives
from program import COMMAND, ENVIRONMENT, TINY, attn, inside, peak_mebibytes, write_reversal

MEBIBYTES = 1024
CONTENTS = {
    "NULs": b"ba\0ke\t\0\n\0\n\0\0 li\tmo\n",
    "right-to-left marks": "\u202eba ke\u202c \u200f\tli\n\u2067mo\u2069\n".encode(),
    "other line ends": "ba\x0bke\x0cli\u2028mo\u2029nu\x85ra\t\r\n".encode(),
    "combining marks": ("a" + "\u0301" * 5000 + "\tb\n").encode(),
    "private and unassigned": "\U0010ffff \ue000 \U000e0001\tba\n".encode(),
    "200,000 tabs": b"ba" + b"\t" * 200_000 + b"\n",
    "a carriage return alone": b"ba\rke\tli\r\n\r\n",
}


def commands(model: Path) -> dict[str, tuple[object, ...]]:
    """Every streaming command."""
    return {
        "tokenize encode": ("tokenize", "encode", "-t", model),
        "tokenize decode": ("tokenize", "decode", "-t", model, "--as", "pieces"),
        "decode": ("decode", "-m", model, "--greedy", "--max-len", 3, "--threads", 1),
        "score": ("score", "--chrf", "--per-line"),
        "score --log-prob": ("score", "--log-prob", "-m", model, "--threads", 1),
    }


NAMES = list(commands(Path()))


@pytest.mark.parametrize("name", NAMES)
def test_strange_characters_are_only_characters(
    name: str, lives: Lives, reversal_model: Path, tmp_path: Path
) -> None:
    source = tmp_path / "in"
    source.write_bytes(b"".join(CONTENTS.values()))
    done = lives.run(*commands(reversal_model)[name], stdin=source)
    assert done.status in (0, 3), done.said
    assert done.out.count(b"\n") == source.read_bytes().count(b"\n")


@pytest.mark.parametrize("name", NAMES)
def test_a_line_without_end_is_one_unusable_line(
    name: str, lives: Lives, reversal_model: Path, tmp_path: Path
) -> None:
    done = meet_long_line(20 << 20, name, lives, reversal_model, tmp_path)
    assert done.mebibytes < MEBIBYTES


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_a_line_of_200_megabytes(
    name: str, lives: Lives, reversal_model: Path, tmp_path: Path
) -> None:
    done = meet_long_line(200_000_000, name, lives, reversal_model, tmp_path)
    assert done.mebibytes < MEBIBYTES


def meet_long_line(size: int, name: str, lives: Lives, model: Path, place: Path) -> Life:
    source = place / "in"
    with source.open("wb") as file:
        file.write(b"ba\tke\n")
        for _ in range(size >> 20):
            file.write(b"ba ke li mo " * 87_381 + b"nuxx")
        file.write(b"\tba\nli\tmo\n")
    done = lives.run(*commands(model)[name], stdin=source)
    assert done.status == 3
    assert "standard input:2: longer than 16 MiB" in done.said
    lines = done.out.split(b"\n")
    assert len(lines) == 4 and lines[0] and not lines[1].strip() and lines[2]
    return done


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_a_line_of_8_megabytes_is_answered_or_refused(
    name: str, lives: Lives, reversal_model: Path, tmp_path: Path
) -> None:
    source = tmp_path / "in"
    source.write_bytes(b"x" * (8 << 20) + b"\tba\n" + b"ba\tke\n")
    if name == "decode":  # a word of 8 million characters is a hundred thousand parts: for a day
        pytest.skip("answered by the rule for long lines, in bounded memory, but slowly")
    done = lives.run(*commands(reversal_model)[name], stdin=source)
    assert done.status in (0, 3), done.said
    assert done.out.count(b"\n") == 2
    assert done.mebibytes < 2 * MEBIBYTES


@pytest.mark.parametrize("name", ["decode", "tokenize encode", "score"])
def test_a_gzip_bomb_is_a_line_too_long(
    name: str, lives: Lives, reversal_model: Path, tmp_path: Path
) -> None:
    bomb = tmp_path / "bomb.gz"
    with gzip.open(bomb, "wb") as file:
        for _ in range(20):
            file.write(bytes(1 << 20))
    done = lives.run(*commands(reversal_model)[name], bomb)
    assert done.status == 3
    assert "longer than 16 MiB" in done.said
    assert done.out == b"\n"
    assert done.mebibytes < MEBIBYTES


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_a_million_blank_lines(
    name: str, lives: Lives, reversal_model: Path, tmp_path: Path
) -> None:
    source = tmp_path / "in"
    source.write_bytes(b"\n" * 1_000_000)
    done = lives.run(*commands(reversal_model)[name], stdin=source)
    assert done.status in (0, 3), done.said  # a blank line has no second column to score against
    assert done.out.count(b"\n") == 1_000_000
    assert done.mebibytes < MEBIBYTES


def test_sentences_of_5000_words_are_decoded(lives: Lives, reversal_model: Path) -> None:
    words = " ".join(random.Random(1).choices(["banu", "kera", "livo"], k=5000))
    document = ". ".join([words[:9000]] * 3) + "."
    source = reversal_model / "long.txt"
    source.write_text(f"{words}\tone\n{document}\ttwo\nbanu\tthree\n")
    done = lives.run(*commands(reversal_model)["decode"], stdin=source)
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


# --- pipes


@pytest.mark.parametrize(
    "name", ["tokenize encode", pytest.param("decode", marks=pytest.mark.slow)]
)
def test_a_reader_that_has_read_enough(name: str, reversal_model: Path, tmp_path: Path) -> None:
    source = write_reversal(tmp_path / "in", 20_000, seed=1)
    command = [*COMMAND, *map(str, commands(reversal_model)[name]), str(source)]
    with subprocess.Popen(
        command, env=ENVIRONMENT, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdout and process.stderr
        process.stdout.readline()
        process.stdout.close()
        said = process.stderr.read().decode()
        process.wait(120)
    assert process.returncode in (0, 141)
    assert said == ""


REDIRECTIONS = {
    "closed standard input": ("<&-", 3, "standard input is closed"),
    "closed standard output": (">&-", 1, "standard output is closed"),
    "a full device": ("> /dev/full", 1, "standard output: No space left on device"),
    "closed standard error": ("2>&-", 0, ""),
    "a full device for messages": ("2> /dev/full", 0, ""),
}


@pytest.mark.parametrize("kind", REDIRECTIONS)
def test_broken_standard_streams(
    kind: str, reversal_model: Path, name: str = "tokenize encode"
) -> None:
    where, status, says = REDIRECTIONS[kind]
    arguments = " ".join(map(str, commands(reversal_model)[name]))
    line = f"printf 'ba\\tke\\n' | {{ {sys.executable} -m attn_cli {arguments} {where} ; }}"
    done = subprocess.run(["sh", "-c", line], env=ENVIRONMENT, capture_output=True, timeout=300)
    said = done.stderr.decode()
    assert done.returncode == status, said
    assert says in said and "Traceback" not in said and said.count("\n") <= 1
    assert done.stdout.count(b"\n") == (1 if status == 0 else 0)


@pytest.mark.slow
def test_training_survives_a_closed_standard_error(tmp_path: Path) -> None:
    corpus = write_reversal(tmp_path / "t.tsv", 150, seed=1)
    tiny = " ".join(map(str, TINY))
    line = f"{sys.executable} -m attn_cli train-mt {corpus} -o {tmp_path}/m {tiny} --max-steps 2 \
        --metric loss --vocab-size 30 2>&-"
    done = subprocess.run(["sh", "-c", line], env=ENVIRONMENT, capture_output=True, timeout=300)
    assert done.returncode == 0
    assert done.stdout.decode() == f"{tmp_path}/m\n"
    assert (tmp_path / "m" / "model.safetensors").exists()


@pytest.mark.slow
@pytest.mark.parametrize("kind", REDIRECTIONS)
@pytest.mark.parametrize("name", NAMES)
def test_broken_standard_streams_of_every_command(
    name: str, kind: str, reversal_model: Path
) -> None:
    test_broken_standard_streams(kind, reversal_model, name)


@pytest.mark.slow
def test_each_line_of_a_slow_producer_is_answered_within_a_second(reversal_model: Path) -> None:
    command = [*COMMAND, *map(str, commands(reversal_model)["decode"])]
    waits = []
    with subprocess.Popen(
        command, env=ENVIRONMENT, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdin and process.stdout
        for number in range(20):
            process.stdin.write(f"banu kera\t{number}\n".encode())
            process.stdin.flush()
            began = time.monotonic()
            assert process.stdout.readline().decode().endswith(f"\t{number}\n")
            waits.append(time.monotonic() - began)
            time.sleep(0.1)
        process.stdin.close()
    print(f"longest wait after the first line: {max(waits[1:]):.3f} s")
    assert max(waits[1:]) < 1.0


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

    from attn_cli.data.corpus import Corpus, CorpusFiles, build_corpus
    from attn_cli.errors import DataError
    from attn_cli.text import BadLines, Columns

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


# --- same seed, same bytes


def test_the_same_command_gives_the_same_bytes(reversal_model: Path, tmp_path: Path) -> None:
    pairs = write_reversal(tmp_path / "pairs.tsv", 300, seed=9).read_bytes()
    encode = ("tokenize", "encode", "-t", reversal_model, "--sample", 0.3, "--seed", 5)
    decode = ("decode", "-m", reversal_model, "--threads", 1)
    sample = (*decode, "--sample", "--temperature", 2, "--seed", 5)
    bootstrap = ("score", "--bleu", "--chrf", "--bootstrap", 50, "--seed", 5)
    other = {encode: (*encode[:-1], 6), sample: (*sample[:-1], 6), bootstrap: (*bootstrap[:-1], 6)}
    for command in (encode, (*decode, "--beam", 3), sample, bootstrap):
        outputs = [inside(*command, stdin=pairs).out for _ in range(2)]
        assert outputs[0] == outputs[1]
        if command in other:
            assert inside(*other[command], stdin=pairs).out != outputs[0]
    for kind in ("bpe", "unigram", "wordpiece"):
        made = []
        for number in range(2):
            ending = "txt" if kind == "wordpiece" else "model"
            path = tmp_path / f"{number}.{ending}"
            options = ("--type", kind, "--vocab-size", 30, "-o", path)
            inside("tokenize", "train", *options, stdin=pairs)
            made.append(path.read_bytes())
        assert made[0] == made[1]


def test_what_a_line_becomes_does_not_depend_on_the_others(
    reversal_model: Path, tmp_path: Path
) -> None:
    lines = write_reversal(tmp_path / "pairs.tsv", 200, seed=11).read_text().splitlines()
    decode = ("decode", "-m", reversal_model, "--threads", 1)
    whole = inside(*decode, stdin="\n".join(lines).encode()).lines
    order = random.Random(3).sample(range(200), 200)
    shuffled = inside(*decode, stdin="\n".join(lines[i] for i in order).encode()).lines
    alone = inside(*decode, "--buffer", 1, stdin="\n".join(lines).encode()).lines
    assert [whole[i] for i in order] == shuffled
    assert whole == alone


@pytest.mark.slow
def test_a_pipe_is_a_corpus_too(tmp_path: Path) -> None:
    corpus = write_reversal(tmp_path / "t.tsv", 150, seed=1)
    named = tmp_path / "pipe"
    os.mkfifo(named)
    options = (*TINY, "--max-steps", 1, "--metric", "loss", "--vocab-size", 30)
    with subprocess.Popen(["cp", str(corpus), str(named)]) as writer:
        attn("train-mt", named, "-o", tmp_path / "m", *options)
    assert writer.returncode == 0
