"""`decode --engine ctranslate2` writes what attn's own search writes."""

from __future__ import annotations

import json
import sys
import tempfile

import pytest
from drawn_models import write_translator
from program import attn, inside, write_reversal

ctranslate2 = pytest.importorskip("ctranslate2")
THEIRS = ("--engine", "ctranslate2")


@pytest.fixture(scope="module")
def lines(tmp_path_factory) -> bytes:
    pairs = write_reversal(tmp_path_factory.mktemp("new") / "new.tsv", 200, seed=8).read_text()
    return "".join(f"{pair.split(chr(9))[0]}\n" for pair in pairs.splitlines()).encode()


@pytest.mark.parametrize(
    "options",
    [
        ("--greedy",),
        ("--beam", 4, "--stopping", "count"),
        ("--beam", 4),
        ("--beam", 3, "--stopping", "count", "--length-penalty", 0.4),
        ("--beam", 4, "--stopping", "count", "--batch-tokens", 80),
        ("--beam", 4, "--stopping", "count", "--align"),
    ],
    ids=str,
)
def test_its_lines_are_those_of_our_search(reversal_model, lines, options):
    ours = inside("decode", "-m", reversal_model, *options, stdin=lines).lines
    theirs = inside("decode", "-m", reversal_model, *options, *THEIRS, stdin=lines).lines
    assert len(ours) == len(theirs) == 200
    assert sum(a == b for a, b in zip(ours, theirs, strict=True)) >= 195


def test_its_lists_have_our_outputs_and_scores(reversal_model, lines):
    options = ("--beam", 4, "--n-best", 3, "--stopping", "count", "--format", "json")
    ours = inside("decode", "-m", reversal_model, *options, stdin=lines).lines
    theirs = inside("decode", "-m", reversal_model, *options, *THEIRS, stdin=lines).lines
    same = 0
    for a, b in zip(map(json.loads, ours), map(json.loads, theirs), strict=True):
        assert len(b["hypotheses"]) == 3
        if [x["text"] for x in a["hypotheses"]] == [x["text"] for x in b["hypotheses"]]:
            same += 1
            for mine, other in zip(a["hypotheses"], b["hypotheses"], strict=True):
                assert other["log_prob"] == pytest.approx(mine["log_prob"], abs=1e-4)
                assert other["score"] == pytest.approx(mine["score"], rel=0.05, abs=0.05)
    assert same >= 175


def test_an_output_at_its_limit_is_that_of_our_search(tmp_path):
    place = write_translator(tmp_path / "m")  # drawn at random: it ends nothing in time
    lines = b"the cat\n\na dog sat on the mat\n"
    options = ("--beam", 3, "--stopping", "count", "--max-len", 4, "--scores")
    ours = inside("decode", "-m", place, *options, stdin=lines)
    theirs = inside("decode", "-m", place, *options, *THEIRS, stdin=lines)
    assert theirs.lines == ours.lines and theirs.lines[1].startswith("\t")


def test_what_is_longer_than_its_table_is_translated_by_our_search(tmp_path):
    place = write_translator(tmp_path / "m", positions="sinusoidal")
    lines = f"{'the cat ' * 1200}\nthe cat\n".encode()
    options = ("--greedy", "--max-input", 5000, "--max-len", 3, "--quiet")
    ours = inside("decode", "-m", place, *options, stdin=lines)
    assert inside("decode", "-m", place, *options, *THEIRS, stdin=lines).lines == ours.lines


@pytest.mark.parametrize("precision", ["int8", "bf16"])
def test_its_arithmetic_is_what_was_asked_for(reversal_model, lines, precision):
    usual = inside("decode", "-m", reversal_model, "--greedy", stdin=lines).lines
    options = ("--greedy", *THEIRS, "--precision", precision)
    if precision == "bf16" and "bfloat16" not in ctranslate2.get_supported_compute_types("cpu"):
        run = inside("decode", "-m", reversal_model, *options, stdin=lines, status=2)
        assert "--engine ctranslate2 on cpu" in run.said
        return
    found = inside("decode", "-m", reversal_model, *options, stdin=lines).lines
    assert sum(a == b for a, b in zip(usual, found, strict=True)) >= 180


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (("--sample",), "--sample: attn's own search does it alone; leave it out, or --engine"),
        (("--prefix",), "--prefix: attn's own search does it alone"),
        (
            ("--diversity", 1, "--no-repeat-ngram", 2),
            "--no-repeat-ngram, --diversity: attn's own search does them",
        ),
        (("--shortlist",), "--shortlist"),
    ],
)
def test_what_stays_with_our_search_is_said(reversal_model, options, told):
    run = inside("decode", "-m", reversal_model, *options, *THEIRS, stdin=b"", status=2)
    assert told in run.said and run.lines == []


def test_several_models_and_other_kinds_are_refused(reversal_model, tmp_path):
    both = f"{reversal_model},{reversal_model}"
    assert "has no ensembles" in inside("decode", "-m", both, *THEIRS, stdin=b"", status=2).said
    place = write_translator(tmp_path / "rnn", "recurrent")
    run = inside("decode", "-m", place, *THEIRS, stdin=b"", status=3)
    assert "CTranslate2 holds transformers that translate one token after another" in run.said


def test_without_the_library_it_says_what_to_install(reversal_model, monkeypatch):
    monkeypatch.setitem(sys.modules, "ctranslate2", None)
    run = inside("decode", "-m", reversal_model, *THEIRS, stdin=b"a\n", status=2)
    assert "--engine ctranslate2 needs: pip install '.[fast]'" in run.said


def test_nothing_of_the_conversion_is_left(reversal_model, lines, tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    inside("decode", "-m", reversal_model, *THEIRS, stdin=lines)
    assert list(tmp_path.iterdir()) == []


def test_it_answers_line_by_line_and_a_whole_file(reversal_model, lines):
    run = attn("decode", "-m", reversal_model, *THEIRS, "--threads", 2, stdin=lines)
    alone = attn("decode", "-m", reversal_model, *THEIRS, "--buffer", 1, stdin=lines)
    assert len(run.lines) == 200
    assert sum(a == b for a, b in zip(run.lines, alone.lines, strict=True)) >= 195
