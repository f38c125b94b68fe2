"""Several processes count: the same figures as one, to the last bit."""

from __future__ import annotations

import os
import random

import pytest
from program import inside

from attn_cli.metrics.sacre import Ter
from attn_cli.threads import at_hand

WORDS = "the cat sat on a mat and dog ran to it while birds sang in tall old trees"


def corpus(n_lines: int) -> bytes:
    draw = random.Random(7)
    lines = []
    for number in range(n_lines):
        gold = draw.choices(WORDS.split(), k=draw.randint(1, 12))
        answer = [draw.choice(WORDS.split()) if draw.random() < 0.3 else word for word in gold]
        draw.shuffle(answer[: draw.randint(0, 3)])
        lines.append(f"{' '.join(answer)}\t{' '.join(gold)}".encode())
        if number in (40, 600):
            lines.append(b"bad \xff\tline")
        if number == 300:
            lines.append(b"\tan empty answer")
    return b"\n".join(lines) + b"\n"


METRICS = ("--bleu", "--chrf", "--chrf++", "--ter", "--rouge", "--wer", "--accuracy", "--signature")


@pytest.mark.parametrize("more", [(), ("--bootstrap", 20), ("--json",)])
def test_figures_and_what_is_said_are_those_of_one_process(more):
    options = ("score", *METRICS, *more)
    one, three = (inside(*options, "--threads", n, stdin=corpus(700), status=3) for n in (1, 3))
    assert one.out == three.out and one.said == three.said
    assert one.out.count(b"\n") > 5 and "2 unusable lines" in one.said


def test_a_baseline_is_counted_beside_the_answers(tmp_path):
    (tmp_path / "base").write_text("the cat sat\n" * 700)
    (tmp_path / "hyp").write_text("the cat ran\n" * 400 + "a mat\n" * 300)
    (tmp_path / "ref").write_text("the cat ran\n" * 600 + "a dog\n" * 100)
    command = ("score", tmp_path / "hyp", "--ref", tmp_path / "ref", "--bleu", "--ter")
    runs = [inside(*command, "--baseline", tmp_path / "base", "--threads", n) for n in (1, 2)]
    assert runs[0].out == runs[1].out


def test_lines_are_counted_in_other_processes_if_they_are_more_than_a_few(monkeypatch):
    counted = []
    ours = Ter._counted
    monkeypatch.setattr(
        Ter, "_counted", lambda self, *sides: counted.append(os.getpid()) or ours(self, *sides)
    )
    inside("score", "--ter", "--threads", 2, stdin=b"a cat\ta dog\n" * 200)
    assert counted == [os.getpid()]
    inside("score", "--ter", "--threads", 2, stdin=b"a cat\ta dog\n" * 600)
    assert counted == [os.getpid()]
    inside("score", "--ter", "--threads", 1, stdin=b"a cat\ta dog\n" * 600)
    assert counted == [os.getpid()] * 4


def test_how_many_there_may_be(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    assert at_hand(None) == 3 and at_hand(5) == 5
    monkeypatch.setenv("OMP_NUM_THREADS", "4,2")  # nested regions: no word on processes
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1, 5})
    assert at_hand(None) == 3
    monkeypatch.delenv("OMP_NUM_THREADS")
    assert at_hand(None) == 3
