"""Labels and numbers as people write them: blanks behind them, headers, commas, the largest."""

from __future__ import annotations

import json
import re
import warnings

import pytest
from program import inside

TINY = ("--size", "tiny", "--vocab-size", 40, "--max-steps", 2, "--threads", 1, "--device", "cpu")
TEXTS = ["good fine nice", "bad poor sad", "fine good", "sad bad", "nice good", "poor sad"]


def write(path, rows):
    path.write_text("".join("\t".join(row) + "\n" for row in rows))
    return path


def labelled(n=24):
    return [(TEXTS[i % 6] + " " + "xyz"[i % 3] * (i + 1), ("pos", "neg")[i % 2]) for i in range(n)]


def finetune(corpus, task, output, *options, status=0):
    return inside("finetune", corpus, "--task", task, "-o", output, *TINY, *options, status=status)


@pytest.mark.parametrize("task", ["classify", "pair", "multilabel"])
def test_blanks_around_a_label_are_no_part_of_it(tmp_path, task):
    rows = [(text, label + " " * (i % 3)) for i, (text, label) in enumerate(labelled())]
    if task == "pair":
        rows = [(text, text, label) for text, label in rows]
    finetune(write(tmp_path / "t.tsv", rows), task, tmp_path / "m")
    assert (tmp_path / "m" / "labels.txt").read_text() == "neg\npos\n"


def test_a_dev_file_may_have_other_blanks_around_its_labels(tmp_path):
    corpus = write(tmp_path / "t.tsv", labelled())
    dev = write(tmp_path / "d.tsv", [("good thing", " pos"), ("sad thing", "neg ")])
    finetune(corpus, "classify", tmp_path / "m", "--dev", dev)


@pytest.mark.parametrize("task", ["classify", "multilabel"])
def test_a_header_does_not_become_a_class(tmp_path, task):
    corpus = write(tmp_path / "t.tsv", [("sentence", "label"), *labelled()])
    said = finetune(corpus, task, tmp_path / "m", status=3).said
    assert "t.tsv: line 1 looks like a header" in said
    assert "--columns sentence,label (or --columns 1,2, if it is none)" in said
    assert not (tmp_path / "m").exists()
    finetune(corpus, task, tmp_path / "m", "--columns", "sentence,label")
    assert (tmp_path / "m" / "labels.txt").read_text() == "neg\npos\n"
    finetune(corpus, task, tmp_path / "own", "--columns", "1,2")
    assert "label\n" in (tmp_path / "own" / "labels.txt").read_text()


def test_a_label_that_is_called_label_may_stand_on_line_1(tmp_path):
    rows = [("a text", "label"), *labelled(), ("another text", "label")]
    finetune(write(tmp_path / "t.tsv", rows), "classify", tmp_path / "m")


def test_a_label_of_the_dev_examples_alone_is_named(tmp_path):
    corpus = write(tmp_path / "t.tsv", labelled())
    dev = write(tmp_path / "d.tsv", [("good thing", "pos"), ("odd thing", "mixed")])
    said = finetune(corpus, "classify", tmp_path / "m", "--dev", dev, status=3).said
    assert "d.tsv:2: label 'mixed' is not among those trained on" in said


def test_a_label_that_is_seldom_seen_is_said_once(tmp_path):
    rows = [(f"text {i}", f"label{i}" if i < 19 else "many") for i in range(40)]
    run = finetune(write(tmp_path / "t.tsv", rows), "classify", tmp_path / "m", "--vocab-size", 24)
    held_out, once = (line for line in run.said.splitlines() if "t.tsv: " in line)
    names = re.findall(r"'label\d+'", held_out)
    assert f"held out to validate, and nowhere else: {len(names)} label" in held_out
    assert f"{19 - len(names)} labels of 20 seen once: 'label" in once
    assert 0 < len(names) < 5
    assert not any(name in once for name in names)


def test_columns_that_look_swapped_are_said_and_no_more_of_labels(tmp_path):
    rows = [(f"text {i}", f"label{i}") for i in range(40)]
    run = finetune(write(tmp_path / "t.tsv", rows), "classify", tmp_path / "m", "--vocab-size", 24)
    (said,) = (line for line in run.said.splitlines() if "t.tsv: " in line)
    assert "t.tsv: 40 labels for 40 examples: columns swapped? --columns 2,1" in said


@pytest.mark.parametrize("task", ["rate", "regress"])
def test_the_largest_numbers_can_be_learnt(tmp_path, task):
    numbers = ["1e308", "-1e308", "1.7e308", "-1.7e308"]
    rows = [(text, numbers[i % 4]) for i, (text, _) in enumerate(labelled())]
    rows = [(text, *row) for text, *row in rows] if task == "rate" else [(t, t, n) for t, n in rows]
    with warnings.catch_warnings():
        warnings.simplefilter("error", RuntimeWarning)
        finetune(write(tmp_path / "t.tsv", rows), task, tmp_path / "m")
    head = json.loads((tmp_path / "m" / "config.json").read_text())["heads"][0]
    assert (head["low"], head["high"]) == (-1.7e308, 1.7e308)
    assert 1e308 < head["std"] < 1.7e308
    question = b"good\n" if task == "rate" else b"good\tfine\n"
    (answer,) = inside("decode", "-m", tmp_path / "m", stdin=question).lines
    assert -1.7e308 <= float(answer) <= 1.7e308


@pytest.mark.parametrize(
    ("number", "said"),
    [
        ("nan", "'nan' is not a number"),
        ("-inf", "'-inf' is not a number"),
        ("1e999", "'1e999' is not a number of a size that can be computed with"),
        ("1,5", "'1,5' is not a number: write it with a decimal point"),
        ("score", "'score' is not a number; a header? --columns takes its names"),
    ],
)
def test_what_is_no_number_is_named_with_its_line(tmp_path, number, said):
    rows = [("text a", number), *((f"text {i}", str(i)) for i in range(20))]
    refused = finetune(write(tmp_path / "t.tsv", rows), "rate", tmp_path / "m", status=3)
    assert f"t.tsv:1: {said}\n" in refused.said
    pairs = f"1\t2\n{number}\t3\n2\t4\n".encode()
    scored = inside("score", "--pearson", stdin=pairs, status=3).said
    assert f"standard input:2: {said.split(';')[0]}\n" in scored


def test_correlations_of_the_largest_numbers():
    with warnings.catch_warnings():
        warnings.simplefilter("error", RuntimeWarning)
        done = inside("score", "--pearson", "--spearman", stdin=b"1e308\t-1e308\n-1e308\t1e308\n")
    assert done.lines == ["PEARSON\t-1.000000", "SPEARMAN\t-1.000000"]
