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
from attn_cli.metrics.scoring import CorpusScorer, score_corpus
from attn_cli.metrics.spans import (
    bio_spans,
    bioes_spans,
    iob1_spans,
    iob1_to_bio,
    lenient_spans,
    scheme_of,
)


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
    if scheme_of([gold for _, gold in pairs] for pairs in sentences) == "bio":
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


IOB1 = [["I-A", "I-A", "B-A", "O"], ["I-B", "I-A", "O", "I-A"], ["O"]]
BIO = [["B-A", "I-A", "B-A", "O"], ["B-B", "B-A", "O", "B-A"], ["O"]]


def test_iob1_is_told_from_gold_tags_and_said():
    assert [scheme_of(IOB1), scheme_of(BIO), scheme_of([["I-A", "I-A"], ["O"]])] == [
        *("iob1", "bio", "iob1"),
    ]
    assert scheme_of([["O", "O"]]) == "bio"
    assert scheme_of([["I-A", "O"], ["S-A"]]) == "bioes"
    assert scheme_of([["O", "I-A"], ["B-A", "I-A"]]) == "bio"  # a mistake in BIO
    scorer = CorpusScorer(ScoreOptions(span_f1=True))
    scorer.add([Segment(" ".join(tags), (" ".join(tags),)) for tags in IOB1])
    assert [score.value for score in scorer.scores()] == [1.0, 1.0, 1.0]
    assert scorer.scores()[0].details["gold"] == 5
    assert scorer.notes() == [
        "gold tags are IOB1 (I- begins spans), read so; --scheme names another"
    ]
    assert "scheme:iob1" in scorer.scores()[0].signature


def test_iob1_and_bio_have_the_same_spans():
    assert [iob1_to_bio(tags) for tags in IOB1] == BIO
    assert [iob1_to_bio(tags) for tags in BIO] == BIO
    for first, second in zip(IOB1, BIO, strict=True):
        assert iob1_spans(first) == iob1_spans(second) == bio_spans(second)
    assert iob1_to_bio(["I", "I", "O", "I"]) == ["B", "I", "O", "B"]
    mixed = [list(zip(b, i, strict=True)) for b, i in zip(BIO, IOB1, strict=True)]
    assert figures(mixed, "auto") == [1.0, 1.0, 1.0]  # a tagger's answers in BIO, gold in IOB1
    assert figures(mixed, "bio")[2] == 1.0 and figures(mixed, "bio")[1] == 1 / 5


@settings(deadline=None, max_examples=60)
@given(tagged("BI"))
def test_iob1_becomes_what_seqeval_finds_in_bio(sentences):
    made = [[(tag, tag) for tag in iob1_to_bio([g for _, g in pairs])] for pairs in sentences]
    for pairs, bio in zip(sentences, made, strict=True):
        tags = [g for _, g in pairs]
        expected = {(kind, start, end + 1) for kind, start, end in get_entities(tags)}
        assert iob1_spans(tags) == expected == bio_spans([tag for tag, _ in bio])
