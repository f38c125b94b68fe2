"""Tagging: every word once, from its widest context; the best well-formed sequence of tags."""

from __future__ import annotations

import itertools
import json
import random

import numpy as np
import pytest
import torch
from builders import WORDS, predictor
from torch.nn import functional as F

from attn_cli.data.templates import widest_context, windows_of
from attn_cli.metrics.spans import bio_spans, bioes_spans, lenient_spans
from attn_cli.systems.tasks.base import collate
from attn_cli.systems.tasks.tag import Tag, _best_window, viterbi, well_formed
from attn_cli.systems.tasks.training import balanced_weights

LABELS = ("ADJ", "NOUN", "VERB")
BIO = ("B-A", "B-B", "I-A", "I-B", "O")
BIOES = ("B-A", "E-A", "I-A", "O", "S-A", "S-B")


def sentence(size, seed):
    return random.Random(seed).choices(WORDS, k=size)


def row(words, tags=None):
    return [json.dumps([words] if tags is None else [words, tags])]


def log_probs(answerer, ids):
    """Of each position of one sequence, alone in its batch."""
    tensor = torch.tensor([ids])
    mask = torch.ones_like(tensor, dtype=torch.bool)
    with torch.inference_mode():
        out = answerer.model(tensor, mask, torch.zeros_like(tensor), "task")
    return out[0].log_softmax(-1)


@pytest.mark.parametrize("arch", ["bert", "gpt", "rnn"])
def test_a_word_has_the_tag_of_its_first_token(arch):
    answerer = predictor("tag", arch, labels=LABELS)
    words = sentence(9, 1)
    (answer,) = answerer.answer([row(words)])
    task = answerer.task
    tokens = [task.setting.tokenizer.encode([word])[0] for word in words]
    encoded = task.setting.template.fill([index for word in tokens for index in word])
    found = log_probs(answerer, encoded.ids)
    at, tags, probs = encoded.starts[0], [], []
    for word in tokens:
        tags.append(LABELS[int(found[at].argmax())])
        probs.append(float(found[at].max().exp()))
        at += len(word)
    assert answer.details["tags"] == tags
    assert answer.details["probs"] == pytest.approx(probs, abs=1e-5)
    assert answer.text == " ".join(tags)


def test_a_word_that_the_tokenizer_leaves_nothing_of_has_a_tag():
    answerer = predictor("tag", labels=LABELS)
    (answer,) = answerer.answer([row(["banu", "\u200b", "kevo"])])
    assert len(answer.details["tags"]) == 3


@pytest.mark.parametrize("stride", [None, 1, 5, 14])
def test_twenty_times_the_length_every_word_is_answered_from_its_widest_context(stride):
    answerer = predictor("tag", labels=LABELS, max_len=16, setting={"stride": stride})
    words = sentence(20 * 16, 2)
    (answer,) = answerer.answer([row(words)])
    task = answerer.task
    tokens = [task.setting.tokenizer.encode([word])[0] for word in words]
    flat = [index for word in tokens for index in word]
    windows = windows_of(len(flat), 14, stride or 7)
    outputs = [
        log_probs(answerer, task.setting.template.fill(flat[first:end]).ids)
        for first, end in windows
    ]
    expected, at = [], 0
    for word in tokens:
        number = widest_context(windows, at)
        expected.append(LABELS[int(outputs[number][1 + at - windows[number][0]].argmax())])
        at += len(word)
    assert answer.details["tags"] == expected


def test_windows_that_hold_a_position_are_found_as_by_looking_at_all():
    for length, room, stride in [(50, 7, 3), (50, 7, 7), (50, 7, 1), (3, 7, 3), (21, 10, 9)]:
        windows = windows_of(length, room, stride)
        for position in range(length):
            assert _best_window(windows, position) == widest_context(windows, position)


def test_each_word_is_learnt_once_and_the_loss_is_that_of_all_words():
    answerer = predictor("tag", labels=LABELS, max_len=16)
    task = answerer.task
    examples = []
    for seed, size in enumerate((3, 40, 11, 1)):
        words = sentence(size, seed)
        examples.append(row(words, random.Random(seed).choices(LABELS, k=size)))
    encoded = task.encode(examples, targets=True)
    batch = collate(encoded, task.setting.tokenizer.pad_id)
    assert batch.n_tokens == 3 + 40 + 11 + 1
    with torch.inference_mode():
        logits = answerer.model(batch.ids, batch.mask, batch.segments, "task")
        loss = float(task.loss(logits, batch))
    expected = 0.0
    for (encoded_row,) in (example.rows for example in encoded):
        found = log_probs(answerer, encoded_row.ids)
        ((targets,),) = [e.targets for e in encoded if e.rows[0] is encoded_row]
        for position, gold in enumerate(targets):
            if gold >= 0:
                expected -= float(found[position, gold])
    assert loss == pytest.approx(expected, rel=1e-5)


def test_unknown_tags_of_dev_data_are_not_learnt_and_count_as_wrong():
    task = predictor("tag", labels=LABELS).task
    (encoded,) = task.encode([row(["banu", "kera"], ["NOUN", "NEW"])], targets=True)
    assert encoded.n_targets == 1
    assert task.encode([row(["banu"], ["NEW"])], targets=True) == []


def test_class_weights_and_label_smoothing_are_those_of_cross_entropy():
    setting = {"class_weights": (0.5, 1.0, 3.0), "label_smoothing": 0.2}
    answerer = predictor("tag", labels=LABELS, setting=setting)
    words, tags = sentence(6, 3), list(LABELS) * 2
    encoded = answerer.task.encode([row(words, tags)], targets=True)
    batch = collate(encoded, answerer.task.setting.tokenizer.pad_id)
    with torch.inference_mode():
        logits = answerer.model(batch.ids, batch.mask, batch.segments, "task")
    places = np.nonzero(encoded[0].targets[0] >= 0)[0]
    expected = F.cross_entropy(
        logits[0, places],
        torch.tensor([LABELS.index(tag) for tag in tags]),
        torch.tensor(setting["class_weights"]),
        label_smoothing=0.2,
        reduction="sum",
    )
    assert float(answerer.task.loss(logits, batch)) == pytest.approx(float(expected), rel=1e-5)


# --- well-formed tags ---


@pytest.mark.parametrize(("labels", "spans"), [(BIO, bio_spans), (BIOES, bioes_spans)])
def test_legal_sequences_are_those_that_strict_and_lenient_reading_agree_on(labels, spans):
    pairs, begins, ends = well_formed(labels)
    n_legal = 0
    for size in (1, 2, 3, 4):
        for numbers in itertools.product(range(len(labels)), repeat=size):
            legal = (
                begins[numbers[0]]
                and ends[numbers[-1]]
                and all(pairs[a, b] for a, b in itertools.pairwise(numbers))
            )
            tags = [labels[number] for number in numbers]
            n_legal += legal
            covered = {at for _, first, end in spans(tags) for at in range(first, end)}
            whole = covered == {at for at, tag in enumerate(tags) if tag != "O"}
            assert legal == (whole and spans(tags) == lenient_spans(tags)), tags
    assert n_legal > 50


@pytest.mark.parametrize("labels", [BIO, BIOES])
def test_viterbi_finds_the_best_of_all_legal_sequences(labels):
    legal = well_formed(labels)
    pairs, begins, ends = legal
    generator = np.random.default_rng(1)
    for _ in range(20):
        scores = generator.normal(size=(4, len(labels))) * 2
        best = max(
            (
                numbers
                for numbers in itertools.product(range(len(labels)), repeat=4)
                if begins[numbers[0]]
                and ends[numbers[-1]]
                and all(pairs[a, b] for a, b in itertools.pairwise(numbers))
            ),
            key=lambda numbers: sum(scores[i, number] for i, number in enumerate(numbers)),
        )
        assert viterbi(scores, *legal).tolist() == list(best)


@pytest.mark.parametrize(
    "labels",
    [
        LABELS,
        ("B", "X", "O"),
        ("I-A", "I-B", "O"),  # IOB1: a span begins with I
        ("B-A", "I-A", "I-B", "O"),
        ("O", "X"),
    ],
)
def test_other_labels_are_taken_as_they_come(labels):
    assert well_formed(labels) is None
    assert predictor("tag", labels=labels).task.metric == "accuracy"


def test_spans_are_measured_as_spans():
    assert predictor("tag", labels=BIO).task.metric == "span_f1"
    assert predictor("tag", labels=("B", "I", "O")).task.metric == "span_f1"


def test_weighed_tags_count_by_their_weights():
    answerer = predictor("tag", labels=LABELS, setting={"class_weights": (2.0, 1.0, 0.5)})
    plain = predictor("tag", labels=LABELS).task
    task = answerer.task
    tags = ["ADJ", "NOUN", "VERB", "VERB"]
    encoded = task.encode([row(sentence(4, 3), tags)], targets=True)
    batch = collate(encoded, task.setting.tokenizer.pad_id)
    with torch.inference_mode():
        logits = answerer.model(batch.ids, batch.mask, batch.segments, "task")
        log_p = logits.log_softmax(-1)[0]
        at = encoded[0].rows[0].starts[0]
        each = [-float(log_p[at + i, LABELS.index(tag)]) for i, tag in enumerate(tags)]
        weighed, alike = float(task.loss(logits, batch)), float(plain.loss(logits, batch))
    assert alike == pytest.approx(sum(each), rel=1e-5)
    assert weighed == pytest.approx(2 * each[0] + each[1] + each[2] / 2 + each[3] / 2, rel=1e-5)


def test_each_tags_losses_add_up_to_the_same():
    examples = [row(["a", "b", "c"], ["O", "O", "B-A"]), row(["d"], ["O"])]
    assert balanced_weights(Tag, examples, ("B-A", "O")) == pytest.approx((2.0, 2 / 3))
