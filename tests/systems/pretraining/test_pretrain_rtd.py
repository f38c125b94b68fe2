"""`attn pretrain --objective rtd`, and what is done with its model, as a user meets it."""

from __future__ import annotations

import json
import signal
import subprocess

import numpy as np
import pytest
import torch
from program import ENVIRONMENT, attn, forked_torchrun, inside, stopped
from safetensors import safe_open
from test_pretrain import NAMES, SMALL, VERBS, log, write_stories

from attn_cli.models.directory import load_model, read_config
from attn_cli.tokenizers.tokenizer_files import load_tokenizer

RTD = (*SMALL, "--objective", "rtd", "--generator-size", 0.5)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    return write_stories(tmp_path_factory.mktemp("corpus") / "train.txt", 200, seed=1)


@pytest.fixture(scope="module")
def electra(corpus):
    """A detector that has learnt whose story it reads."""
    place = corpus.parent / "electra"
    recipe = ("--n-layers", 2, "--d-model", 48, "--batch-tokens", 600, "--lr", 0.006)
    limits = ("--max-steps", 330, "--validate-every", 110, "--ema", 0.95)
    run = attn("pretrain", corpus, "-o", place, *RTD, *recipe, *limits)
    assert run.out == f"{place}\n".encode()
    assert "a generator of" in run.said and "left out of the finished model" in run.said
    return place


def test_it_learns_what_is_hidden_and_what_was_replaced(electra):
    first, last = log(electra)[0], log(electra)[-1]
    assert last["dev_perplexity"] < first["dev_perplexity"] < 15
    # A token of seven is hidden, and half of what comes in their place was there before.
    assert last["dev_detection_accuracy"] > 0.93
    assert last["dev_detection_auc"] > 0.8
    assert last["dev_detection_loss"] < 0.25
    expected = torch.tensor(last["dev_perplexity"]).log() + 50 * last["dev_detection_loss"]
    assert last["dev_loss"] == pytest.approx(float(expected), abs=1e-4)


def test_the_finished_model_is_an_encoder_without_the_generator(electra):
    config = read_config(electra)
    assert (config.arch, config.task, config.finished) == ("bert", "detect", True)
    assert [head.name for head in config.heads] == ["rtd"]
    with safe_open(electra / "model.safetensors", "pt") as weights:
        names = set(weights.keys())
    _, model = load_model(electra, torch.device("cpu"))
    assert names == {name for name, _ in model.named_parameters()}
    assert not any("partner" in name or "generator" in name for name in names)


def test_it_is_used_as_any_encoder(electra, corpus, tmp_path):
    rows = [f"{a} {verb} {b}\t{verb}\n" for a in NAMES for verb in VERBS for b in NAMES]
    (tmp_path / "train.tsv").write_text("".join(rows))
    given = ("finetune", tmp_path / "train.tsv", "--task", "classify", "--init", electra)
    limits = ("--max-steps", 20, "--validate-every", 20, "--threads", 1)
    inside(*given, "-o", tmp_path / "model", *limits)
    out = inside("decode", "-m", tmp_path / "model", stdin=b"anna sees bert\n").lines
    assert out[0] in VERBS
    (line,) = inside("embed", "-m", electra, "--pool", "mean", stdin=b"anna sees bert\n").lines
    assert len(json.loads(line)["vector"]) == 48
    maps = inside("attend", "-m", electra, "--format", "tsv", stdin=b"anna sees bert\n")
    assert "anna" in maps.out.decode()
    more = ("--max-steps", 1, "--max-len", 32, "--threads", 1)
    for objective in ("rtd", "mlm"):
        place = tmp_path / objective
        run = inside("pretrain", corpus, "--init", electra, "-o", place, *more)
        assert f"continued from {electra}" in run.said


def test_decode_says_how_likely_each_word_is_a_replacement(electra):
    sentences = [f"{a} sees {b} and {a} runs ." for a in NAMES for b in NAMES if a != b]
    text = [" ".join(sentences[i : i + 3]) for i in range(0, len(sentences), 3)]
    spoilt = [line.replace(" runs", " greets") for line in text]
    run = attn("decode", "-m", electra, "--threads", 1, stdin="\n".join([*text, *spoilt]).encode())
    found = [[float(number) for number in line.split(" ")] for line in run.lines]
    assert [len(numbers) for numbers in found] == [21] * 20
    right, wrong = np.array(found[:10]), np.array(found[10:])
    runs = [5, 12, 19]
    assert right.mean() < 0.15
    assert wrong[:, runs].mean() > 5 * right[:, runs].mean()
    _, model = load_model(electra, torch.device("cpu"))
    tokenizer = load_tokenizer(str(electra))
    (ids,) = tokenizer.encode(spoilt[:1])
    row = torch.tensor([[tokenizer.cls_id, *ids, tokenizer.sep_id]])
    with torch.no_grad():
        logits = model(row, torch.ones_like(row, dtype=torch.bool), torch.zeros_like(row), "rtd")
    cuts = [len(cut) for cut in tokenizer.encode(spoilt[0].split())]
    expected = [max(part).item() for part in logits[0, 1:-1].sigmoid().split(cuts)]
    np.testing.assert_allclose(wrong[0], expected, atol=6e-5)


def test_lines_of_any_length_have_a_number_for_each_word(electra):
    words = [*NAMES, *VERBS] * 120  # more than a window holds
    text = f"{' '.join(words)}\tkept\n\n☃ sees bert\n\xa0\tkept\n"
    common = ("decode", "-m", electra, "--threads", 1)
    run = inside(*common, stdin=text.encode())
    numbers, kept = run.lines[0].split("\t")
    assert (len(numbers.split(" ")), kept, len(run.lines)) == (1200, "kept", 4)
    assert run.lines[1] == "" and run.lines[3] == "\tkept"
    assert run.lines[2].startswith("nan 0.")
    assert "standard input:3: words of it are not known" in run.said
    entries = [
        json.loads(line) for line in inside(*common, "--format=json", stdin=text.encode()).lines
    ]
    assert [len(entry["words"]) for entry in entries] == [1200, 0, 3, 0]
    assert entries[2]["words"][0] == "☃" and entries[2]["probabilities"][0] is None
    plain = [float(number) for number in run.lines[2].split()[1:]]
    assert entries[2]["probabilities"][1:] == pytest.approx(plain, abs=6e-5)
    assert entries[0]["columns"] == ["kept"]


def test_what_it_can_not_do_is_said(electra, corpus, tmp_path):
    run = inside("score", "--ppl", "-m", electra, stdin=b"anna\n", status=3)
    assert "a detector of replaced tokens, which has no probability of a text" in run.said
    run = inside("decode", "-m", electra, "--beam", 2, stdin=b"anna\n", status=2)
    assert "--beam" in run.said and "leave it out" in run.said
    run = inside("decode", "-m", f"{electra},{electra}", stdin=b"anna\n", status=2)
    assert "only models that write texts decode as an ensemble" in run.said
    given = ("pretrain", corpus, "--objective", "mlm", "--generator-size", 0.5)
    run = inside(*given, "-o", tmp_path / "x", status=2)
    assert "--generator-size: for --objective rtd; leave it out" in run.said
    # Pre-norm and rotary positions, as every encoder has them by default.
    run = inside("convert", electra, "--to", "huggingface", "-o", tmp_path / "x", status=3)
    assert "ElectraForPreTraining has" in run.said


def test_transformers_reads_a_detector_of_its_shape(corpus, tmp_path):
    transformers = pytest.importorskip("transformers")
    shape = ("--norm", "post", "--positions", "learned", "--max-steps", 2)
    inside("pretrain", corpus, "-o", tmp_path / "m", *RTD, *shape)
    inside("convert", tmp_path / "m", "--to", "huggingface", "-o", tmp_path / "hf")
    theirs = transformers.ElectraForPreTraining.from_pretrained(tmp_path / "hf").eval()
    _, ours = load_model(tmp_path / "m", torch.device("cpu"))
    ids = torch.randint(60, (2, 9), generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        expected = theirs(ids).logits
        found = ours(ids, torch.ones_like(ids, dtype=torch.bool), torch.zeros_like(ids), "rtd")
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)


def test_a_stopped_run_ends_as_the_uninterrupted_one(tmp_path, corpus):
    def command(folder):
        stateful = ("--dropout", 0.2, "--ema", 0.9, "--accumulate", 2, "--whole-word")
        limits = ("--max-steps", 30, "--validate-every", 10)
        return ("pretrain", corpus, "-o", tmp_path / folder, *RTD, *stateful, *limits)

    inside(*command("whole"))
    run = stopped(signal.SIGINT, 14, *command("parts"), status=130)
    assert "stopped after step 14, state saved" in run.said
    (state,) = (tmp_path / "parts" / "checkpoints").glob("state-*14.safetensors")
    with safe_open(state, "pt") as tensors:
        names = set(tensors.keys())
    for of_generator in ("partner.", "average.partner."):
        assert f"{of_generator}head.output_bias" in names
    inside(*command("parts"))
    assert log(tmp_path / "whole") == log(tmp_path / "parts")
    for name in ("model.safetensors", "config.json"):
        assert (tmp_path / "whole" / name).read_bytes() == (tmp_path / "parts" / name).read_bytes()


@pytest.mark.slow
def test_two_processes_train_as_one(tmp_path, corpus):
    """What is drawn depends on the token and the seed alone, so it is the same on any rank."""
    recipe = (
        *(*RTD, "--dropout", 0, "--precision", "float32", "--max-steps", 9, "--accumulate", 2),
        *("--validate-every", 3, "--batch-tokens", 70),
    )
    inside("pretrain", corpus, "-o", tmp_path / "one", *recipe)
    command = [*forked_torchrun(2), "pretrain", corpus, "-o", tmp_path / "two", *recipe]
    command = [str(part) for part in command]
    done = subprocess.run(command, capture_output=True, env=ENVIRONMENT, timeout=600)
    assert done.returncode == 0, done.stderr.decode()
    one, two = log(tmp_path / "one"), log(tmp_path / "two")
    assert len(one) == len(two) == 3
    for alone, together in zip(one, two, strict=True):
        assert together == {
            name: pytest.approx(value, abs=1e-3, rel=1e-3) for name, value in alone.items()
        }


def test_the_weight_of_detection_and_the_generators_size_are_read(tmp_path, corpus):
    limits = ("--max-steps", 2, "--validate-every", 2, "--ema", 0)
    other = {
        "usual": (),
        "heavy": ("--detection-weight", 5),
        "wide": ("--generator-size", 1),
    }
    found = {}
    for name, more in other.items():
        inside("pretrain", corpus, "-o", tmp_path / name, *RTD, *limits, *more)
        found[name] = log(tmp_path / name)[-1]
    mean = {name: entry["dev_detection_loss"] for name, entry in found.items()}
    nll = {name: torch.tensor(entry["dev_perplexity"]).log() for name, entry in found.items()}
    assert found["heavy"]["dev_loss"] == pytest.approx(float(nll["heavy"] + 5 * mean["heavy"]))
    assert found["wide"] != found["usual"] != found["heavy"]
