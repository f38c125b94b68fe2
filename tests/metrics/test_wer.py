"""WER and CER against a textbook edit distance and jiwer's published totals."""

from __future__ import annotations

import csv
import random

import pytest

from attn_cli.config.scoring import MetricOptions
from attn_cli.metrics.base import Segment
from attn_cli.metrics.significance import Resampling
from attn_cli.metrics.wer import CharacterErrorRate, WordErrorRate, normalized

PLAIN = Resampling(seed=1)


def edit_distance(reference, hypothesis):
    row = list(range(len(hypothesis) + 1))
    for i, expected in enumerate(reference, 1):
        above, row[0] = row[:], i
        for j, found in enumerate(hypothesis, 1):
            row[j] = min(above[j] + 1, row[j - 1] + 1, above[j - 1] + (expected != found))
    return row[-1]


def rate(metric, segments):
    (score,) = metric(MetricOptions()).corpus(segments, PLAIN)
    return score.value


@pytest.mark.parametrize(
    ("metric", "units"), [(WordErrorRate, str.split), (CharacterErrorRate, str.strip)]
)
def test_corpus_rate_is_edit_distance_over_reference_length(metric, units):
    generator = random.Random(3)

    def line():
        return " ".join(generator.choices(["I", "a", "the", "cat"], k=generator.randint(0, 7)))

    segments = [Segment(line(), (line(),)) for _ in range(60)]
    errors = sum(edit_distance(units(s.references[0]), units(s.hypothesis)) for s in segments)
    length = sum(len(units(s.references[0])) for s in segments)
    assert rate(metric, segments) == pytest.approx(errors / length)


def test_lines_of_one_character_count():
    assert rate(WordErrorRate, [Segment("I", ("U",))]) == 1.0
    assert rate(CharacterErrorRate, [Segment("I", ("U",)), Segment("a", ("a",))]) == 0.5


def test_empty_references_and_hypotheses_have_their_errors_counted():
    segments = [Segment("x y", ("",)), Segment("", ("a b",)), Segment("", ("",))]
    assert rate(WordErrorRate, segments) == pytest.approx(4 / 2)
    assert rate(WordErrorRate, [Segment("", ("",))]) == 0.0
    assert rate(WordErrorRate, [Segment("x y", ("",))]) == 2.0  # jiwer's convention


def test_the_reference_with_the_lowest_rate_counts():
    segments = [Segment("the cat sat", ("a dog ran off", "the cat sat down", "the cat"))]
    assert rate(WordErrorRate, segments) == pytest.approx(1 / 4)


def test_lowercase_is_read():
    segments = [Segment("The Cat", ("the cat",))]
    (score,) = WordErrorRate(MetricOptions(lowercase=True)).corpus(segments, PLAIN)
    assert score.value == 0.0 and rate(WordErrorRate, segments) == 1.0


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Hello,  World!", "hello world"),
        ("well-known \u2013 (so-called)", "well known so called"),
        ("Don\u2019t 'quote' rock 'n' roll", "don't quote rock n roll"),
        ("At 10:30 it costs $3.50, or 1,000.", "at 10:30 it costs $3.50 or 1,000"),
        (
            "\u00bfQu\u00e9? \u4f60\u597d\uff0c\u4e16\u754c\u3002",
            "qu\u00e9 \u4f60\u597d \u4e16\u754c",
        ),
        ("caf\u0065\u0301\u00a0noir\tx_y", "caf\u00e9 noir x y"),
        ("\u0928\u092e\u0938\u094d\u0924\u0947 \u0964", "\u0928\u092e\u0938\u094d\u0924\u0947"),
        ("...", ""),
    ],
)
def test_what_normalized_transcripts_are(text, expected):
    assert normalized(text) == expected == normalized(expected)


def test_normalized_rates_and_the_counts_behind_them():
    options = MetricOptions(wer=True, cer=True, normalize=True)
    segments = [
        Segment("well known, Yes", ("Well-known: yes!",)),
        Segment("a  b", ("A, c d.",)),
        Segment("!", ("",)),
    ]
    (word,) = WordErrorRate(options).corpus(segments, PLAIN)
    assert word.value == pytest.approx(2 / 6)
    assert word.details == {
        "substitutions": 1,
        "deletions": 1,
        "insertions": 0,
        "reference_words": 6,
    }
    (character,) = CharacterErrorRate(options).corpus(segments, PLAIN)
    assert character.details["reference_characters"] == len("well known yes") + len("a c d")
    for score in (word, character):
        assert "case:lc|norm:nfc|punct:no|space:one|tok:" in score.signature
    assert "norm" not in WordErrorRate(MetricOptions(wer=True)).corpus(segments, PLAIN)[0].signature


@pytest.mark.parametrize("system", ["rev_espnet", "google"])
def test_published_totals_of_earnings21(data_dir, system):
    folder = data_dir / "earnings21_wer"
    with (folder / "expected_wer.tsv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file, delimiter="\t"))
    (row,) = (r for r in rows if r["system"] == system and r["unit"] == "segments")
    lines = (folder / f"segments_{system}.tsv").read_bytes().decode("utf-8").split("\n")[1:-1]
    segments = [Segment(h, (r,)) for _, r, h in (line.split("\t") for line in lines)]
    (word,) = WordErrorRate(MetricOptions()).corpus(segments, PLAIN)
    (character,) = CharacterErrorRate(MetricOptions()).corpus(segments, PLAIN)
    assert f"{100 * word.value:.4f}" == row["wer_percent"]
    assert f"{100 * character.value:.4f}" == row["cer_percent"]
    kinds = ("substitutions", "deletions", "insertions", "reference_words")
    assert [str(word.details[kind]) for kind in kinds] == [row[kind] for kind in kinds]
