"""Span F1 against seqeval, on random tags."""

from __future__ import annotations

import warnings

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from seqeval.metrics import f1_score, precision_score, recall_score
from seqeval.metrics.sequence_labeling import get_entities
from seqeval.scheme import IOB2, IOBES

from attn_cli.config.scoring import ScoreOptions
from attn_cli.metrics.base import Segment
from attn_cli.metrics.scoring import score_corpus
from attn_cli.metrics.spans import bioes_spans, lenient_spans


def tagged(prefixes):
    tag = st.sampled_from(["O", *(f"{p}-{t}" for p in prefixes for t in ("PER", "work-of-art"))])
    pair = st.tuples(tag, tag)
    return st.lists(st.lists(pair, min_size=1, max_size=9), min_size=1, max_size=8)


def figures(sentences, scheme):
    segments = [
        Segment(" ".join(p for p, _ in pairs), (" ".join(g for _, g in pairs),))
        for pairs in sentences
    ]
    scores = score_corpus(ScoreOptions(span_f1=True, scheme=scheme), segments)
    return [score.value for score in scores]


def seqeval(sentences, **options):
    gold = [[g for _, g in pairs] for pairs in sentences]
    predicted = [[p for p, _ in pairs] for pairs in sentences]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return [
            float(function(gold, predicted, zero_division=0, **options))
            for function in (f1_score, precision_score, recall_score)
        ]


@settings(deadline=None, max_examples=60)
@given(tagged("BI"))
def test_strict_bio_as_seqeval(sentences):
    expected = seqeval(sentences, mode="strict", scheme=IOB2)
    assert figures(sentences, "bio") == pytest.approx(expected)
    assert figures(sentences, "auto") == pytest.approx(expected)


@settings(deadline=None, max_examples=60)
@given(tagged("BIES"))
def test_strict_bioes_as_seqeval(sentences):
    expected = seqeval(sentences, mode="strict", scheme=IOBES)
    assert figures(sentences, "bioes") == pytest.approx(expected)


@settings(deadline=None, max_examples=60)
@given(tagged("BIES"))
def test_lenient_as_seqevals_default(sentences):
    assert figures(sentences, "lenient") == pytest.approx(seqeval(sentences))
    for tags in ([p for p, _ in pairs] for pairs in sentences):
        expected = {(kind, start, end + 1) for kind, start, end in get_entities(tags)}
        assert lenient_spans(tags) == expected


def test_auto_takes_bioes_where_any_gold_tag_ends_a_span():
    open_end = [("B-PER", "B-PER"), ("O", "O")]
    assert figures([open_end], "auto") == [1.0, 1.0, 1.0]
    closed = [("S-LOC", "S-LOC")]
    assert figures([open_end, closed], "auto") == [1.0, 1.0, 1.0]
    assert figures([open_end, [("O", "S-LOC")]], "auto") == [0.0, 0.0, 0.0]  # B-PER never ends


def test_bilou_is_bioes_by_other_letters():
    assert bioes_spans(["B-X", "I-X", "L-X", "U-Y", "O"]) == {("X", 0, 3), ("Y", 3, 4)}


def test_strange_and_missing_predictions_are_outside():
    assert figures([[("nonsense", "B-X"), ("B-X", "B-X")]], "bio") == pytest.approx([2 / 3, 1, 0.5])
    (score, *_) = score_corpus(ScoreOptions(span_f1=True), [Segment("", ("B-X O",))])
    assert score.value == 0.0 and score.details["gold"] == 1


def test_real_tags_of_wnut17_against_shifted_ones(data_dir):
    text = (data_dir / "wnut17" / "dev.tsv").read_text(encoding="utf-8")
    gold = [
        [line.split("\t")[1] for line in block.split("\n") if line]
        for block in text.split("\n\n")
        if block.strip()
    ]
    sentences = [list(zip([*tags[1:], "O"], tags, strict=True)) for tags in gold]
    sentences += [list(zip(tags, tags, strict=True)) for tags in gold]
    expected = seqeval(sentences, mode="strict", scheme=IOB2)
    assert 0.3 < expected[0] < 0.7
    assert figures(sentences, "auto") == pytest.approx(expected)
