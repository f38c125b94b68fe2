"""`attn score --compare`: sacreBLEU's figures of each part, words counted by hand."""

from __future__ import annotations

import json
import random
import re
import sys
from collections import Counter

import pytest
import sacrebleu
from program import attn, inside

from attn_cli.config.scoring import ScoreOptions
from attn_cli.metrics.base import Segment
from attn_cli.metrics.contrast import Contrast

WORDS = [f"w{i}" for i in range(40)]


def corpus(size: int = 150) -> list[tuple[str, str, str]]:
    """Lines of system, other, reference: the other one is good at long lines."""
    generator = random.Random(7)
    weights = [1 / (1 + i) for i in range(len(WORDS))]
    lines = []
    for _ in range(size):
        gold = generator.choices(WORDS, weights, k=generator.choice([3, 8, 12, 25, 60]))
        rates = (0.1, 0.6) if len(gold) < 12 else (0.5, 0.2)
        said = [
            " ".join(generator.choice(WORDS) if generator.random() < rate else w for w in gold)
            for rate in rates
        ]
        lines.append((said[0], said[1], " ".join(gold)))
    return lines


def compared(lines: list[tuple[str, str, str]], most: int = 4, **options):
    contrast = Contrast(ScoreOptions(**options), most)
    contrast.add(
        Segment(system, (gold,), other, number)
        for number, (system, other, gold) in enumerate(lines, 1)
    )
    return contrast.report()


def bleu(lines: list[tuple[str, str, str]], system: int) -> float:
    hypotheses, references = [line[system] for line in lines], [line[2] for line in lines]
    return sacrebleu.corpus_bleu(hypotheses, [references]).score


def test_each_length_has_the_bleu_of_its_lines():
    lines = corpus()
    report = compared(lines)
    limits = {"1-9": (1, 9), "10-19": (10, 19), "20-29": (20, 29), "50+": (50, 10**9)}
    assert [bucket.name for bucket in report.lengths] == list(limits)
    for bucket in report.lengths:
        low, high = limits[bucket.name]
        own = [line for line in lines if low <= len(line[2].split()) <= high]
        assert bucket.count == len(own)
        assert bucket.system == pytest.approx(bleu(own, 0)) != bucket.other
        assert bucket.other == pytest.approx(bleu(own, 1))
    assert report.bleu.system == pytest.approx(bleu(lines, 0))
    assert report.lengths[0].difference > 0 > report.lengths[-1].difference


def test_words_of_a_frequency_have_the_f1_of_their_matches():
    lines = corpus()
    gold = Counter(word for line in lines for word in line[2].split())
    bounds = {"1": (1, 1), "2-4": (2, 4), "5-9": (5, 9), "10-99": (10, 99), "100-999": (100, 999)}
    found = {bucket.name: bucket for bucket in compared(lines).frequencies}
    assert found.keys() <= bounds.keys() and "100-999" in found
    for name, bucket in found.items():
        low, high = bounds[name]
        words = {word for word, count in gold.items() if low <= count <= high}
        assert bucket.count == sum(gold[word] for word in words)
        for system, value in enumerate((bucket.system, bucket.other)):
            matches = said = 0
            for line in lines:
                counts, wanted = Counter(line[system].split()), Counter(line[2].split())
                matches += sum(min(counts[word], wanted[word]) for word in words)
                said += sum(counts[word] for word in words)
            assert value == pytest.approx(200 * matches / (said + bucket.count))


def test_the_lines_that_differ_most_are_told_with_their_sentence_bleu():
    lines = corpus()
    scores = [
        [sacrebleu.sentence_bleu(line[system], [line[2]]).score for system in range(2)]
        for line in lines
    ]
    gaps = [system - other for system, other in scores]
    report = compared(lines)
    for told, sign in ((report.better, 1), (report.worse, -1)):
        order = sorted(range(len(lines)), key=lambda i, sign=sign: (-sign * gaps[i], i))[:4]
        assert [line.segment.number for line in told] == [place + 1 for place in order]
        for line, place in zip(told, order, strict=True):
            assert [line.system, line.other] == pytest.approx(scores[place])
    assert sum(report.histogram.values()) == len(lines)
    assert report.histogram[0] == sum(round(gap / 10) == 0 for gap in gaps)


def test_equal_systems_differ_nowhere():
    lines = [(gold, gold, gold) for _, _, gold in corpus(30)]
    report = compared(lines)
    assert report.better == report.worse == []
    assert {
        bucket.difference for bucket in (report.bleu, *report.lengths, *report.frequencies)
    } == {0}
    assert dict(report.histogram) == {0: 30}


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    place = tmp_path_factory.mktemp("compare")
    for number, name in enumerate(("new.txt", "old.txt", "ref.txt")):
        text = "".join(f"{line[number]}\n" for line in corpus(40))
        (place / name).write_text(text)
    return place


def compare(files, *options: object, status: int = 0):
    names = (files / "new.txt", "--ref", files / "ref.txt", "--compare", files / "old.txt")
    return inside("score", *names, *options, status=status)


def test_the_table_and_the_json_tell_the_same(files):
    run = compare(files, "--compare-lines", 2)
    head, *rows = [line.split("\t") for line in run.lines]
    assert head == [
        *("what", "which", "count", "system", "other", "difference"),
        *("reference", "system", "other"),
    ]
    assert {len(row) for row in rows} == {9}
    told = json.loads(compare(files, "--compare-lines", 2, "--json").out)
    assert (told["system"], told["other"]) == ("new.txt", "old.txt")
    parts = [told["bleu"], *told["bleu_by_length"], *told["f1_by_frequency"]]
    lines = [*told["better"], *told["worse"]]
    assert len(parts) + len(lines) == len(rows) and len(lines) == 4
    for row, part in zip(rows, parts, strict=False):
        figures = [part[key] for key in ("system", "other", "difference")]
        assert row[1:6] == [part["which"], str(part["count"]), *(f"{x:.2f}" for x in figures)]
    for row, line in zip(rows[len(parts) :], lines, strict=True):
        assert row[1] == str(line["line"]) and row[6:] == list(line["texts"].values())
    plain = inside("score", files / "new.txt", "--ref", files / "ref.txt", "--bleu")
    assert float(rows[0][3]) == pytest.approx(float(plain.lines[0].split("\t")[1]), abs=0.006)


def test_hypotheses_come_from_a_pipe_with_their_references(files):
    new, gold = ((files / name).read_text().splitlines() for name in ("new.txt", "ref.txt"))
    text = "".join(f"{left}\t{right}\n" for left, right in zip(new, gold, strict=True))
    run = attn("score", "--compare", files / "old.txt", "--verbose", stdin=text.encode())
    assert run.lines == compare(files).lines and "40 lines to compare" in run.said
    short = attn("score", "--compare", files / "old.txt", stdin=b"a\tb\n", status=3)
    assert "old.txt" in short.said


@pytest.mark.parametrize("kind", ["png", "svg", "pdf"])
def test_a_picture_of_both(files, tmp_path, kind):
    pytest.importorskip("matplotlib")
    out = tmp_path / f"c.{kind}"
    compare(files, "--plot", out)
    raw = out.read_bytes()
    if kind == "svg":
        drawn = set(re.findall(r"<!-- (.*?) -->", raw.decode()))
        assert {"new.txt", "old.txt", "BLEU", "F1 of words", "lines", "50+"} <= drawn
    compare(files, "--plot", out)
    assert out.read_bytes() == raw


@pytest.mark.parametrize(
    ("options", "cause"),
    [
        (("--baseline", "x"), "leave --baseline to a second run"),
        (("--chrf",), "leave --chrf to a second run"),
        (("--confusion", "m.png"), "leave --confusion to a second run"),
        (("--per-line",), "leave --per-line to a second run"),
        (("--plot", "c.gif"), ".png, .svg, .pdf"),
    ],
)
def test_what_does_not_go_together_is_refused(files, options, cause):
    assert cause in compare(files, *options, status=2).said


def test_options_without_a_second_system_and_no_lines(files, tmp_path, monkeypatch):
    for options in (("--plot", "c.png"), ("--compare-lines", 3)):
        run = inside("score", "--ref", files / "ref.txt", *options, stdin=b"a\n", status=2)
        assert "name its FILE" in run.said
    (tmp_path / "empty").write_text("")
    run = inside("score", "--compare", tmp_path / "empty", stdin=b"", status=3)
    assert "no lines to compare" in run.said
    for name in ("matplotlib", "matplotlib.figure"):
        monkeypatch.setitem(sys.modules, name, None)
    assert "pip install '.[plot]'" in compare(files, "--plot", tmp_path / "c.png", status=2).said


def test_bars_begin_at_nothing_and_lines_are_whole(tmp_path):
    pytest.importorskip("matplotlib")
    for name, text in (
        ("hyp", "a cat\nmat\n"),
        ("other", "dog\nthe mat\n"),
        ("ref", "a cow\nthe\n"),
    ):
        (tmp_path / name).write_text(text)
    out = tmp_path / "c.svg"
    inside(
        *("score", tmp_path / "hyp", "--compare", tmp_path / "other"),
        *("--ref", tmp_path / "ref", "--plot", out),
    )
    drawn = re.findall(r"<!-- (.*?) -->", out.read_text("utf-8"))
    assert drawn[0] == "1-9" and "words of the reference (lines)" in drawn
    bleu = drawn[: drawn.index("BLEU")]
    assert not [text for text in bleu if text.startswith("\N{MINUS SIGN}")]
    lines = drawn[drawn.index("F1 of words") :]
    ticks = lines[: lines.index("lines")]
    assert "0" in ticks and "0.5" not in ticks and "0.2" not in ticks
