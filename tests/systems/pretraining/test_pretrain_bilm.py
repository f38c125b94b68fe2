"""`attn pretrain --objective bilm`, and what is done with its model, as a user meets it."""

from __future__ import annotations

import json
import random
import signal

import numpy as np
import pytest
import torch
from program import attn, inside, stopped
from test_pretrain import log

from attn_cli.config.pretraining import ObjectiveOptions, PretrainCommand
from attn_cli.config.training import PretrainTrainingOptions
from attn_cli.data.corpus import build_corpus
from attn_cli.data.entries import Blocks, CorpusFiles
from attn_cli.lines.unusable import BadLines
from attn_cli.models.directory import load_model
from attn_cli.systems.pretraining.bidirectional import SentenceReader
from attn_cli.tokenizers.tokenizer_files import load_tokenizer

NAMES = ("anna", "bert", "carl", "dora", "emil", "fritz")
VERBS = ("sees", "hears", "likes", "greets")
SMALL = (
    *("--objective", "bilm", "--d-model", 48, "--n-layers", 2, "--max-len", 16),
    *("--vocab-size", 60, "--batch-tokens", 400, "--warmup", 5, "--threads", 1, "--device", "cpu"),
)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    """Sentences whose last word is their first: either end tells the other."""
    generator = random.Random(1)
    path = tmp_path_factory.mktemp("corpus") / "train.txt"
    lines = []
    for _ in range(900):
        name = generator.choice(NAMES)
        lines.append(f"{name} {generator.choice(VERBS)} {generator.choice(NAMES)} and {name}")
        lines += [""] * (generator.random() < 0.2)
    path.write_text("\n".join(lines) + "\n")
    return path


@pytest.fixture(scope="module")
def elmo(corpus):
    limits = ("--max-steps", 150, "--validate-every", 75, "--ema", 0.9)
    place = corpus.parent / "elmo"
    run = inside("pretrain", corpus, "-o", place, *SMALL, *limits)
    assert run.out == f"{place}\n".encode()
    return place


def test_it_learns_in_both_directions(elmo):
    first, last = log(elmo)[0], log(elmo)[-1]
    for figure in ("dev_perplexity", "dev_forward_perplexity", "dev_backward_perplexity"):
        assert last[figure] < first[figure]
    # Of seven tokens three are free: the names (6 and 6) and the verb (4).
    best = (6 * 4 * 6) ** (1 / 6)
    assert best < last["dev_forward_perplexity"] < 1.35 * best
    assert best < last["dev_backward_perplexity"] < 1.35 * best
    _, model = load_model(elmo, torch.device("cpu"))
    assert not model.backbone.mix.any() and model.backbone.scale == 1


def test_embed_gives_each_layer(elmo):
    text = b"anna sees bert and anna\n\ncarl likes dora\n"
    common = ("embed", "-m", elmo, "--pool", "none", "--threads", 1)
    whole = [
        json.loads(line or "{}") for line in inside(*common, "--layer", "all", stdin=text).lines
    ]
    assert whole[1] == {}
    vectors = np.array(whole[0]["vectors"])
    assert vectors.shape[1:] == (3, 48)
    assert np.array_equal(vectors[:, 0, :24], vectors[:, 0, 24:])  # the embeddings, twice
    for layer in range(3):
        one = json.loads(inside(*common, "--layer", layer, stdin=text).lines[0])
        np.testing.assert_allclose(np.array(one["vectors"]), vectors[:, layer], atol=1e-6)
    run = inside(*common, "--layer", 3, stdin=text, status=2)
    assert "layers 0 (embeddings) to 2" in run.said


def test_a_task_learns_the_mix_and_leaves_the_language_model_alone(elmo, tmp_path):
    generator = random.Random(2)
    lines = []
    for _ in range(300):
        verb = generator.choice(VERBS)
        lines.append(f"{generator.choice(NAMES)} {verb} {generator.choice(NAMES)}\t{verb}\n")
    train = tmp_path / "train.tsv"
    train.write_text("".join(lines))
    limits = ("--max-steps", 80, "--validate-every", 40, "--ema", 0, "--lr", 0.01, "--threads", 1)
    common = ("finetune", train, "--task", "classify", "--init", elmo)
    run = attn(*common, "--freeze", 3, "-o", tmp_path / "model", *limits)
    assert run.out == f"{tmp_path / 'model'}\n".encode()
    _, before = load_model(elmo, torch.device("cpu"))
    _, after = load_model(tmp_path / "model", torch.device("cpu"))
    moved = {
        name
        for name, weight in after.backbone.named_parameters()
        if not torch.equal(weight, dict(before.backbone.named_parameters())[name])
    }
    names = ("attention.score.project.weight", "attention.score.project.bias", "query")
    pool = {f"attention_pool.{name}" for name in names}
    assert moved == {"mix", "scale", *pool}
    given = "\n".join(line.split("\t")[0] for line in lines[:60]).encode()
    answers = attn("decode", "-m", tmp_path / "model", "--threads", 1, stdin=given).lines
    gold = [line.strip().split("\t")[1] for line in lines[:60]]
    assert sum(a == b for a, b in zip(answers, gold, strict=True)) >= 54


@pytest.mark.parametrize("pool", ["mean", "max"])
def test_other_poolings_are_learnt_from_too(elmo, tmp_path, pool):
    train = tmp_path / "train.tsv"
    train.write_text("".join(f"{a} sees {b}\t{a}\n" for a in NAMES for b in NAMES))
    given = ("finetune", train, "--task", "classify", "--init", elmo, "--pool", pool)
    limits = ("--max-steps", 3, "--validate-every", 3, "--threads", 1)
    inside(*given, "-o", tmp_path / "model", *limits)
    config = json.loads((tmp_path / "model" / "config.json").read_text())
    assert config["heads"][0]["pool"] == pool
    out = inside("decode", "-m", tmp_path / "model", stdin=b"anna sees bert\n").lines
    assert out[0] in NAMES


def test_it_neither_continues_nor_scores_texts(elmo):
    run = inside("decode", "-m", elmo, stdin=b"anna\n", status=3)
    assert "attn finetune" in run.said
    run = inside("score", "--ppl", "-m", elmo, stdin=b"anna\n", status=3)
    assert "no probability of a text" in run.said


def test_options_of_other_stacks_are_refused(corpus, tmp_path):
    given = ("pretrain", corpus, "-o", tmp_path / "out", *SMALL, "--n-heads", 2)
    assert "without --n-heads" in inside(*given, status=2).said


@pytest.mark.slow
def test_a_stopped_run_ends_as_the_uninterrupted_one(tmp_path, corpus):
    def command(folder):
        stateful = ("--dropout", 0.2, "--ema", 0.9, "--accumulate", 2)
        limits = ("--max-steps", 20, "--validate-every", 10)
        return ("pretrain", corpus, "-o", tmp_path / folder, *SMALL, *stateful, *limits)

    inside(*command("whole"))
    run = stopped(signal.SIGINT, 13, *command("parts"), status=130)
    assert "stopped after step 13, state saved" in run.said
    inside(*command("parts"))
    assert log(tmp_path / "whole") == log(tmp_path / "parts")
    name = "model.safetensors"
    assert (tmp_path / "whole" / name).read_bytes() == (tmp_path / "parts" / name).read_bytes()


def test_each_token_is_predicted_once_from_either_side(elmo, tmp_path):
    sentences = ["anna sees bert and anna", " ".join(NAMES * 5), "", "carl likes dora"]
    path = tmp_path / "text.txt"
    path.write_text("\n".join(sentences) + "\n")
    bad = BadLines(print, skip_bad=False)
    files = CorpusFiles((str(path),), blocks=Blocks(split=True))
    corpus = build_corpus(files, tmp_path / "index", "train", bad, lambda lines: None)
    tokenizer = load_tokenizer(str(elmo))
    command = PretrainCommand(
        objective=ObjectiveOptions(max_len=16), training=PretrainTrainingOptions(batch_tokens=100)
    )
    reader = SentenceReader(corpus, np.arange(len(corpus)), tokenizer, command)
    filled = [one for one in sentences if one]
    whole = [[tokenizer.bos_id, *ids, tokenizer.eos_id] for ids in tokenizer.encode(filled)]
    for seed in range(3):
        ahead, back = [], []
        for batch in reader.batches(np.arange(len(corpus)), seed):
            for ids, mask in zip(batch.ids, batch.mask, strict=True):
                window = ids[: int(mask.sum()) + 1].tolist()
                assert len(window) <= 17
                assert len(window) == 17 or any(set(window) & {tokenizer.bos_id, tokenizer.eos_id})
                ahead += window[1:]
                back += window[:-1]
        assert sorted(ahead) == sorted(i for ids in whole for i in ids[1:])
        assert sorted(back) == sorted(i for ids in whole for i in ids[:-1])
