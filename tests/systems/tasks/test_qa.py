"""Question answering: the best span of all windows, or none; found and learnt by definition."""

from __future__ import annotations

import itertools
import random
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from builders import WORDS, predictor

from attn_cli.config.decoding import AnswerOptions
from attn_cli.lines.squad import Question
from attn_cli.systems.tasks.base import collate
from attn_cli.systems.tasks.qa import ALWAYS, best_pairs, best_threshold


def context(size, seed):
    return " ".join(random.Random(seed).choices(WORDS, k=size))


def asked(text, *answers, question="banu kera"):
    return [Question("q", question, text, answers).to_row()]


def reader(arch="bert", max_len=64, **options):
    setting = {"options": AnswerOptions(**options), "n_best": 5}
    return predictor("qa", arch, max_len=max_len, setting=setting)


def outputs_that_point_at(encoded, *targets):
    """Outputs that are high at the given (row, start, end), and 0 elsewhere."""
    length = max(len(row.ids) for row in encoded.rows)
    logits = torch.zeros(len(encoded.rows), length, 2)
    for row, start, end, score in targets:
        logits[row, start, 0] += score / 2
        logits[row, end, 1] += score / 2
    return logits


@pytest.mark.parametrize("arch", ["bert", "gpt"])
@pytest.mark.parametrize("place", [0, 40, 700, 1196])
def test_what_is_learnt_is_what_is_answered_wherever_it_stands(arch, place):
    """A text of 20 times the length: outputs that hit the targets give the gold answer."""
    task = reader(arch).task
    words = context(1200, 1).split()
    words[place : place + 3] = ["livo", "mora", "livo"]
    text = " ".join(words)
    start = len(" ".join([*words[:place], ""]))
    gold = text[start : start + 14]
    (encoded,) = task.encode([asked(text)], targets=False)
    taught = task.encode([asked(text, (gold, start))], targets=True)
    assert [example.rows[0] for example in taught] == list(encoded.rows)
    summaries = [len(row.ids) - 1 if arch == "gpt" else 0 for row in encoded.rows]
    hits = [
        (number, *example.targets[0].tolist(), 9.0)
        for number, example in enumerate(taught)
        if example.targets[0, 0] != summaries[number]
    ]
    assert 1 <= len(hits) <= 3
    answer = task.answer(outputs_that_point_at(encoded, *hits), encoded)
    assert answer.text == gold
    assert (answer.details["start"], answer.details["end"]) == (start, start + 14)
    empty = [example for number, example in enumerate(taught) if number not in {h[0] for h in hits}]
    assert all(len(set(example.targets[0].tolist())) == 1 for example in empty)


def test_every_token_of_the_context_stands_in_a_window_and_the_question_in_all():
    task = reader(max_len=32).task
    text = context(600, 2)
    (encoded,) = task.encode([asked(text)], targets=False)
    question = task.setting.tokenizer.encode(["banu kera"])[0]
    seen = set()
    for window in encoded.notes.windows:
        assert len(window.row.ids) <= 32
        assert window.row.ids[1 : 1 + len(question)] == question
        seen |= {at for first, end in window.spans.tolist() for at in range(first, end)}
    assert seen == {at for at, char in enumerate(text) if char != " "}


def test_a_question_of_more_than_half_the_room_is_cut_and_that_is_said_once():
    said: list[str] = []
    task = predictor("qa", max_len=31, setting={"say": said.append}).task
    task.encode([asked("livo mora", question=context(90, 4))], targets=True)
    (encoded,) = task.encode([asked("livo mora", question=context(90, 3))], targets=False)
    assert len(said) == 1 and "is cut to 14 tokens" in said[0]
    assert " ".join(context(90, 4).split()[:8]) in said[0]
    assert [len(row.ids) for row in encoded.rows] == [3 + 14 + 2]


def test_a_window_is_judged_by_its_own_score_of_no_answer():
    task = reader(max_len=31).task
    words = [*context(40, 4).split()]
    (encoded,) = task.encode([asked(" ".join(words))], targets=False)
    first, last = encoded.notes.windows[0], encoded.notes.windows[-1]
    raised = outputs_that_point_at(encoded, (0, first.start, first.start, 9.0), (0, 0, 0, 8.0))
    raised += outputs_that_point_at(
        encoded, (len(encoded.rows) - 1, last.start + 1, last.start + 1, 3.0)
    )
    a, b = last.spans[1]
    assert task.answer(raised, encoded).text == encoded.notes.context[a:b]


def test_the_answer_is_the_best_of_all_spans_of_all_windows_by_brute_force():
    answerer = reader(max_len=31, max_answer_len=3, no_answer_threshold=0.5)
    task = answerer.task
    for seed in range(6):
        (encoded,) = task.encode([asked(context(50, seed))], targets=False)
        generator = torch.Generator().manual_seed(seed)
        width = max(len(row.ids) for row in encoded.rows)
        logits = torch.randn(len(encoded.rows), width, 2, generator=generator)
        scores: dict[tuple[int, int], float] = {}
        for own, window in zip(logits.tolist(), encoded.notes.windows, strict=True):
            none = own[0][0] + own[0][1]
            for i, j in itertools.product(range(len(window.spans)), repeat=2):
                if i <= j < i + 3:
                    span = (int(window.spans[i, 0]), int(window.spans[j, 1]))
                    score = own[window.start + i][0] + own[window.start + j][1] - none
                    scores[span] = max(score, scores.get(span, -1e9))
        ranked = sorted(scores, key=scores.__getitem__, reverse=True)[:20]
        exps = np.exp([*(scores[span] for span in ranked), -0.5])
        answer = task.answer(logits, encoded)
        best = scores[ranked[0]]
        assert answer.margin == pytest.approx(-best, abs=1e-5)
        text = encoded.notes.context[slice(*ranked[0])]
        assert answer.span == text
        assert answer.text == (text if best >= -0.5 else "")
        assert answer.probability == pytest.approx(max(exps) / exps.sum(), abs=1e-5)
        shown = answer.details["n_best"]
        assert len(shown) == 5
        assert [entry["probability"] for entry in shown] == sorted(
            (entry["probability"] for entry in shown), reverse=True
        )


def test_more_answers_than_usual_are_given_where_they_are_asked_for():
    task = predictor("qa", max_len=64, setting={"n_best": 40}).task
    (encoded,) = task.encode([asked(context(30, 1))], targets=False)
    logits = torch.randn(len(encoded.rows), len(encoded.rows[0].ids), 2)
    assert len(task.answer(logits, encoded).details["n_best"]) == 40


def test_no_answer_is_given_above_the_threshold_alone():
    text = "livo mora"
    for threshold, expected in ((1.9, ""), (2.1, "livo"), (ALWAYS, "livo")):
        task = reader(no_answer_threshold=threshold).task
        (encoded,) = task.encode([asked(text)], targets=False)
        at = encoded.notes.windows[0].start
        logits = outputs_that_point_at(encoded, (0, 0, 0, 7.0), (0, at, at, 5.0))
        answer = task.answer(logits, encoded)
        assert answer.text == expected
        assert answer.margin == pytest.approx(2.0)
    assert all(entry["text"] for entry in answer.details["n_best"])  # it always answers


def test_a_text_of_which_no_token_is_left_has_no_answer():
    task = reader(no_answer_threshold=ALWAYS).task
    (encoded,) = task.encode([asked("\u3000")], targets=False)
    answer = task.answer(outputs_that_point_at(encoded), encoded)
    assert answer.text == ""


@pytest.mark.parametrize("max_len", [1, 2, 5, 30])
def test_pairs_are_the_best_by_brute_force(max_len):
    generator = np.random.default_rng(max_len)
    for size in (1, 2, 7, 12):
        start, end = generator.normal(size=(2, size))
        start[generator.random(size) < 0.3] = -np.inf
        pairs = [
            (start[i] + end[j], i, j)
            for i in range(size)
            for j in range(i, min(size, i + max_len))
            if np.isfinite(start[i])
        ]
        expected = sorted(pairs, key=lambda pair: (-pair[0], pair[1], pair[2]))[:4]
        assert best_pairs(start, end, max_len, 4) == expected


def test_the_threshold_is_the_best_by_brute_force():
    generator = random.Random(1)
    for _ in range(200):
        size = generator.randint(1, 8)
        margins = [generator.choice([-2.0, -1.0, 0.0, 0.5, 3.0]) for _ in range(size)]
        gains = [generator.choice([100.0, 50.0, 0.0, -100.0]) for _ in range(size)]

        def total(threshold, margins=margins, gains=gains):
            return sum(g for m, g in zip(margins, gains, strict=True) if m <= threshold)

        found = best_threshold(margins, gains)
        tried = [-9.0, 9.0, *(m + d for m in margins for d in (-0.1, 0.1))]
        assert total(found) == max(map(total, tried))
        assert all(abs(found - margin) > 0.1 for margin in margins)  # as far as rounding goes


def test_the_threshold_is_kept_in_the_head_and_decides_the_answers():
    answerer = reader()
    task, head = answerer.task, answerer.model.heads["task"]
    rows = [asked("livo mora", ("livo", 0)), asked("kera banu"), asked("bara", ("bara", 0))]
    found = [
        SimpleNamespace(span=span, margin=margin, probability=0.5)
        for span, margin in (("livo", 1.0), ("kera", 4.0), ("bara", 2.0))
    ]
    from attn_cli.systems.tasks.qa import SpanAnswer

    answers = [SpanAnswer("", 0.5, span=each.span, margin=each.margin) for each in found]
    chosen = task.calibrated(answers, rows)
    assert [answer.text for answer in chosen] == ["livo", "", "bara"]
    assert float(head.no_answer_threshold) == pytest.approx(3.0)
    answerable = task.calibrated([answers[0], answers[2]], [rows[0], rows[2]])
    assert [answer.text for answer in answerable] == ["livo", "bara"]
    assert task.threshold == pytest.approx(ALWAYS)


@pytest.mark.parametrize("arch", ["bert", "gpt", "rnn"])
@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_the_loss_is_that_of_start_and_end_over_context_and_summary(arch, smoothing):
    setting = {"label_smoothing": smoothing}
    answerer = predictor("qa", arch, max_len=31, setting=setting)
    task = answerer.task
    text = context(60, 5)
    rows = [
        asked(text, (text.split()[30], len(" ".join([*text.split()[:30], ""])))),
        asked("livo mora"),
    ]
    encoded = task.encode(rows, targets=True)
    batch = collate(encoded, task.setting.tokenizer.pad_id)
    assert batch.n_tokens == len(encoded)
    with torch.inference_mode():
        logits = answerer.model(batch.ids, batch.mask, batch.segments, "task")
        loss = float(task.loss(logits, batch))
    expected = 0.0
    for own, example in zip(logits, encoded, strict=True):
        (row,) = example.rows
        end = len(row.ids) - 1
        summary = end if arch == "gpt" else 0
        allowed = [summary, *range(row.starts[1], end)]
        for side in (0, 1):
            scores = own[allowed, side].log_softmax(0)
            gold = allowed.index(example.targets[0, side])
            expected -= float((1 - smoothing) * scores[gold] + smoothing * scores.mean()) / 2
    assert loss == pytest.approx(expected, rel=1e-4)


def test_an_answer_does_not_depend_on_what_it_is_batched_with():
    answerer = reader(max_len=31, no_answer_threshold=ALWAYS)
    rows = [asked(context(size, size)) for size in (2, 45, 300, 7)]
    together = answerer.answer(rows)
    for row, answer in zip(rows, together, strict=True):
        (alone,) = answerer.answer([row])
        assert alone.text == answer.text
        assert alone.probability == pytest.approx(answer.probability, abs=1e-4)


def test_the_gold_answer_that_most_people_gave_is_learnt():
    task = reader().task
    text = "livo mora banu"
    rows = [asked(text, ("livo", 0), ("mora", 5), ("mora", 5))]
    (example,) = task.encode(rows, targets=True)
    start = example.rows[0].starts[1]
    tokens = task.setting.tokenizer.encode(["livo"])[0]
    assert example.targets[0, 0] == start + len(tokens)
