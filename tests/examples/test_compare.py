"""The script that compares objectives of pre-training: its table, and the programs behind it."""

from __future__ import annotations

import importlib.util
import json
import os
import random
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parents[2] / "examples" / "pretraining" / "compare.py"
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(SCRIPT.parents[2])}
NAMES = ("anna", "bert", "carl", "dora", "emil", "fritz")


@pytest.fixture(scope="module")
def compare():
    spec = importlib.util.spec_from_file_location("pretraining_compare", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


def test_the_table_has_means_over_seeds(compare):
    results = [
        compare.Result("scratch", 1, "a", 0.5, 0, 0.0),
        compare.Result("rtd", 1, "a", 0.75, 100, 59.0),
        compare.Result("rtd", 1, "b", 0.5, 100, 59.0),
        compare.Result("rtd", 2, "a", 0.65, 120, 61.0),
    ]
    table = compare.as_markdown(results, ["scratch", "mlm", "rtd"], ["a", "b"])
    assert table.splitlines() == [
        "| start | seeds | steps | seconds | a | b |",
        "| --- | ---: | ---: | ---: | ---: | ---: |",
        "| scratch | 1 | 0 | 0 | 0.5000 |  |",
        "| rtd | 2 | 110 | 60 | 0.7000 ± 0.0707 | 0.5000 |",
    ]


def write_data(folder):
    generator = random.Random(3)

    def sentence():
        return f"{generator.choice(NAMES)} sees {generator.choice(NAMES)}"

    stories = ["\n".join(sentence() for _ in range(4)) for _ in range(120)]
    (folder / "text.txt").write_text("\n\n".join(stories) + "\n")
    for part in ("train", "dev"):
        labelled = [f"{text}\t{text[0]}\n" for text in (sentence() for _ in range(30))]
        (folder / f"{part}.tsv").write_text("text\tlabel\n" + "".join(labelled))
        tagged = ["".join(f"{w}\tN\t{w[0]}\n" for w in sentence().split()) for _ in range(20)]
        (folder / f"{part}.conll").write_text("\n".join(tagged))


@pytest.mark.slow
def test_objectives_are_compared_on_tasks(tmp_path):
    write_data(tmp_path)
    small = "--d-model 16 --n-heads 1 --n-layers 1 --threads 1"
    tasks = [
        *("--task", "first", "classify", "train.tsv", "dev.tsv", "text,label"),
        *("--task", "tags", "tag", "train.conll", "dev.conll", "1,3"),
    ]
    given = ["out", "--text", "text.txt", "--seeds", "1", "--max-time", "1s", "--size", "tiny"]
    given += ["--vocab-size", "60", "--objectives", "rtd", "--pretrain", small, *tasks]
    given += ["--also", "light", "--objective rtd --detection-weight 5"]
    given += ["--finetune", "--max-steps 2 --threads 1"]

    def run(status=0):
        command = [sys.executable, str(SCRIPT), *given]
        done = subprocess.run(
            command, cwd=tmp_path, env=ENVIRONMENT, capture_output=True, text=True, timeout=600
        )
        assert done.returncode == status, done.stderr + (tmp_path / "out" / "log").read_text()
        return done

    table = run().stdout.splitlines()
    assert table[0] == "| start | seeds | steps | seconds | first | tags |"
    rows = [line.strip("| ").split(" | ") for line in table[2:]]
    assert [row[0] for row in rows] == ["scratch", "rtd", "light"]
    assert [row[2] == "0" for row in rows] == [True, False, False]
    for row in rows:
        assert all(0 <= float(figure) <= 1 for figure in row[4:])
    vocabularies = {
        (tmp_path / "out" / name / "vocab.txt").read_bytes()
        for name in ("tokenizer", "rtd-1", "light-1", "first-scratch-1", "tags-rtd-1")
    }
    assert len(vocabularies) == 1
    saved = json.loads((tmp_path / "out" / "light-1" / "config.json").read_text())["options"]
    assert saved["masking"]["detection_weight"] == 5
    assert len((tmp_path / "out" / "results.tsv").read_text().splitlines()) == 6
    assert run().stdout.splitlines() == table  # nothing is trained again
    (tmp_path / "dev.tsv").write_text("text\tlabel\n")
    (tmp_path / "out" / "first-scratch-1" / "config.json").unlink()
    failed = run(status=1)
    assert "compare: attn finetune train.tsv" in failed.stderr
