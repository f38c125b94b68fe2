"""Texts that are read sentence by sentence: how they are cut, batched and answered."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from builders import WORDS, tokenizer

from attn_cli.data.batching import cut_by_budget
from attn_cli.data.sentences import sentences_of
from attn_cli.data.templates import DocumentTemplate
from attn_cli.errors import DataError, UsageError
from attn_cli.lines.picking import Keys
from attn_cli.models import build_model
from attn_cli.models.han import HanConfig
from attn_cli.models.text import HeadConfig
from attn_cli.systems.tasks import TASKS
from attn_cli.systems.tasks import predictor as prediction
from attn_cli.systems.tasks.base import collate
from attn_cli.systems.tasks.predictor import Predictor, task_setting
from attn_cli.systems.tasks.reader import group_by_length

LABELS = ("no", "yes")


def predictor(kind="classify", max_len=8, **setting):
    own = tokenizer()
    torch.manual_seed(4)
    head = HeadConfig(
        name="task",
        kind=TASKS[kind].head,
        n_outputs=TASKS[kind].outputs(LABELS),
        task=kind,
        max_len=max_len,
        std=1.0,
        high=1.0,
    )
    config = HanConfig(vocab_size=own.vocab_size, d_embedding=6, d_model=8, dropout=0.0)
    model = build_model("han", config, [head]).eval()
    with torch.no_grad():
        for weight in model.parameters():
            weight.add_(torch.randn_like(weight) * 0.3)
    given = task_setting(model, own, list(LABELS), head)
    return Predictor(model, "task", TASKS[kind](dataclasses.replace(given, **setting)))


def probability(answer):
    return answer.details["probs"]["yes"]


def test_sentences_are_the_lists_else_what_ends_with_a_mark_or_a_line():
    entry = '{"id": "a", "sentences": ["One. Two; three", "", "Four"], "title": "Five. Six"}'
    apart = Keys((), (), False, True, ("sentences", "title"))
    (text, title), _ = apart.pick(entry)
    assert sentences_of(text) == ["One. Two; three", "Four"]
    assert sentences_of(title) == ["Five.", "Six"]
    (joined, _), _ = Keys((), (), False, False, ("sentences", "title")).pick(entry)
    assert joined == "One. Two; three  Four"
    assert sentences_of("Eins. Zwei!  Drei?\nvier 3.5 fünf") == [
        *("Eins.", "Zwei!", "Drei?"),
        "vier 3.5 fünf",
    ]
    (one, _), _ = apart.pick('{"sentences": ["Not cut. At all."], "title": ""}')
    assert sentences_of(one) == ["Not cut. At all."]


def test_nothing_of_a_long_sentence_is_lost():
    template = DocumentTemplate(tokenizer(), 4)
    rows = template.document([[[5, 6, 7, 8, 9, 10, 11, 12, 13], [], [14]]])
    assert [row.ids for row in rows] == [[5, 6, 7, 8], [9, 10, 11, 12], [13], [14]]
    assert [row.ids for row in template.document([[[]]])] == [[template.separator_id]]
    pair = template.document([[[5], [6]], [[7]]])
    assert [row.ids for row in pair] == [[5], [6], [template.separator_id], [7]]


def test_an_answer_does_not_depend_on_its_batch_nor_on_its_passes(monkeypatch):
    model = predictor()
    texts = [
        ["\n".join(WORDS)],
        ["banu"],
        [f"{WORDS[3]} {WORDS[4]} {WORDS[5]}\n{WORDS[1]}\n{' '.join(WORDS)}"],
        ["\n".join(WORDS * 9)],
    ]
    alone = [probability(model.answer([text])[0]) for text in texts]
    together = [probability(answer) for answer in model.answer(texts)]
    assert together == pytest.approx(alone, abs=1e-6)
    monkeypatch.setattr(prediction, "BATCH_TOKENS", 16)  # documents are read in several passes
    assert [probability(a) for a in model.answer(texts)] == pytest.approx(alone, abs=1e-6)
    assert len({round(value, 6) for value in alone}) == len(alone)


def test_the_order_of_sentences_counts():
    model = predictor()
    one, other = model.answer([["banu\nkera"], ["kera\nbanu"]])
    assert abs(probability(one) - probability(other)) > 1e-5


def test_sentences_that_say_nothing_are_passed_over():
    model = predictor()
    plain, gaps = model.answer([["banu\nkera"], ["\n banu\n\n \t\n kera  "]])
    assert probability(gaps) == pytest.approx(probability(plain), abs=1e-6)
    (only_control,) = model.answer([["\x07"]])
    assert only_control.text in LABELS


def test_a_batch_gives_the_loss_of_its_documents_one_by_one():
    model = predictor()
    examples = [["\n".join(WORDS), "yes"], ["banu", "no"], ["kera linu\nmora", "yes"]]
    encoded = model.task.encode(examples, targets=True)

    def loss(chosen):
        batch = collate(chosen, 0)
        given = (batch.ids, batch.mask, batch.segments, "task", batch.owner)
        return float(model.task.loss(model.model(*given), batch).detach())

    assert loss(encoded) == pytest.approx(sum(loss([one]) for one in encoded), rel=1e-5)


def test_no_more_is_learnt_from_a_document_than_fits_and_all_of_it_is_answered():
    model = predictor(max_len=256)
    long = [" ".join(WORDS * 20) + "\n" + "\n".join(WORDS * 300), "yes"]
    (learnt,) = model.task.encode([long], targets=True)
    (asked,) = model.task.encode([long], targets=False)
    assert len(asked.rows) == 3601
    assert 200 < len(learnt.rows) <= (1 << 16) // learnt.width
    assert learnt.rows[0].ids == asked.rows[0].ids and learnt.rows[-1].ids == asked.rows[-1].ids


def test_groups_hold_to_the_budget_with_all_rows_padded():
    model = predictor(max_len=64)
    texts = [["\n".join(WORDS[:n]), "no"] for n in range(1, 12)]
    texts += [[" ".join(WORDS[:n]), "no"] for n in range(1, 12)]
    encoded = model.task.encode(texts, targets=True)
    for group in group_by_length(encoded, 60, seed=1):
        batch = collate([encoded[i] for i in group], 0)
        assert batch.ids.numel() <= 60 or len(group) == 1
    lengths = [(n, n) for n in (3, 1, 4, 1, 5, 9, 2, 6)]
    assert cut_by_budget(lengths, 12, 7) == cut_by_budget(lengths, 12, 7, [1] * len(lengths))


@pytest.mark.parametrize("kind", ["multilabel", "pair", "regress"])
def test_other_tasks_about_texts_read_documents_too(kind):
    model = predictor(kind)
    fields = ["banu\nkera\nlinu", "mora\nbanu"][: TASKS[kind].n_texts]
    (answer,) = model.answer([fields])
    assert answer.text is not None
    if len(fields) == 2:
        (turned,) = model.answer([fields[::-1]])
        assert (turned.text, turned.details) != (answer.text, answer.details)


@pytest.mark.parametrize("kind", ["choice", "tag", "qa"])
def test_tasks_about_words_and_choices_are_refused(kind):
    with pytest.raises(DataError, match=f"does not do {kind}: it does classify, pair"):
        predictor(kind)


def test_a_stride_is_refused():
    with pytest.raises(UsageError, match="--stride: .* has no windows"):
        predictor(stride=3)
