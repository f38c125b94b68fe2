"""`convert --dev`: the quality of a model before and after, as `decode | score` finds it."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from drawn_models import (
    write_detector,
    write_language_model,
    write_reader,
    write_tagger,
    write_translator,
)
from program import inside

from attn_cli.models.directory import WEIGHTS
from attn_cli.models.storage import load_tensors, save_tensors
from attn_cli.tokenizers.tokenizer_files import load_tokenizer

LINES = ["the cat sat", "", "a dog ran to the mat", "a cat", "the mat ran", "кот"]
STACK = {"d_ff": 16, "n_heads": 2, "n_layers": 1}


def figures(said: str, model: Path) -> dict[str, float]:
    """The figures that are said of a model, by name."""
    (line,) = re.findall(rf": {re.escape(str(model))}: (.*)", said)
    return {name: float(value) for name, value in re.findall(r"(\S+) ([-0-9.]+)", line)}


def test_the_bleu_of_a_translator(reversal_model, tmp_path):
    lines = ["banu kera", "livo", "", "mora banu kenu", "kevo livo mora"]
    dev = tmp_path / "dev.tsv"
    rows = [f"{line}\t{' '.join(reversed(line.split()))}\n" for line in lines]
    dev.write_text("".join(rows))
    target = tmp_path / "half"
    run = inside("convert", reversal_model, "--precision", "bfloat16", "--dev", dev, "-o", target)
    assert run.lines == [str(target)]
    for model in (reversal_model, target):
        decoded = inside("decode", "-m", model, stdin=dev.read_bytes()).out
        scored = inside("score", "--bleu", "--chrf", stdin=decoded).lines
        expected = {name: float(value) for name, value in (row.split("\t") for row in scored)}
        assert figures(run.said, model) == pytest.approx(expected, abs=0.01)
    assert figures(run.said, target)["chrF2"] > 50
    assert re.search(rf"\d of 5 lines are answered otherwise than by {reversal_model}", run.said)


def test_answers_that_change_are_counted(tmp_path):
    plain = write_reader(tmp_path / "bert", "bert", **STACK)
    turned = tmp_path / "turned"
    turned.mkdir()
    for file in plain.iterdir():
        (turned / file.name).write_bytes(file.read_bytes())
    tensors, facts = load_tensors(turned / WEIGHTS)
    for name in ("heads.mood.output.weight", "heads.mood.output.bias"):
        tensors[name] = -3 * tensors[name]  # so does the mean of both: the labels change places
    save_tensors(turned / WEIGHTS, tensors, facts)
    dev = tmp_path / "dev.tsv"
    answers = inside("decode", "-m", plain, stdin="".join(f"{x}\n" for x in LINES).encode()).lines
    dev.write_text("".join(f"{x}\t{y}\n" for x, y in zip(LINES, answers, strict=True)))
    run = inside("convert", plain, turned, "--dev", dev, "-o", tmp_path / "mean")
    assert figures(run.said, plain)["ACCURACY"] == 1
    assert figures(run.said, turned)["ACCURACY"] == figures(run.said, tmp_path / "mean")["ACCURACY"]
    assert figures(run.said, turned)["ACCURACY"] == 0
    n_lines, n_texts = len(LINES), len(LINES) - 1
    assert f"{n_texts} of {n_lines} lines are answered otherwise than by {plain}" in run.said


def test_the_perplexity_of_a_language_model(tmp_path):
    plain = write_language_model(tmp_path / "gpt")
    dev = tmp_path / "dev.txt"
    dev.write_text("".join(f"{line}\n" for line in LINES))
    target = tmp_path / "int8"
    run = inside("convert", plain, "--precision", "int8", "--dev", dev, "-o", target)
    for model in (plain, target):
        (row,) = inside("score", "--ppl", "-m", model, stdin=dev.read_bytes()).lines
        assert figures(run.said, model)["PPL"] == pytest.approx(float(row.split("\t")[1]), rel=1e-3)


def test_tags_and_what_has_no_references(tmp_path):
    tokenizer = load_tokenizer(str(write_language_model(tmp_path / "gpt")))
    tagger = write_tagger(tmp_path / "tagger", tokenizer)
    dev = tmp_path / "dev.conll"
    dev.write_text("the\tX\ncat\tY\n\na\tX\ndog\tX\nran\tY\n")
    half = ("--precision", "float16")
    run = inside("convert", tagger, *half, "--dev", dev, "-o", tmp_path / "a")
    decoded = inside("decode", "-m", tagger, stdin=dev.read_bytes()).out
    options = ("--accuracy", "--tags", "--columns", "2,3")
    (row,) = inside("score", *options, stdin=decoded).lines
    assert figures(run.said, tagger)["ACCURACY"] == pytest.approx(float(row.split("\t")[1]), 1e-3)
    bare = tmp_path / "bare.txt"
    bare.write_text("the cat\na dog\n")
    detector = write_detector(tmp_path / "detector")
    run = inside("convert", detector, *half, "--dev", bare, "-o", tmp_path / "b")
    assert "no references, no figure" in run.said and "of 2 lines are answered" in run.said


def test_there_must_be_something_to_compare(tmp_path):
    plain = write_translator(tmp_path / "model")
    dev = tmp_path / "dev.tsv"
    dev.write_text("a cat\ta dog\n")
    target = ("-o", tmp_path / "n")

    def refused(*options: object, status: int = 2) -> str:
        return inside("convert", *options, *target, status=status).said

    theirs = ("--to", "huggingface")
    assert "--dev compares models of attn before and after" in refused(plain, "--dev", dev)
    assert "--dev compares models of attn" in refused(plain, *theirs, "--dev", dev)
    missing = ("--precision", "float16", "--dev", tmp_path / "none")
    assert "none: no such file; it is read more than once" in refused(plain, *missing)
    assert not (tmp_path / "n").exists()
    bare = write_reader(tmp_path / "bert", "bert", **STACK)
    config = json.loads((bare / "config.json").read_text())
    config |= {"task": "fill", "heads": []}
    (bare / "config.json").write_text(json.dumps(config))
    tensors, _ = load_tensors(bare / WEIGHTS)
    kept = {name: weight for name, weight in tensors.items() if "heads" not in name}
    save_tensors(bare / WEIGHTS, kept, {})
    half = ("--precision", "float16", "--dev", dev)
    assert "answers nothing by itself: nothing to compare" in refused(bare, *half, status=3)
    assert not (tmp_path / "n").exists()
