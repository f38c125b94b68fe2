"""JSON lines with lists, as summaries are published, in every command that reads columns."""

from __future__ import annotations

import json

import pytest
from program import TINY, inside

ENTRIES = [
    {"source": ["banu kera.", "limo"], "target": ["limo kera banu", "ba\tnu\nra"], "id": 1},
    {"target": ["x"], "source": ["monu"]},
    {"source": "kevo lira", "target": "lira kevo"},
]
SOURCES = ["banu kera. limo", "monu", "kevo lira"]
TARGETS = [["limo kera banu", "ba nu ra"], ["x"], ["lira kevo"]]


def as_lines(entries) -> bytes:
    return "".join(json.dumps(entry) + "\n" for entry in entries).encode()


@pytest.fixture(scope="module")
def model(reversal_model):
    return ("-m", reversal_model, "--threads", 1)


def test_lists_are_joined_to_be_decoded_and_references_pass_through_apart(model):
    plain = inside("decode", *model, stdin="".join(f"{text}\n" for text in SOURCES).encode())
    picked = ("--columns", "source,target.each")
    run = inside("decode", *model, *picked, stdin=as_lines(ENTRIES))
    rows = [line.split("\t") for line in run.lines]
    assert [row[0] for row in rows] == plain.lines
    assert [row[1:] for row in rows] == TARGETS
    scores = inside("score", "--exact-match", stdin=run.out)
    right = sum(row[0] in row[1:] for row in rows)
    assert float(scores.lines[0].split("\t")[1]) == pytest.approx(right / 3, abs=1e-4)


def test_a_line_that_lacks_a_key_or_is_no_json_stays_empty(model):
    stdin = as_lines(ENTRIES[:1]) + b'{"target": ["a"]}\nnone\n\n' + as_lines(ENTRIES[1:])
    run = inside("decode", *model, "--columns", "source", stdin=stdin, status=3)
    assert [bool(line) for line in run.lines] == [True, False, False, False, True, True]
    assert "standard input:2: no key 'source' among target" in run.said
    assert "standard input:3: no JSON" in run.said


def test_files_of_json_lines_need_the_names_of_keys(model, tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_bytes(as_lines(ENTRIES))
    for command in (("decode", *model, path), ("score", "--log-prob", *model, path)):
        assert "--columns picks keys" in inside(*command, status=2).said


def test_the_first_sentence_is_a_summary_to_score():
    """Of several references the best counts."""
    entries = [
        {"source": ["a b c d", "x"], "target": ["q", "a b c d"]},
        {"source": ["a b", "y"], "target": ["c d"]},
    ]
    options = ("--columns", "source.0,target.each", "--rouge")
    run = inside("score", *options, stdin=as_lines(entries))
    assert run.lines[0] == "ROUGE-1\t0.500000"


def test_scores_by_a_model_are_those_of_the_same_pairs_as_columns(model):
    pairs = [(text, targets[0]) for text, targets in zip(SOURCES, TARGETS, strict=True)]
    stdin = "".join("\t".join(pair) + "\n" for pair in pairs).encode()
    plain = inside("score", "--log-prob", *model, stdin=stdin)
    entries = [{"source": src, "target": [tgt, "other"]} for src, tgt in pairs]
    picked = ("--columns", "source,target.0")
    assert inside("score", "--log-prob", *model, *picked, stdin=as_lines(entries)).out == plain.out


def test_a_tokenizer_reads_and_learns_keys(tmp_path):
    corpus = tmp_path / "a.jsonl"
    corpus.write_bytes(as_lines(ENTRIES))
    vocabulary = tmp_path / "words.txt"
    train = ("tokenize", "train", corpus, "-o", vocabulary, "--type", "wordpiece")
    inside(*train, "--columns", "source", "--vocab-size", 60, "--threads", 1)
    pieces = vocabulary.read_text().split("\n")
    assert "b" in pieces and "id" not in pieces and '"' not in pieces
    encode = ("tokenize", "encode", corpus, "-t", vocabulary, "--columns", "source,target.each")
    rows = [line.split("\t") for line in inside(*encode).lines]
    assert [row[1:] for row in rows] == TARGETS
    assert rows[1][0].replace(" ##", "") == "monu"


def test_training_on_lists_of_targets_is_refused_and_on_the_first_is_not(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_bytes(as_lines([{"source": ["a b", "c"], "target": ["c d", "e"]}] * 4))
    train = ("train-mt", path, "-o", tmp_path / "model", *TINY, "--dry-run", "--type", "char")
    refused = inside(*train, "--columns", "source,target.each", status=3)
    assert f"{path}:1: 3 texts, but a pair has 2 (of a list, target.0 is the first)" in refused.said
    assert "dry run" in inside(*train, "--columns", "source,target.0").said
