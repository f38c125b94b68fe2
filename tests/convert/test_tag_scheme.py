"""Taggers that learnt IOB1 elsewhere: the scheme stands in the model, and decode | score agree."""

from __future__ import annotations

import pytest
import torch
from program import inside
from tiny_models import WORDS, save_bert, transformers

from attn_cli.models.directory import read_config

SENTENCES = [WORDS[start : start + 6] for start in range(0, 12, 3)]
READ_ALIKE = "its tags are those of BIO, and of IOB1: taken as BIO"


def save_tagger(folder, tags):
    """A random tagger that never answers B-."""
    model = save_bert(
        *(folder, "BertForTokenClassification"),
        id2label=dict(enumerate(tags)),
        label2id={tag: i for i, tag in enumerate(tags)},
    )
    with torch.no_grad():
        model.classifier.weight.mul_(8)
        for number, tag in enumerate(tags):
            model.classifier.bias[number] = -1e3 if tag.startswith("B-") else 0
    model.save_pretrained(folder)
    return model


def their_tags(model, folder, words):
    """The best tag of each word's first token, as they are."""
    tokenizer = transformers.BertTokenizerFast.from_pretrained(folder)
    batch = tokenizer(words, is_split_into_words=True, return_tensors="pt")
    places = batch.word_ids()
    with torch.no_grad():
        best = model(**batch).logits[0].argmax(-1).tolist()
    return [model.config.id2label[best[places.index(i)]] for i in range(len(words))]


def as_bio(tags):
    """By definition: a span's first tag is B-."""
    return [
        "B-" + tag[2:] if tag != "O" and (i == 0 or tags[i - 1][2:] != tag[2:]) else tag
        for i, tag in enumerate(tags)
    ]


@pytest.mark.parametrize(
    ("tags", "options"),
    [
        (("O", "I-PER", "I-LOC"), ()),
        (("O", "I-PER", "I-LOC", "B-LOC"), ()),
        (("O", "B-PER", "I-PER", "I-LOC", "B-LOC"), ("--scheme", "iob1")),
    ],
)
def test_answers_are_bio_and_scored_rightly_against_gold_of_either_scheme(tmp_path, tags, options):
    theirs = save_tagger(tmp_path / "hf", tags)
    said = inside("convert", tmp_path / "hf", "-o", tmp_path / "m", *options).said
    assert ("its tags are IOB1" in said) == (not options)
    assert read_config(tmp_path / "m").heads[0].scheme == "iob1"
    gold = [their_tags(theirs, tmp_path / "hf", words) for words in SENTENCES]
    assert {tag for own in gold for tag in own} >= {"O", "I-LOC"}
    for columns in (gold, [as_bio(own) for own in gold]):
        rows = [
            "\n".join(f"{word}\t{tag}" for word, tag in zip(words, own, strict=True)) + "\n"
            for words, own in zip(SENTENCES, columns, strict=True)
        ]
        run = inside("decode", "-m", tmp_path / "m", stdin="\n".join(rows).encode())
        found = [line.split("\t")[1] for line in run.lines if line]
        assert found == [tag for own in gold for tag in as_bio(own)]
        assert "the model's tags are IOB1 (I- begins spans), answered as BIO" in run.said
        scored = inside("score", "--span-f1", "--columns", "2,3", stdin=run.out)
        assert scored.lines[0] == "SPAN_F1\t1.000000"


def test_tags_of_either_scheme_are_taken_as_bio_and_that_is_said(tmp_path):
    save_tagger(tmp_path / "hf", ("O", "B-PER", "I-PER"))
    assert READ_ALIKE in inside("convert", tmp_path / "hf", "-o", tmp_path / "m").said
    assert read_config(tmp_path / "m").heads[0].scheme == "bio"
    run = inside("convert", tmp_path / "hf", "-o", tmp_path / "n", "--scheme", "bio")
    assert run.said == ""
    run = inside("decode", "-m", tmp_path / "n", stdin=b"the\ncat\n")
    assert run.said == ""


def test_a_scheme_that_no_file_keeps_is_said_on_the_way_back(tmp_path):
    save_tagger(tmp_path / "hf", ("O", "B-PER", "I-PER"))
    inside("convert", tmp_path / "hf", "-o", tmp_path / "m", "--scheme", "iob1")
    run = inside("convert", tmp_path / "m", "--to", "huggingface", "-o", tmp_path / "back")
    assert "its tags are IOB1, which no file of theirs says" in run.said


def test_a_scheme_of_what_has_no_spans_is_wrong_usage(tmp_path):
    save_bert(tmp_path / "hf", "BertForTokenClassification")
    run = inside("convert", tmp_path / "hf", "-o", tmp_path / "m", "--scheme", "iob1", status=2)
    assert "--scheme iob1: this model has no tags of spans" in run.said
    assert not (tmp_path / "m").exists()
