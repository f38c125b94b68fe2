"""SQuAD's exact match and F1 against the official script's rules and its figures."""

from __future__ import annotations

import collections
import csv
import json
import re
import string

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from attn_cli.config.scoring import MetricOptions, ScoreOptions
from attn_cli.metrics.base import Segment
from attn_cli.metrics.scoring import score_corpus
from attn_cli.metrics.segments import SegmentFiles
from attn_cli.metrics.squad import Squad, read_squad


def normalized(text):
    """`normalize_answer` step by step, as the script documents it."""
    kept = "".join(char for char in text.lower() if char not in set(string.punctuation))
    return " ".join(re.sub(r"\b(a|an|the)\b", " ", kept).split())


def official(prediction, golds):
    golds = [gold for gold in golds if normalized(gold)] or [""]
    exact = max(int(normalized(gold) == normalized(prediction)) for gold in golds)
    return exact, max(
        official_f1(normalized(g).split(), normalized(prediction).split()) for g in golds
    )


def official_f1(gold, predicted):
    same = sum((collections.Counter(gold) & collections.Counter(predicted)).values())
    if not gold or not predicted:
        return int(gold == predicted)
    if same == 0:
        return 0
    precision, recall = same / len(predicted), same / len(gold)
    return 2 * precision * recall / (precision + recall)


answer = st.lists(
    st.sampled_from(["The", "a", "cat", "Cat.", "anthem", "U.S.", "«ёж»", "10", ",", "the-end"]),
    max_size=5,
).map("  ".join)


@settings(deadline=None, max_examples=100)
@given(answer, st.lists(answer, min_size=1, max_size=3))
def test_one_question_as_the_official_script(prediction, golds):
    exact, f1 = official(prediction, golds)
    found = Squad(MetricOptions()).line(Segment(prediction, tuple(golds)))
    assert found == pytest.approx([100 * exact, 100 * f1])


def test_questions_without_an_answer_are_split_off():
    segments = [Segment("", ("",)), Segment("x", ("",)), Segment("the x y", ("X", "z"))]
    exact, f1 = score_corpus(ScoreOptions(squad=True), segments)
    assert (exact.value, f1.value) == pytest.approx((100 / 3, 100 * (1 + 2 / 3) / 3))
    assert exact.details == pytest.approx(
        {
            "total": 3,
            "HasAns_exact": 0.0,
            "HasAns_f1": 200 / 3,
            "HasAns_total": 1,
            "NoAns_exact": 50.0,
            "NoAns_f1": 50.0,
            "NoAns_total": 2,
        }
    )


@pytest.mark.parametrize("system", ["bert_ensemble", "logistic_baseline", "match_lstm_ensemble"])
def test_leaderboard_systems_as_the_official_script(data_dir, system):
    folder = data_dir / "metrics" / "squad_predictions"
    with (folder / "expected_official_script.tsv").open(encoding="utf-8") as file:
        (row,) = (r for r in csv.DictReader(file, delimiter="\t") if r["system"] == system)
    said: list[str] = []
    reference = str(data_dir / "xquad" / "xquad.en.json")
    files = SegmentFiles(str(folder / f"{system}.json"), (reference,))
    segments = read_squad(files, ["squad"], said.append)
    figures = [f"{s.value:.4f}" for s in score_corpus(ScoreOptions(squad=True), segments)]
    assert figures == [row["exact_match"], row["f1"]] and len(segments) == int(row["questions"])
    missing = int(row["questions"]) - int(row["predictions_present"])
    assert [f"{missing} of 864 questions" in line for line in said] == [True] * (missing > 0)


def test_real_questions_without_an_answer(data_dir):
    path = data_dir / "squad_small" / "dev-v2.0.json"
    articles = json.loads(path.read_text(encoding="utf-8"))["data"]
    questions = [q for a in articles for p in a["paragraphs"] for q in p["qas"]]
    segments = [
        Segment("France" if i % 2 else "", tuple(a["text"] for a in q["answers"]) or ("",))
        for i, q in enumerate(questions)
    ]
    rows = [official(s.hypothesis, s.references) for s in segments]
    exact, f1 = score_corpus(ScoreOptions(squad=True), segments)
    assert exact.value == pytest.approx(100 * sum(row[0] for row in rows) / len(rows))
    assert f1.value == pytest.approx(100 * sum(row[1] for row in rows) / len(rows))
    assert (exact.details["HasAns_total"], exact.details["NoAns_total"]) == (311, 355)
