"""ROUGE: rouge-score's numbers on English, and a meaning for every other script."""

from __future__ import annotations

import json

import pytest
from rouge_score.rouge_scorer import RougeScorer
from rouge_score.tokenizers import DefaultTokenizer

from attn_cli.config.scoring import MetricOptions
from attn_cli.metrics.base import Segment
from attn_cli.metrics.rouge import Rouge, RougeLsum, UnicodeTokenizer
from attn_cli.metrics.significance import Resampling

PLAIN = Resampling(seed=1)
ENGLISH = [
    ("Running dogs don't run; they've been running (2x) since 1999!", "The dog runs, it's run."),
    ("state-of-the-art results\u2014we\u2019d say", "results of the state of art"),
    ("loss \u03c3 and \u03b5 for classi\ufb01cation", "the loss for classi\ufb01cation"),
    ("", "something"),
]


@pytest.mark.parametrize("stem", [True, False])
def test_english_scores_are_those_of_rouge_score(stem):
    theirs = RougeScorer(["rouge1", "rouge2", "rougeL"], use_stemmer=stem)
    ours = Rouge(MetricOptions(stem=stem))
    for hypothesis, reference in ENGLISH:
        expected = [score.fmeasure for score in theirs.score(reference, hypothesis).values()]
        assert ours.line(Segment(hypothesis, (reference,))) == pytest.approx(expected)


SUMMARIES = [
    (
        "The cat sat on the mat.<n>It was a sunny day.",
        "It was sunny.<n>On the mat sat the cat.<n>Nobody else was there.",
    ),
    ("one sentence alone, without an end", "one sentence<n><n>and alone an end<n>"),
    ("the the the cat<n>the cat", "the cat the<n>cat cat the dog"),
    ("", "something<n>else"),
]


@pytest.mark.parametrize("stem", [True, False])
def test_rouge_lsum_is_the_one_of_rouge_score(stem):
    theirs = RougeScorer(["rouge1", "rouge2", "rougeL", "rougeLsum"], use_stemmer=stem)
    options = MetricOptions(stem=stem, rouge=True, rouge_lsum=True)
    for hypothesis, reference in SUMMARIES:
        scores = theirs.score(*(text.replace("<n>", "\n") for text in (reference, hypothesis)))
        segment = Segment(hypothesis, (reference,))
        ours = Rouge(options).line(segment) + RougeLsum(options).line(segment)
        assert ours == pytest.approx([score.fmeasure for score in scores.values()])


def test_the_best_reference_counts_for_rouge_lsum_and_json_ends_sentences_itself():
    options = MetricOptions(rouge_lsum=True, sentence_mark=" <q>")
    marked = Segment("b c <q>a", ("x", "a <q>b c"))
    assert RougeLsum(options).line(marked) == [1.0]
    assert RougeLsum(options).line(Segment("b c\na", ("x", "a\nb c"))) == [1.0]
    (score,) = RougeLsum(options).corpus([marked], PLAIN)
    assert score.name == "ROUGE-Lsum" and "|mark: <q>|" in score.signature


@pytest.mark.parametrize(
    "text",
    [
        "\u0928\u092e\u0938\u094d\u0924\u0947 \u0926\u0941\u0928\u093f\u092f\u093e",
        "\u043f\u0440\u0438\u0432\u0435\u0442, \u043c\u0438\u0440",
        "\u4f60\u597d\u4e16\u754c",
        "\u0645\u0631\u062d\u0628\u0627 \u0628\u0643",
        "f\u00fcr \u00e4lteres B\u00f6otchen",
    ],
)
def test_identical_text_of_any_script_scores_one(text):
    assert Rouge(MetricOptions()).line(Segment(text, (text,))) == [1.0, 1.0, 1.0]
    assert Rouge(MetricOptions()).line(Segment(text, ("1 2 3",))) == [0.0, 0.0, 0.0]


def test_words_are_kept_whole():
    tokenize = UnicodeTokenizer(None).tokenize
    hindi = "\u0928\u092e\u0938\u094d\u0924\u0947"  # its vowel signs are marks, not letters
    assert tokenize(f"{hindi}, {hindi}!") == [hindi, hindi]
    assert tokenize("F\u00fcr na\u00efve Leute") == ["f\u00fcr", "na\u00efve", "leute"]
    assert tokenize("\u4f60\u597d") == ["\u4f60", "\u597d"]
    english = "It's 3.5 well-known _names_ (e.g. U.S.)"
    assert tokenize(english) == DefaultTokenizer(use_stemmer=False).tokenize(english)


def test_only_ascii_words_are_stemmed():
    tokenize = UnicodeTokenizer(lambda word: word + "+").tokenize
    assert tokenize("cats big caf\u00e9") == ["cats+", "big", "caf\u00e9"]


def test_published_means_of_scitldr(data_dir):
    folder = data_dir / "metrics" / "rouge_scitldr_lead1"
    expected = json.loads((folder / "expected.json").read_text(encoding="utf-8"))
    abstracts = (data_dir / "scitldr" / "dev.jsonl").read_text(encoding="utf-8").split("\n")[:-1]
    targets = {paper["paper_id"]: paper["target"] for paper in map(json.loads, abstracts)}
    lines = (folder / "dev.tsv").read_bytes().decode("utf-8").split("\n")[1:-1]
    rows = [line.split("\t")[:3] for line in lines]
    for name, segments in (
        ("mean_f_first_reference", [Segment(h, (r,)) for _, h, r in rows]),
        ("mean_f_best_of_references", [Segment(h, tuple(targets[i])) for i, h, _ in rows]),
    ):
        scores = Rouge(MetricOptions()).corpus(segments, PLAIN)
        assert [f"{s.value:.6f}" for s in scores] == [f"{v:.6f}" for v in expected[name].values()]
