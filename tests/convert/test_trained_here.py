"""What `finetune` makes of a BERT is loaded by transformers' Auto classes as it is written."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest
import torch
from drawn_models import write_text_model, write_translator
from program import inside
from test_parity import close
from tiny_models import transformers

from attn_cli.models.directory import load_model, read_config
from attn_cli.models.text import HeadConfig
from attn_cli.tokenizers.tokenizer_files import load_tokenizer

CPU = torch.device("cpu")
LINES = ["the cat sat on the mat", "a dog  ran to the cat", "кот и пёс", "שלום"]
AUTO = {
    "classify": transformers.AutoModelForSequenceClassification,
    "pair": transformers.AutoModelForSequenceClassification,
    "multilabel": transformers.AutoModelForSequenceClassification,
    "rate": transformers.AutoModelForSequenceClassification,
    "tag": transformers.AutoModelForTokenClassification,
    "qa": transformers.AutoModelForQuestionAnswering,
    "choice": transformers.AutoModelForMultipleChoice,
}


def head(task: str, kind: str = "text", n_outputs: int = 3, **more) -> HeadConfig:
    return HeadConfig(name="task", kind=kind, n_outputs=n_outputs, task=task, **more)


def written(place: Path) -> Path:
    target = place.with_name("hf")
    inside("convert", place, "--to", "huggingface", "-o", target)
    return target


def batch_of(folder: Path) -> dict[str, torch.Tensor]:
    """Lines as their own tokenizer makes them a batch."""
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    return dict(tokenizer(LINES, padding=True, return_tensors="pt"))


HEADS = [
    head("classify", pool="own"),
    head("pair", pool="own"),
    head("multilabel", pool="own"),
    head("rate", n_outputs=1, pool="own", mean=3.0, std=2.0),
    # As they are saved: what makes one vector of a text is not asked for one a token.
    head("tag", "tokens", pool="mean"),
    head("qa", "span", 2, pool="mean"),
    head("choice", n_outputs=1, pool="own"),
]


@pytest.mark.parametrize("own", HEADS, ids=lambda own: own.task)
def test_logits_of_every_task_are_equal(tmp_path, own):
    labels = ["a", "b", "c"] if own.n_outputs == 3 else []
    place = write_text_model(tmp_path / "m", "bert", own, labels=labels)
    folder = written(place)
    model = AUTO[own.task].from_pretrained(folder).eval()
    batch = batch_of(folder)
    _, ours = load_model(place, CPU)
    mask = batch["attention_mask"].bool()
    given = batch
    if own.task == "choice":  # all of them choices of one example
        given = {name: rows[None] for name, rows in batch.items()}
    with torch.no_grad():
        expected = ours(batch["input_ids"], mask, batch["token_type_ids"], "task")
        found = model(**given)
    if own.task == "qa":
        close(torch.stack((found.start_logits, found.end_logits), -1), expected, mask)
    elif own.task == "choice":
        close(found.logits[0], expected[:, 0])
    elif own.task == "rate":
        close(found.logits, expected * 2.0 + 3.0)
    else:
        close(found.logits, expected, mask if own.kind == "tokens" else None)
        assert model.config.id2label == dict(enumerate(labels))


def test_a_multiple_choice_model_comes_back(tmp_path):
    place = write_text_model(tmp_path / "m", "bert", head("choice", n_outputs=1))
    inside("convert", written(place), "-o", tmp_path / "back")
    config = read_config(tmp_path / "back")
    assert [(each.task, each.n_outputs) for each in config.heads] == [("choice", 1)]
    stdin = "\n".join(["the cat\ta dog\tthe mat", "a dog\tthe cat\tto\tthe mat"]).encode()
    answers = [
        inside("decode", "-m", each, "--format", "json", stdin=stdin).lines
        for each in (place, tmp_path / "back")
    ]
    for one, other in zip(*answers, strict=True):
        assert json.loads(one)["probs"] == pytest.approx(json.loads(other)["probs"], abs=1e-4)


@pytest.fixture(scope="module")
def sentences(tmp_path_factory) -> Path:
    file = tmp_path_factory.mktemp("sentences") / "train.tsv"
    generator = random.Random(1)
    rows = []
    for number in range(240):
        words = generator.choices(["the", "book", "film", "song", "was"], k=3)
        words.append(("great", "awful")[number % 2])
        rows.append(f"{' '.join(words)}\t{('good', 'bad')[number % 2]}\n")
    file.write_text("".join(rows))
    return file


def trained(file: Path, place: Path, *options: object) -> Path:
    small = ("--size", "tiny", "--threads", 1, "--device", "cpu", "--precision", "float32")
    limits = ("--max-epochs", 2, "--batch-tokens", 400, "--lr", 3e-3, "--warmup", 5)
    inside("finetune", file, "--task", "classify", *small, *limits, "-o", place, *options)
    return place


@pytest.mark.parametrize("kind", ["bpe", "wordpiece"])
def test_a_trained_classifier_answers_there_as_by_decode(sentences, tmp_path, kind):
    tokenizer = ("--type", kind, "--vocab-size", 40)
    place = trained(sentences, tmp_path / "m", "--pool", "own", *tokenizer)
    folder = written(place)
    pipeline = transformers.pipeline("text-classification", str(folder), device="cpu")
    lines = ["the film was great", "book awful", "song song the great"]
    stdin = "".join(f"{line}\n" for line in lines).encode()
    ours = [
        line.split("\t") for line in inside("decode", "-m", place, "--scores", stdin=stdin).lines
    ]
    answers = pipeline(lines)
    assert [answer["label"] for answer in answers] == [label for label, _ in ours]
    for answer, (_, probability) in zip(answers, ours, strict=True):
        assert answer["score"] == pytest.approx(float(probability), abs=1e-4)


def test_a_classifier_that_pools_otherwise_is_told_how_to_train(sentences, tmp_path):
    place = trained(sentences, tmp_path / "m", "--type", "bpe", "--vocab-size", 40)
    target = tmp_path / "hf"
    said = inside("convert", place, "--to", "huggingface", "-o", target, status=3).said
    assert (
        f"{place}: BertForSequenceClassification makes a text's vector of its first token" in said
    )
    assert "takes the mean" in said and "--pool own" in said
    assert not target.exists()


@pytest.mark.parametrize("lossless", [True, False])
def test_texts_get_the_tokens_that_they_have_here(tmp_path, sentences, lossless):
    """By a fast tokenizer made of the SentencePiece model, special tokens around."""
    if lossless:
        place = write_text_model(tmp_path / "m", "bert")
    else:
        place = trained(sentences, tmp_path / "m", "--pool", "own", "--type", "unigram")
    folder, own = written(place), load_tokenizer(str(place))
    theirs = transformers.AutoTokenizer.from_pretrained(folder)
    for line in [*LINES, "the unseen 漢字 🙂 é"]:
        (ids,) = own.encode([line])
        assert theirs(line).input_ids == [own.cls_id, *ids, own.sep_id]
        if own.unk_id not in ids:  # which is spelled otherwise there
            assert theirs.decode(ids) == own.decode([ids])[0]


def test_the_usual_translator_is_told_how_to_train(tmp_path):
    place = write_translator(tmp_path / "m")
    said = inside("convert", place, "--to", "huggingface", "-o", tmp_path / "hf", status=3).said
    assert "norm 'pre': MarianMTModel" in said and "positions 'rotary': MarianMTModel" in said
    assert "attn train-mt --norm post --positions sinusoidal trains one" in said
    assert "--to onnx writes this one" in said
    assert not (tmp_path / "hf").exists()
