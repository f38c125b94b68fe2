"""Accuracy, F1 and MCC against scikit-learn, on random labels."""

from __future__ import annotations

import tracemalloc
import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as sk

from attn_cli.config.scoring import MetricOptions, ScoreOptions
from attn_cli.metrics import METRICS
from attn_cli.metrics.base import Segment
from attn_cli.metrics.scoring import score_corpus
from attn_cli.metrics.significance import Resampling

labels = st.sampled_from(["yes", "no", "New York, NY", "très bien", ""])
pairs = st.lists(st.tuples(labels, labels), min_size=1, max_size=25)
label_set = st.sets(st.sampled_from("abcde"), max_size=4)


def figures(segments, **options):
    return {s.name: s.value for s in score_corpus(ScoreOptions(**options), segments)}


def quietly(function, *arguments, **options):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return float(function(*arguments, **options))


@settings(deadline=None, max_examples=80)
@given(pairs)
def test_labels_as_scikit_learn(lines):
    predicted, gold = zip(*lines, strict=True)
    found = figures([Segment(p, (g,)) for p, g in lines], accuracy=True, f1=True, mcc=True)
    expected = {
        "ACCURACY": quietly(sk.accuracy_score, gold, predicted),
        "MACRO_F1": quietly(sk.f1_score, gold, predicted, average="macro"),
        "MICRO_F1": quietly(sk.f1_score, gold, predicted, average="micro"),
        "MCC": quietly(sk.matthews_corrcoef, gold, predicted),
    }
    assert found == pytest.approx(expected)


@settings(deadline=None, max_examples=60)
@given(st.lists(st.tuples(label_set, label_set), min_size=1, max_size=15))
def test_label_sets_as_scikit_learn(lines):
    segments = [Segment(", ".join(p), (",".join(sorted(g)),)) for p, g in lines]
    found = figures(segments, multilabel_f1=True)
    names = sorted(set().union(*(side for line in lines for side in line)))
    # One more column, or scikit-learn takes a single class for a yes-no question.
    columns = [*names, "never"]
    predicted, gold = (
        np.array([[name in line[k] for name in columns] for line in lines]) for k in (0, 1)
    )
    for kind in ("macro", "micro"):
        expected = 0.0
        if names:
            chosen = {"labels": range(len(names)), "average": kind, "zero_division": 0}
            expected = quietly(sk.f1_score, gold, predicted, **chosen)
        assert found[f"{kind.upper()}_F1"] == pytest.approx(expected)


@settings(deadline=None, max_examples=30)
@given(pairs)
def test_the_table_of_classes_as_scikit_learn(lines):
    predicted, gold = zip(*lines, strict=True)
    segments = [Segment(p, (g,)) for p, g in lines]
    macro, micro = score_corpus(ScoreOptions(f1=True), segments)
    names = sorted({*predicted, *gold})
    columns = sk.precision_recall_fscore_support(gold, predicted, labels=names, zero_division=0)
    table = macro.details["classes"]
    assert list(table) == names and "classes" not in micro.details
    for name, *row in zip(names, *columns, strict=True):
        assert list(table[name].values()) == pytest.approx([float(cell) for cell in row])


def test_tags_are_counted_one_by_one_and_an_unanswered_sentence_is_wrong():
    segments = [Segment("A B B", ("A B C",)), Segment("", ("A O",)), Segment("C", ("C",))]
    assert figures(segments, accuracy=True, tags=True) == {"ACCURACY": 3 / 6}
    assert figures(segments, accuracy=True) == {"ACCURACY": 1 / 3}
    assert figures(segments, accuracy=True, span_f1=True, scheme="bio")["ACCURACY"] == 3 / 6


def test_figures_of_a_resample_are_those_of_its_lines():
    """Each figure of weighted lines is scikit-learn's for a corpus that repeats them."""
    generator = np.random.default_rng(4)
    predicted, gold = (generator.choice(list("abc"), size=40).tolist() for _ in range(2))
    weights = generator.integers(0, 4, size=40)
    repeated = np.repeat(np.arange(40), weights)
    again = [[side[i] for i in repeated] for side in (gold, predicted)]
    functions = {
        "accuracy": lambda: [sk.accuracy_score(*again)],
        "f1": lambda: [sk.f1_score(*again, average=kind) for kind in ("macro", "micro")],
        "mcc": lambda: [sk.matthews_corrcoef(*again)],
    }
    for name, function in functions.items():
        tally = METRICS[name](MetricOptions()).tally(keep=True)
        for window in (slice(0, 25), slice(25, None)):
            tally.add([predicted[window]], [(g,) for g in gold[window]])
        assert list(tally.drawn(weights[None], 0)[0]) == pytest.approx(function())


def test_a_class_that_only_the_baseline_predicts_changes_nothing():
    segments = [Segment("a", ("a",), "z"), Segment("b", ("a",), "a")] * 4
    scores = METRICS["f1"](MetricOptions()).corpus(segments, Resampling(seed=1), compare=True)
    golds, ours, theirs = ["a"] * 8, ["a", "b"] * 4, ["z", "a"] * 4
    macro = [sk.f1_score(golds, side, average="macro") for side in (ours, theirs)]
    assert [scores[0].value, scores[0].comparison.baseline] == pytest.approx(macro)
    assert set(scores[0].details["classes"]) == {"a", "b"}
    assert scores[0].comparison.p_randomization == 1.0  # the same counts, of other classes


def test_many_classes_take_little_memory():
    """A table of lines by classes would take 4,000 x 8,000 x 3 numbers."""
    segments = [Segment(f"answer {i}", (f"gold {i}",)) for i in range(4_000)]
    tracemalloc.start()
    found = figures(segments, f1=True, accuracy=True, mcc=True)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert found == {"ACCURACY": 0.0, "MACRO_F1": 0.0, "MICRO_F1": 0.0, "MCC": 0.0}
    assert peak < 16 << 20
