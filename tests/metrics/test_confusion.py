"""`attn score --confusion`: counts against scikit-learn's, and the picture of them."""

from __future__ import annotations

import random
import re
import sys
from pathlib import Path

import numpy as np
import pytest
from program import inside

from attn_cli.metrics.base import Segment
from attn_cli.metrics.classification import NO_TAG
from attn_cli.metrics.confusion import NONE, Confusion
from attn_cli.viz.confusion import draw_confusion

MAGIC = {"png": b"\x89PNG\r\n\x1a\n", "svg": b"<?xml", "pdf": b"%PDF-"}
LABELS = "3\t3\n10\t3\n\t3\n10\t10\nno\t10\n"


def counted(pairs: list[tuple[str, str]], *, by_word: bool = False) -> Confusion:
    confusion = Confusion(by_word=by_word)
    segments = [Segment(given, (gold,)) for gold, given in pairs]
    assert list(confusion.watch(segments)) == segments
    return confusion


def test_the_counts_are_those_of_scikit_learn():
    metrics = pytest.importorskip("sklearn.metrics")
    generator = random.Random(4)
    pairs = [(generator.choice("abcd"), generator.choice("abce")) for _ in range(300)]
    matrix = counted(pairs).matrix(60)
    assert matrix.labels == list("abcde")
    wanted = metrics.confusion_matrix(*zip(*pairs, strict=True), labels=matrix.labels)
    np.testing.assert_array_equal(matrix.counts, wanted)


def test_tags_are_counted_word_by_word_and_unanswered_ones_have_a_row():
    confusion = counted([("O B-A", "O O"), ("B-A O", ""), ("O", NO_TAG)], by_word=True)
    matrix = confusion.matrix(60)
    places = {name: place for place, name in enumerate(matrix.labels)}
    assert set(places) == {"O", "B-A", NONE}
    assert matrix.counts[places["B-A"]][places["O"]] == 1
    assert matrix.counts[places["O"]][places[NONE]] == 2
    assert sum(map(sum, matrix.counts)) == 5


def test_numbers_stand_by_size_and_rare_labels_together():
    pairs = [("10", "9")] * 3 + [("9", "9")] * 5 + [("b", "a"), ("c", "d"), ("-2.5", "10")]
    assert counted(pairs).matrix(60).labels == ["-2.5", "9", "10", "a", "b", "c", "d"]
    few = counted(pairs).matrix(3)
    assert few.labels == ["9", "10", "5 others"]
    assert few.counts == [[5, 0, 0], [3, 0, 0], [0, 1, 2]]


@pytest.mark.parametrize("kind", ["png", "svg", "pdf"])
def test_a_picture_beside_the_usual_figures(tmp_path, kind):
    pytest.importorskip("matplotlib")
    out = tmp_path / f"m.{kind}"
    run = inside("score", "--confusion", out, stdin=LABELS.encode())
    assert [line.split("\t")[0] for line in run.lines] == ["ACCURACY", "MACRO_F1", "MICRO_F1"]
    assert run.lines == inside("score", "--accuracy", "--f1", stdin=LABELS.encode()).lines
    raw = out.read_bytes()
    assert raw.startswith(MAGIC[kind])
    inside("score", "--confusion", out, stdin=LABELS.encode())
    assert out.read_bytes() == raw


def test_labels_are_text_and_counts_stand_in_their_cells(tmp_path: Path):
    pytest.importorskip("matplotlib")
    out = tmp_path / "m.svg"
    draw_confusion(str(out), "t", ["$a_1$", "<b>"], [[12345, 7], [0, 10**7]])
    drawn = re.findall(r"<!-- (.*?) -->", out.read_text())
    assert {"$a_1$", "&lt;b&gt;", "12k", "7", "10M", "predicted"} <= set(drawn)
    assert "0" not in [text for text in drawn if text not in ("0.0",)]


@pytest.mark.parametrize(
    ("options", "status", "cause"),
    [
        (("--bleu",), 2, "--confusion draws labels"),
        (("--accuracy", "--per-line"), 2, "--confusion draws labels"),
        (("--ppl", "-m", "m"), 2, "second run"),
    ],
)
def test_what_has_no_matrix_is_refused(tmp_path, options, status, cause):
    out = tmp_path / "m.png"
    run = inside("score", "--confusion", out, *options, stdin=LABELS.encode(), status=status)
    assert cause in run.said and not out.exists()


def test_what_can_not_be_drawn_is_said_before_lines_are_read(tmp_path, monkeypatch):
    named = tmp_path / "m.jpg"
    assert ".png, .svg, .pdf" in inside("score", "--confusion", named, status=2).said
    lost = inside("score", "--confusion", tmp_path / "none" / "m.png", status=1)
    assert "no such directory" in lost.said
    for name in ("matplotlib", "matplotlib.figure"):
        monkeypatch.setitem(sys.modules, name, None)
    run = inside("score", "--confusion", tmp_path / "m.png", stdin=LABELS.encode(), status=2)
    assert "pip install '.[plot]'" in run.said and run.out == b""


def test_no_lines_give_no_picture(tmp_path):
    pytest.importorskip("matplotlib")
    run = inside("score", "--confusion", tmp_path / "m.png", stdin=b"\n", status=3)
    assert "no lines, no score" in run.said and not (tmp_path / "m.png").exists()
