"""Self-attention of BERT and GPT-2 against the transformers library's own weights."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from drawn_models import table, tokens
from program import inside

pytest.importorskip("transformers")

from tiny_models import save_bert, save_gpt  # noqa: E402


def converted(place: Path, save, name: str, **changes):
    """A model of the library that gives its weights, and a directory of ours."""
    model = save(place / "hf", name, **changes)
    model.set_attn_implementation("eager")
    inside("convert", place / "hf", "-o", place / "ours")
    return model, place / "ours"


def attend(model: Path, text: str, *options: object):
    quick = ("--threads", 1, "--device", "cpu", "--layer", "all", "--head", "all")
    return inside("attend", "-m", model, *quick, *options, stdin=f"{text}\n".encode())


def check(lines: list[str], reference, ids: list[int], **more) -> None:
    with torch.no_grad():
        wanted = reference(torch.tensor([ids]), output_attentions=True, **more).attentions
    found = table(lines)
    assert len(found) == sum(layer.shape[1] for layer in wanted)
    for number, layer in enumerate(wanted, 1):
        for head, weights in enumerate(layer[0].numpy(), 1):
            own = found["1", str(number), str(head)]
            matrix = np.zeros_like(weights)
            for place, weight in own.items():
                matrix[place] = weight
            np.testing.assert_allclose(matrix, weights, atol=2e-5)


def test_bert_and_the_words_of_its_pieces(tmp_path):
    model, ours = converted(tmp_path, save_bert, "BertModel")
    run = attend(ours, "the dogs ran unknowning .")
    pieces = ["[CLS]", "the", "dog", "##s", "ran", "un", "##known", "##ing", ".", "[SEP]"]
    assert tokens(run.lines, "1", 4) == tokens(run.lines, "1", 6) == pieces
    vocabulary = (tmp_path / "hf" / "vocab.txt").read_text("utf-8").split("\n")
    check(run.lines, model, [vocabulary.index(piece) for piece in pieces])
    words = tokens(attend(ours, "the dogs ran unknowning .", "--words").lines, "1", 4)
    assert words == ["[CLS]", "the", "dogs", "ran", "unknowning", ".", "[SEP]"]


def test_a_classifier_of_pairs_sees_both_texts(tmp_path):
    model, ours = converted(tmp_path, save_bert, "BertForSequenceClassification")
    run = attend(ours, "the cat", "--kind", "self")
    vocabulary = (tmp_path / "hf" / "vocab.txt").read_text("utf-8").split("\n")
    ids = [vocabulary.index(piece) for piece in tokens(run.lines, "1", 4)]
    check(run.lines, model, ids)


def test_gpt_sees_earlier_tokens_alone(tmp_path):
    model, ours = converted(tmp_path, save_gpt, "GPT2LMHeadModel")
    run = attend(ours, "the cat sat")
    for weights in table(run.lines).values():
        assert all(weight == 0 for (row, column), weight in weights.items() if column > row)
    pieces = tokens(run.lines, "1", 4)
    assert pieces[0] == pieces[-1] == "<|endoftext|>"
    ids = json.loads((tmp_path / "hf" / "vocab.json").read_text("utf-8"))
    check(run.lines, model, [ids[piece] for piece in pieces])


def test_windows_cover_a_text_longer_than_the_model_reads(tmp_path):
    _, ours = converted(tmp_path, save_bert, "BertModel")
    text = " ".join(["the cat sat on the mat ."] * 6)
    run = attend(ours, text)
    assert "long line, drawn in" in run.said
    rows = tokens(run.lines, "1", 4)
    assert rows.count("[CLS]") == rows.count("[SEP]") > 1
    assert rows.count(".") >= 6
