"""`attn pretrain` as a user meets it, on a few small documents."""

from __future__ import annotations

import json
import random
import signal
import subprocess

import numpy as np
import pytest
import torch
from program import ENVIRONMENT, attn, forked_torchrun, inside, stopped
from torch import nn

from attn_cli.config.pretraining import ObjectiveOptions, PretrainCommand
from attn_cli.config.training import PretrainTrainingOptions
from attn_cli.data.corpus import build_corpus
from attn_cli.data.entries import Blocks, CorpusFiles
from attn_cli.lines.unusable import BadLines
from attn_cli.models.directory import load_model, read_config
from attn_cli.systems.pretraining.masked import MaskedObjective, PairedReader
from attn_cli.tokenizers.tokenizer_files import load_tokenizer

SMALL = (
    *("--d-model", 32, "--n-heads", 2, "--n-layers", 1, "--max-len", 32, "--vocab-size", 90),
    *("--batch-tokens", 300, "--warmup", 5, "--threads", 1, "--device", "cpu"),
)
NAMES = ("anna", "bert", "carl", "dora", "emil", "fritz")
VERBS = ("sees", "hears", "likes", "greets")


def write_stories(path, size, seed):
    """Documents about one person each: whether B follows A can be told from the names."""
    generator = random.Random(seed)
    stories = []
    for _ in range(size):
        name = generator.choice(NAMES)
        sentences = [
            f"{name} {generator.choice(VERBS)} {generator.choice(NAMES)} and {name} runs ."
            for _ in range(generator.randint(3, 9))
        ]
        stories.append("\n".join(sentences))
    path.write_text("\n\n".join(stories) + "\n")
    return path


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    return write_stories(tmp_path_factory.mktemp("corpus") / "train.txt", 200, seed=1)


def log(folder):
    lines = (folder / "train.jsonl").read_text("utf-8").splitlines()
    return [{k: v for k, v in json.loads(line).items() if k != "minutes"} for line in lines]


# The program, with a signal sent to itself after an update.
def test_a_stopped_run_ends_as_the_uninterrupted_one(tmp_path, corpus):
    def command(folder):
        stateful = ("--dropout", 0.2, "--ema", 0.9, "--accumulate", 2, "--span")
        limits = ("--max-steps", 45, "--validate-every", 15)
        return ("pretrain", corpus, "-o", tmp_path / folder, *SMALL, *stateful, *limits)

    whole = inside(*command("whole"))
    assert whole.out == f"{tmp_path / 'whole'}\n".encode()
    run = stopped(signal.SIGINT, 22, *command("parts"), status=130)
    assert "stopped after step 22, state saved" in run.said
    run = inside(*command("parts"))
    assert "continuing after step 22" in run.said
    assert log(tmp_path / "whole") == log(tmp_path / "parts")
    assert log(tmp_path / "whole")[-1]["epoch"] > 1  # a new pool, drawn and masked anew
    for name in ("model.safetensors", "vocab.txt", "config.json"):
        assert (tmp_path / "whole" / name).read_bytes() == (tmp_path / "parts" / name).read_bytes()


@pytest.mark.parametrize("objective", ["mlm+nsp", pytest.param("mlm", marks=pytest.mark.slow)])
def test_two_processes_train_as_one(tmp_path, corpus, objective):
    recipe = (
        *(*SMALL, "--dropout", 0, "--precision", "float32", "--max-steps", 12, "--accumulate", 2),
        *("--validate-every", 4, "--objective", objective, "--batch-tokens", 70),
    )
    inside("pretrain", corpus, "-o", tmp_path / "one", *recipe)
    command = [*forked_torchrun(2), "pretrain", corpus, "-o", tmp_path / "two", *recipe]
    command = [str(part) for part in command]
    done = subprocess.run(command, capture_output=True, env=ENVIRONMENT, timeout=600)
    assert done.returncode == 0, done.stderr.decode()
    assert done.stdout.decode() == f"{tmp_path / 'two'}\n"
    one, two = log(tmp_path / "one"), log(tmp_path / "two")
    assert len(one) == len(two) == 3
    for alone, together in zip(one, two, strict=True):
        assert together == {
            name: pytest.approx(value, abs=2e-5, rel=1e-5) for name, value in alone.items()
        }


def test_it_learns_what_follows_and_what_is_hidden(tmp_path, corpus):
    recipe = ("--n-layers", 2, "--d-model", 48, "--batch-tokens", 600, "--lr", 0.006)
    recipe = (*recipe, "--matrix-factor", 3.75, "--positions", "learned")
    limits = ("--max-steps", 330, "--validate-every", 330, "--ema", 0.95, *recipe)
    run = attn("pretrain", "-o", tmp_path / "m", *SMALL, *limits, stdin=corpus.read_bytes())
    assert run.lines == [str(tmp_path / "m")]
    (entry,) = log(tmp_path / "m")
    # Without its sentence a word is one of 15; whose story it is decides most of them.
    assert entry["dev_perplexity"] < 2.5
    assert entry["dev_mlm_accuracy"] > 0.5
    assert entry["dev_nsp_accuracy"] > 0.75
    assert entry["dev_loss"] > torch.tensor(entry["dev_perplexity"]).log()  # and the pairs' loss
    config = read_config(tmp_path / "m")
    assert (config.arch, config.task, config.finished) == ("bert", "fill", True)
    assert [head.name for head in config.heads] == ["mlm", "nsp"]


def test_training_continues_from_a_model(tmp_path, corpus):
    first, second = tmp_path / "first", tmp_path / "second"
    inside("pretrain", corpus, "-o", first, *SMALL, "--max-steps", 30, "--objective", "mlm")
    other = write_stories(tmp_path / "other.txt", 40, seed=5)
    few = ("--max-steps", 1, "--lr", 1e-9, "--max-len", 32, "--ema", 0)
    run = inside("pretrain", other, "--init", first, "-o", second, *few)
    assert f"continued from {first}" in run.said
    assert (first / "vocab.txt").read_bytes() == (second / "vocab.txt").read_bytes()
    (_, before), (_, after) = (load_model(place, torch.device("cpu")) for place in (first, second))
    weights = dict(before.named_parameters())
    new = {name for name, _ in after.named_parameters()} - set(weights)
    assert new == {"heads.nsp.output.weight", "heads.nsp.output.bias"}
    for name, weight in after.named_parameters():
        if name in weights:
            assert torch.allclose(weight, weights[name], atol=1e-6), name
    assert not torch.equal(before.backbone.embedding.tokens.weight[:9], torch.zeros(9, 32))
    run = inside(
        "pretrain", other, "--init", first, "--d-model", 64, "-o", tmp_path / "x", status=2
    )
    assert "--d-model: --init decides this" in run.said
    run = inside("pretrain", other, "--init", tmp_path / "no", "-o", tmp_path / "x", status=2)
    assert f"{tmp_path / 'no'}" in run.said
    run = inside("decode", "-m", first, stdin=b"a\n", status=3)
    assert "attn finetune --init teaches it a task" in run.said


def test_a_dry_run_says_the_plan_and_keeps_nothing(tmp_path, corpus):
    run = inside("pretrain", corpus, "--dry-run", "-o", tmp_path / "m", "--threads", 1)
    assert "180 documents to train on, 20 to validate on" in run.said
    assert "size tiny (for 0.0 MB on a CPU)" in run.said
    assert not (tmp_path / "m").exists()
    assert run.out == b""


@pytest.mark.parametrize(
    ("text", "arguments", "status", "message"),
    [
        (b"", (), 3, "standard input: no text; write one sentence a line"),
        (b"\n \n\n", (), 3, "no text"),
        (b"a b\nc d\n", (), 3, "there is one document only"),
        (b"a b\n\nc d\n\ne f\n", (), 3, "no document has two sentences"),
        (b"a\nb\xff\n\nc\nd\n", (), 3, "standard input:2: not UTF-8 at byte 2"),
        (b"a\nb\n\nc\nd\n", ("--max-len", 600), 2, "--max-len 600: the model reads at most 512"),
        (b"a\nb\n\nc\nd\n", ("--batch-tokens", 50), 2, "--batch-tokens 50 holds no input"),
        (b"a\nb\n\nc\nd\n", ("--columns", "1"), 2, "--columns: pretrain reads plain sentences"),
        (b"a\nb\n\nc\nd\n", ("--objective", "mlm-nsp"), 2, "did you mean mlm"),
        (b"a\nb\n\nc\nd\n", ("--lossless",), 2, "wordpiece can't be lossless"),
        (b"a\nb\n\nc\nd\n", ("--mask", "0"), 2, "mask: 0.0 is below 0.001"),
    ],
)
def test_what_can_not_be_trained_is_refused(tmp_path, text, arguments, status, message):
    run = inside("pretrain", "-o", tmp_path / "m", *arguments, stdin=text, status=status)
    assert message in run.said
    assert run.out == b""


def test_a_tokenizer_without_a_mask_is_refused(tmp_path, corpus):
    vocabulary = tmp_path / "vocab.txt"
    vocabulary.write_text("\n".join(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "a", "##b"]))
    run = inside("pretrain", corpus, "--tokenizer", vocabulary, "-o", tmp_path / "m", status=3)
    assert "has no mask token" in run.said


@pytest.mark.parametrize("kind", ["bpe", "unigram", "char"])
def test_other_tokenizers_serve_too(tmp_path, corpus, kind):
    options = (*SMALL, "--type", kind, "--whole-word", "--max-steps", 2, "--static-masking")
    options += ("--vocab-size", 32)
    inside("pretrain", corpus, "-o", tmp_path / "m", *options)
    assert load_tokenizer(str(tmp_path / "m")).mask_id >= 0
    assert log(tmp_path / "m")[-1]["dev_loss"] < 12


def test_bad_lines_are_left_out_where_that_is_accepted(tmp_path, corpus):
    spoilt = tmp_path / "spoilt.txt"
    spoilt.write_bytes(corpus.read_bytes().replace(b"\n\n", b"\n\xff\n\n", 3))
    options = (*SMALL, "--max-steps", 1, "--skip-bad")
    run = inside("pretrain", spoilt, "-o", tmp_path / "m", *options)
    assert "3 unusable lines: left out" in run.said
    run = inside("pretrain", corpus, "-o", tmp_path / "m", *options)  # the same but for them
    assert "this training has finished" in run.said


def test_dev_documents_of_their_own(tmp_path, corpus):
    dev = write_stories(tmp_path / "dev.txt", 12, seed=9)
    with dev.open("a") as file:
        file.write("\n" + corpus.read_text().split("\n\n")[0] + "\n")
    options = (*SMALL, "--max-steps", 2, "--dev", dev, "--objective", "mlm")
    run = inside("pretrain", corpus, "-o", tmp_path / "m", *options)
    assert "200 documents to train on, 13 to validate on" in run.said
    assert "1 of 13 dev documents are also trained on" in run.said
    assert "dev_nsp_accuracy" not in log(tmp_path / "m")[0]


def test_the_loss_is_the_mean_over_hidden_tokens_and_the_mean_over_pairs(tmp_path, corpus):
    """Against plain cross-entropies over all positions of the batch."""

    arguments = ("pretrain", corpus, "-o", tmp_path / "m", *SMALL, "--max-steps", 1)
    inside(*arguments)
    _, model = load_model(tmp_path / "m", torch.device("cpu"))

    files = CorpusFiles((str(corpus),), blocks=Blocks())
    bad = BadLines(print, skip_bad=False)
    rows = build_corpus(files, tmp_path / "w", "train", bad, lambda lines: None)
    tokenizer = load_tokenizer(str(tmp_path / "m"))

    command = PretrainCommand(
        objective=ObjectiveOptions(max_len=32), training=PretrainTrainingOptions(batch_tokens=400)
    )
    reader = PairedReader(rows, np.arange(len(rows)), tokenizer, command)
    batch = reader.batches(np.arange(50), 1)[0]
    objective = MaskedObjective(model, 0.0)
    loss, nll = objective(batch)
    hidden = model.backbone(batch.ids, batch.mask, batch.segments)
    weight, bias = model.vocabulary_layer
    logits = nn.functional.linear(model.heads["mlm"](hidden), weight, bias)
    gold = batch.gold.masked_fill(~batch.masked, -100)
    tokens = nn.functional.cross_entropy(logits.flatten(0, 1), gold.flatten())
    scores = model.heads["nsp"](torch.tanh(model.backbone.pooler(hidden[:, 0])))
    pairs = nn.functional.cross_entropy(scores, batch.labels)
    assert (loss / batch.n_tokens).item() == pytest.approx((tokens + pairs).item(), abs=1e-5)
    assert (nll / batch.n_tokens).item() == pytest.approx(tokens.item(), abs=1e-5)
    figures = objective.figures([batch])
    assert figures["loss"] == pytest.approx((tokens + pairs).item(), abs=1e-5)
    right = (logits.argmax(-1) == batch.gold)[batch.masked].float().mean()
    assert figures["mlm_accuracy"] == pytest.approx(float(right))
    assert figures["nsp_accuracy"] == pytest.approx(
        float((scores.argmax(1) == batch.labels).float().mean())
    )


@pytest.mark.parametrize(("objective", "pieces"), [("mlm", 90), ("clm", 290)])
def test_every_choice_of_attention_is_one_of_pretraining(tmp_path, corpus, objective, pieces):
    variant = {
        "attention": "general",
        "normalize": "sum",
        "combine": "mean",
        "positions": "relative",
        "max_distance": 3,
        "norm": "post",
    }
    flags = [f"--{key.replace('_', '-')}={value}" for key, value in variant.items()]
    limits = ("--max-steps", 2, "--objective", objective, "--vocab-size", pieces)
    inside("pretrain", corpus, "-o", tmp_path / "m", *SMALL, *flags, "--tie-key-value", *limits)
    config = json.loads((tmp_path / "m" / "config.json").read_text())["model"]
    assert {key: config[key] for key in variant} == variant
    assert config["tie_key_value"] is True


@pytest.mark.parametrize(
    "flags", [(), ("--activation", "relu"), ("--short-seq", 1.0), ("--nsp-weight", 0.0)]
)
def test_shapes_of_pairs_their_weight_and_the_activation_can_be_chosen(tmp_path, corpus, flags):
    for name, more in (("usual", ()), ("other", flags)):
        limits = ("--max-steps", 2, "--validate-every", 2, "--ema", 0)
        inside("pretrain", corpus, "-o", tmp_path / name, *SMALL, *limits, *more)
    usual, other = (log(tmp_path / name)[-1] for name in ("usual", "other"))
    assert (usual == other) is (not flags)
    config = read_config(tmp_path / "other").model
    assert config.activation == ("relu" if "--activation" in flags else "gelu")
