from __future__ import annotations

import dataclasses
import random

import pytest
import torch
from builders import WORDS, predictor
from torch.nn import functional as F

from attn_cli.data.templates import windows_of
from attn_cli.errors import DataError
from attn_cli.systems.tasks.base import collate
from attn_cli.systems.tasks.classify import MOST_WINDOWS

ARCHS = ["bert", "gpt", "rnn"]


def text(size, seed):
    return " ".join(random.Random(seed).choices(WORDS, k=size))


def outputs(answerer, row):
    """The head's outputs for one encoded sequence, alone, without padding."""
    ids, segments = torch.tensor([row.ids]), torch.tensor([row.segments])
    mask = torch.ones_like(ids, dtype=torch.bool)
    with torch.no_grad():
        return answerer.model(ids, mask, segments, "task")[0]


def batch_of(answerer, examples):
    encoded = answerer.task.encode(examples, targets=True)
    return collate(encoded, answerer.task.setting.tokenizer.pad_id)


def loss_of(answerer, batch):
    logits = answerer.model(batch.ids, batch.mask, batch.segments, "task")
    return answerer.task.loss(logits, batch)


@pytest.mark.parametrize("arch", ARCHS)
@pytest.mark.parametrize("pool", ["mean", "own"])
def test_an_answer_does_not_depend_on_what_it_is_batched_with(arch, pool):
    answerer = predictor("classify", arch, labels=["a", "b", "c"], pool=pool)
    texts = [[text(size, size)] for size in (1, 9, 3, 30, 2)]
    together = answerer.answer(texts)
    for one, batched in zip(texts, together, strict=True):
        (alone,) = answerer.answer([one])
        assert alone.text == batched.text
        assert alone.details["probs"] == pytest.approx(batched.details["probs"], abs=1e-5)


@pytest.mark.parametrize("arch", ARCHS)
def test_a_text_of_twenty_times_the_length_is_the_mean_of_all_its_windows(arch):
    answerer = predictor("classify", arch, labels=["a", "b"], max_len=16, setting={"stride": 5})
    long = text(320, 1)
    (ids,) = answerer.task.setting.tokenizer.encode([long])
    assert len(ids) == 320
    template = answerer.task.setting.template
    spans = windows_of(len(ids), 14, 5)
    assert {place for first, end in spans for place in range(first, end)} == set(range(320))
    by_hand = torch.stack([outputs(answerer, template.fill(ids[a:b])) for a, b in spans]).mean(0)
    (answer,) = answerer.answer([[long]])
    assert list(answer.details["probs"].values()) == pytest.approx(
        by_hand.softmax(0).tolist(), 1e-4
    )


def test_every_token_of_two_long_texts_is_read_beside_the_other():
    answerer = predictor("pair", labels=["a", "b"], max_len=15)
    first, second = list(range(100)), list(range(100, 170))
    rows = answerer.task.rows([first, second])
    assert all(len(row.ids) <= 15 for row in rows)
    seen = {(a, b) for row in rows for a in row.ids for b in row.ids if a < 100 <= b}
    assert len(seen) >= 100 * 70  # each pair of tokens, in some window


def test_a_short_text_beside_a_long_one_is_whole_in_every_window():
    answerer = predictor("pair", labels=["a", "b"], max_len=20)
    for order in (1, -1):
        rows = answerer.task.rows([[7, 8, 9], list(range(20, 90))][::order])
        assert len(rows) > 3
        assert all({7, 8, 9} <= set(row.ids) for row in rows)


def test_marks_that_leave_no_room_are_refused():
    answerer = predictor("pair", labels=["a", "b"], max_len=4)
    with pytest.raises(DataError, match="no room for 2 texts"):
        answerer.answer([["banu", "kera"]])


def test_what_is_learnt_from_a_very_long_text_fits_into_memory():
    answerer = predictor("classify", labels=["a", "b"], max_len=8)
    told: list[str] = []
    answerer.task.setting = dataclasses.replace(answerer.task.setting, say=told.append)
    encoded, _ = answerer.task.encode([[text(2000, 2), "a"]] * 2, targets=True)
    assert len(encoded.rows) == MOST_WINDOWS
    assert [f"learnt from {MOST_WINDOWS} of them" in line for line in told] == [True]
    (whole,) = answerer.task.encode([[text(2000, 2), "a"]], targets=False)
    assert len(whole.rows) > 600
    assert (encoded.rows[0], encoded.rows[-1]) == (whole.rows[0], whole.rows[-1])


EXAMPLES = {
    "classify": [[text(3, 1), "a"], [text(9, 2), "b"], [text(40, 3), "a"]],
    "pair": [[text(3, 1), text(2, 8), "b"], [text(9, 2), text(30, 9), "a"]],
    "multilabel": [[text(3, 1), "a, b"], [text(9, 2), ""], [text(40, 3), "b"]],
    "regress": [[text(3, 1), text(2, 8), "1.5"], [text(9, 2), text(12, 9), "-4"]],
    "rate": [[text(3, 1), "1.5"], [text(9, 2), "-4"], [text(40, 3), "0"]],
    "choice": [
        [text(2, 1), text(3, 2), text(9, 3), "1"],
        [text(8, 4), text(2, 5), text(40, 6), text(1, 7), "0"],
    ],
}
HEAD = dict.fromkeys(("regress", "rate"), {"mean": 1.0, "std": 2.0, "low": -4.0, "high": 1.5})


def answerer_of(kind, arch):
    labels = () if kind in ("regress", "rate", "choice") else ("a", "b")
    return predictor(kind, arch, labels=labels, max_len=20, **HEAD.get(kind, {}))


def rows_by_hand(answerer, kind, fields):
    """Mean outputs of the windows of one example, or of each of its choices."""
    encode = answerer.task.setting.tokenizer.encode
    if kind == "choice":
        pairs = [encode([fields[0], choice]) for choice in fields[1:-1]]
        return [means(answerer, answerer.task.rows(pair)) for pair in pairs]
    return means(answerer, answerer.task.rows(encode(fields[:-1])))


def means(answerer, rows):
    return torch.stack([outputs(answerer, row) for row in rows]).mean(0)


def loss_by_hand(kind, found, gold):
    if kind in ("classify", "pair"):
        return -found.log_softmax(0)["ab".index(gold)]
    if kind == "multilabel":
        held = torch.tensor([label in gold for label in "ab"])
        probs = found.sigmoid()
        return -torch.where(held, probs, 1 - probs).log().sum()
    if kind in ("regress", "rate"):
        return (found[0] - (float(gold) - 1.0) / 2.0) ** 2
    return -torch.cat(found).log_softmax(0)[int(gold)]


@pytest.mark.parametrize("arch", ["bert", "gpt"])
@pytest.mark.parametrize("kind", EXAMPLES)
def test_losses_are_their_definitions_example_by_example(kind, arch):
    answerer = answerer_of(kind, arch)
    batch = batch_of(answerer, EXAMPLES[kind])
    by_hand = [
        loss_by_hand(kind, rows_by_hand(answerer, kind, fields), fields[-1])
        for fields in EXAMPLES[kind]
    ]
    assert batch.n_tokens == len(EXAMPLES[kind])
    with torch.no_grad():
        assert float(loss_of(answerer, batch)) == pytest.approx(float(sum(by_hand)), rel=1e-4)
        parts = [loss_of(answerer, batch.rows(slice(i, i + 1))) for i in range(len(batch))]
    assert [float(part) for part in parts] == pytest.approx([float(x) for x in by_hand], rel=1e-4)


@pytest.mark.parametrize("kind", EXAMPLES)
def test_rows_without_targets_add_nothing_and_still_reach_the_weights(kind):
    answerer = answerer_of(kind, "bert")
    loss = loss_of(answerer, batch_of(answerer, EXAMPLES[kind]).without_targets())
    assert float(loss.detach()) == 0.0
    loss.backward()
    assert answerer.model.heads["task"].output.weight.grad.abs().sum() == 0


def test_class_weights_and_label_smoothing_are_those_of_cross_entropy():
    setting = {"class_weights": (0.5, 3.0), "label_smoothing": 0.2}
    answerer = predictor("classify", labels=["a", "b"], setting=setting)
    found, gold = torch.randn(6, 2), torch.tensor([0, 1, 1, 0, 0, 1])
    expected = F.cross_entropy(
        found, gold, torch.tensor([0.5, 3.0]), label_smoothing=0.2, reduction="sum"
    )
    torch.testing.assert_close(answerer.task.example_loss(found, gold), expected)


def test_a_number_is_answered_in_its_own_unit_and_within_what_was_seen():
    answerer = predictor("regress", mean=3.0, std=2.0, low=1.0, high=5.0)
    (example,) = answerer.task.encode([["banu", "kera"]], targets=False)
    said = [answerer.task.answer(torch.tensor([[value]]), example).text for value in (-9, 0.25, 9)]
    assert said == ["1", "3.5", "5"]
    assert answerer.task.target(["banu", "kera", "6"]) == 1.5


def test_gpt_reads_a_pair_to_be_compared_in_both_orders():
    answerer = predictor("regress", "gpt", pool="own", low=-1e9, high=1e9)
    pairs = [[text(4, 1), text(7, 2)], [text(7, 2), text(4, 1)]]
    numbers = [float(answer.text) for answer in answerer.answer(pairs)]
    assert numbers[0] == pytest.approx(numbers[1], rel=1e-4)
    template = answerer.task.setting.template
    begin, middle, end = template.first_id, template.separator_id, template.last_id
    first, second = answerer.task.setting.tokenizer.encode(pairs[0])
    rows = answerer.task.rows([first, second])
    assert [row.ids for row in rows] == [
        [begin, *first, middle, *second, end],
        [begin, *second, middle, *first, end],
    ]


def test_labels_hold_from_one_half_on_and_none_may_hold():
    answerer = predictor("multilabel", labels=["x", "y", "z"])
    (example,) = answerer.task.encode([["banu"]], targets=False)
    answer = answerer.task.answer(torch.tensor([[2.0, -1.0, 0.0]]), example)
    assert answer.text == "x,z"
    sigmoids = torch.tensor([2.0, 1.0, 0.0]).sigmoid()
    assert answer.probability == pytest.approx(float(sigmoids.prod()), rel=1e-5)
    assert answerer.task.answer(torch.full((1, 3), -1.0), example).text == ""


def test_the_best_choice_is_that_of_a_softmax_over_the_choices():
    answerer = predictor("choice", n_texts=3)
    example = EXAMPLES["choice"][1]
    (answer,) = answerer.answer([answerer.task.question(example)])
    by_hand = torch.cat(rows_by_hand(answerer, "choice", example)).softmax(0)
    assert answer.details["probs"] == pytest.approx(by_hand.tolist(), rel=1e-4)
    assert answer.text == str(int(by_hand.argmax()))
    assert answerer.task.segment(answer, example).references == ("0",)


@pytest.mark.parametrize(
    ("kind", "fields", "cause"),
    [
        ("classify", ["  ", "a"], "empty text"),
        ("classify", ["banu", ""], "empty label"),
        ("regress", ["banu", "kera", "one"], "'one' is not a number"),
        ("rate", ["banu", "one"], "'one' is not a number"),
        ("regress", ["banu", "kera", "nan"], "'nan' is not a number"),
        ("choice", ["banu", "kera", "0"], "two or more choices"),
        ("choice", ["banu", "kera", "livo", "2"], "choice 2, but choices are 0 to 1"),
        ("choice", ["banu", "kera", "livo", "-1"], "no number of a choice"),
        ("choice", ["banu", "kera", "livo", "01"], "no number of a choice"),
        ("choice", ["banu", "", "livo", "0"], "empty context, choice or number"),
    ],
)
def test_lines_that_teach_nothing_are_told_why(kind, fields, cause):
    problem = type(answerer_of(kind, "bert").task).problem(fields)
    assert problem and cause in problem


def test_no_label_at_all_is_an_example_too():
    assert type(answerer_of("multilabel", "bert").task).problem(["banu", ""]) is None
