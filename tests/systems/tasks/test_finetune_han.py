"""`attn finetune --arch han` as a user meets it, on documents that one word decides."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest
import torch
from program import attn, inside

from attn_cli.data.padding import pad
from attn_cli.systems.tasks.predictor import load_predictor

WORDS = [a + b for a in ("ba", "ke", "li", "mo", "su") for b in ("na", "ro", "vi")]
KEYS = {"good": "fine", "bad": "awful"}
SMALL = (
    *("--arch", "han", "--size", "tiny", "--threads", 1, "--device", "cpu", "--dropout", 0.1),
    *("--columns", "parts,label", "--vocab-size", 80, "--warmup", 5, "--ema", 0),
)


def documents(size, seed):
    generator = random.Random(seed)
    for _ in range(size):
        label = generator.choice(list(KEYS))
        parts = [
            " ".join(generator.choices(WORDS, k=generator.randint(2, 6)))
            for _ in range(generator.randint(3, 6))
        ]
        place = generator.randrange(len(parts))
        parts[place] += f" {KEYS[label]}"
        yield {"parts": parts, "label": label}, place


def write(path, size, seed):
    lines = [json.dumps(entry) for entry, _ in documents(size, seed)]
    path.write_text("\n".join(lines) + "\n")
    return path


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> Path:
    place = tmp_path_factory.mktemp("han")
    train = write(place / "train.jsonl", 400, seed=1)
    limits = ("--max-steps", 90, "--validate-every", 45, "--batch-tokens", 1024, "--lr", 0.004)
    inside("finetune", train, "--task", "classify", "-o", place / "model", *SMALL, *limits)
    return place / "model"


def test_it_learns_the_one_word_and_attends_to_its_sentence(model, tmp_path):
    found = list(documents(60, seed=2))
    lines = "".join(json.dumps(entry) + "\n" for entry, _ in found).encode()
    run = attn("decode", "-m", model, "--columns", "parts", "--threads", 1, stdin=lines)
    right = [line == entry["label"] for line, (entry, _) in zip(run.lines, found, strict=True)]
    assert sum(right) >= 57

    predictor = load_predictor(model, torch.device("cpu"), None)
    seen = 0
    for entry, place in found:
        ids = predictor.task.setting.tokenizer.encode(entry["parts"])
        rows, mask = pad(ids, 0)
        with torch.no_grad():
            words, sentences = predictor.model.backbone.attention(
                rows, mask, torch.zeros(len(rows), dtype=torch.long)
            )
        seen += int(sentences.argmax()) == place
        assert words.sum(1).tolist() == pytest.approx([1.0] * len(rows), abs=1e-5)
    assert seen >= 40  # neighbours know of it too; by chance it were 14


def test_attend_draws_sentences_and_words(model):
    document = json.dumps({"parts": ["bana kero", "fine live", "suro"]}).encode() + b"\n"
    given = ("attend", "-m", model, "--columns", "parts", "--format", "tsv", "--threads", 1)
    lines = [
        line.split("\t") for line in inside(*given, "--kind", "sentence", stdin=document).lines
    ]
    weights = [float(line[-1]) for line in lines if line[-1].replace(".", "").isdigit()]
    assert len(weights) == 3
    assert sum(weights) == pytest.approx(1, abs=1e-3)
    assert max(weights) == weights[1]


def test_a_line_of_text_is_split_by_rule_and_a_blank_one_stays_blank(model):
    lines = b"bana kero. fine live. suro\n\nbana kero. awful live. suro\n"
    run = attn("decode", "-m", model, "--threads", 1, stdin=lines)
    assert run.lines == ["good", "", "bad"]


def test_it_goes_on_from_such_a_model_and_after_a_stop(model, tmp_path):
    train = write(tmp_path / "more.jsonl", 150, seed=3)
    common = ("finetune", train, "--task", "classify", "--columns", "parts,label", "--threads", 1)
    limits = ("--max-steps", 4, "--validate-every", 2)
    given = (*common, "--init", model, "-o", tmp_path / "next", *limits)
    assert "weights, of which" in inside(*given).said
    config = json.loads((tmp_path / "next" / "config.json").read_text())
    assert config["arch"] == "han"
    assert config["options"]["training"]["batch_tokens"] == 16384
    assert "finished" in inside(*given).said


@pytest.mark.parametrize(
    ("arguments", "cause"),
    [
        (
            ("--task", "tag"),
            "a han reads documents; it does classify, pair, regress, rate, multilabel",
        ),
        (("--task", "choice"), "a han reads documents"),
        (("--task", "classify", "--stride", "9"), "--stride: sentences"),
        (("--task", "classify", "--lora", "2"), "this model has none"),
    ],
)
def test_what_it_can_not_do_is_refused(tmp_path, arguments, cause):
    train = tmp_path / "train.tsv"
    train.write_text("".join(f"{w}. {w}\t{w[0]}\n" for w in WORDS * 9))
    run = inside("finetune", train, "--arch", "han", *arguments, "-o", tmp_path / "out", status=2)
    assert cause in run.said


@pytest.mark.parametrize(
    ("change", "cause"),
    [
        ({"d_embedding": 3}, "model.safetensors"),
        ({"d_model": 7}, "can't be shared by two directions"),
        ({"d_embedding": 1 << 40}, "above"),
        ({"cell": "lstm"}, "unknown option"),
        ({"dropout": float("nan")}, "dropout"),
    ],
)
def test_a_tampered_configuration_is_refused(model, tmp_path, change, cause):
    for file in model.iterdir():
        if file.is_file():
            (tmp_path / file.name).write_bytes(file.read_bytes())
    config = json.loads((tmp_path / "config.json").read_text())
    config["model"] |= change
    (tmp_path / "config.json").write_text(json.dumps(config))
    run = inside("decode", "-m", tmp_path, stdin=b"bana\n", status=3)
    assert cause in run.said


def test_a_head_that_it_can_not_carry_is_refused(model, tmp_path):
    for file in model.iterdir():
        if file.is_file():
            (tmp_path / file.name).write_bytes(file.read_bytes())
    config = json.loads((tmp_path / "config.json").read_text())
    config["heads"][0] |= {"kind": "tokens", "task": "tag"}
    (tmp_path / "config.json").write_text(json.dumps(config))
    run = inside("decode", "-m", tmp_path, stdin=b"bana\n", status=3)
    assert "does not do tag" in run.said


def test_it_has_no_layers_of_token_vectors(model):
    run = inside("embed", "-m", model, stdin=b"bana\n", status=3)
    assert "no layers of token vectors" in run.said
