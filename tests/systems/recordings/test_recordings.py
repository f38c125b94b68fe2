"""Classification of recordings as a user meets it: `finetune --task classify --source audio`."""

from __future__ import annotations

import json
import random
import re
import shutil
import signal

import numpy as np
import pytest
import sounds
import torch
from program import attn, inside, stopped
from torch.nn import functional as F

from attn_cli.models.directory import load_model, read_config
from attn_cli.systems.recordings.batches import IGNORE_INDEX, RecordingBatch, RecordingObjective
from attn_cli.systems.translation.audio_source import AudioSide

LABELS = ("--task", "classify", "--source", "audio")
SIZES = ("--size", "tiny", "--threads", 1, "--device", "cpu", "--precision", "float32")
FEW = ("--max-steps", 4, "--validate-every", 2, "--batch-tokens", 60)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    folder = tmp_path_factory.mktemp("corpus") / "words"
    return sounds.write_words(folder, 160, seed=1, longest=1)


@pytest.fixture(scope="module")
def model(corpus, tmp_path_factory):
    place = tmp_path_factory.mktemp("listener") / "model"
    limits = ("--max-steps", 120, "--batch-tokens", 128, "--ema", 0.9, "--warmup", 10)
    inside("finetune", corpus, *LABELS, *SIZES, *limits, "-o", place)
    return place


@pytest.fixture
def fresh(tmp_path):
    return sounds.write_words(tmp_path / "fresh", 30, seed=99, longest=1)


def columns(run):
    return [line.split("\t") for line in run.lines]


def rows_of(place):
    lines = (place / "train.jsonl").read_text("utf-8").splitlines()
    return [{k: v for k, v in json.loads(line).items() if k != "minutes"} for line in lines]


def test_new_recordings_are_labelled(model, fresh):
    run = attn("decode", "-m", model, fresh)
    assert len(run.lines) == 30
    scored = attn("score", "--accuracy", stdin=run.out).lines
    assert float(scored[0].split("\t")[1]) > 0.9


def test_the_directory_says_what_the_model_reads(model):
    config = read_config(model)
    assert (config.arch, config.task, config.model.source) == ("recordings", "recordings", "audio")
    assert (config.model.sample_rate, config.model.n_labels) == (sounds.RATE, len(sounds.WORDS))
    assert (model / "labels.txt").read_text().split() == sorted(sounds.WORDS)
    assert not list(model.glob("tokenizer*"))
    assert "a classifier of recordings" in inside("info", model).out.decode()
    card = inside("info", "--card", model).out.decode()
    assert "pipeline_tag: audio-classification" in card


def test_what_is_said_is_what_the_model_gives(model, fresh):
    """By hand: the features of a file, the model, a softmax."""
    found = columns(inside("decode", "-m", model, "--scores", fresh))
    as_json = inside("decode", "-m", model, "--format", "json", fresh).lines
    _, classifier = load_model(model, torch.device("cpu"))
    side = AudioSide.of(classifier.config)
    labels = (model / "labels.txt").read_text().split()
    gold = [line.split("\t")[1] for line in fresh.read_text().splitlines()]
    for number, (label, probability, rest) in enumerate(found):
        (item,) = side.encode([side.read(f"{number}.wav", str(fresh.parent))])
        with torch.inference_mode():
            probs = classifier(*side.collate([item]))[0].softmax(-1)
        assert label == labels[int(probs.argmax())] and rest == gold[number]
        assert float(probability) == pytest.approx(float(probs.max()), abs=1e-4)
        told = json.loads(as_json[number])
        assert told["answer"] == label and told["columns"] == [rest]
        expected = dict(zip(labels, probs.tolist(), strict=True))
        assert told["probs"] == pytest.approx(expected, abs=1e-4)


def test_batches_and_windows_change_nothing(model, fresh):
    plain = inside("decode", "-m", model, fresh).out
    for how in (("--buffer", 1), ("--batch-tokens", 5), ("--threads", 2)):
        assert inside("decode", "-m", model, *how, fresh).out == plain


def test_a_long_recording_is_read_in_parts(model, fresh):
    sound = [sounds.utterance(["fall"] * 6, random.Random(3))]
    long = sounds.write_wave(fresh.parent / "long.wav", np.concatenate(sound))
    stdin = f"{long}\n".encode()
    run = inside("decode", "-m", model, stdin=stdin)
    assert run.lines == ["fall"]
    assert re.search(r"standard input:1: long line, read in \d+ parts \(--max-seconds\)", run.said)
    whole = inside("decode", "-m", model, "--max-seconds", 60, stdin=stdin)
    assert "parts" not in whole.said


def test_a_bad_recording_is_one_empty_line(model, fresh):
    causes = sounds.hostile(fresh.parent)
    names = ["0.wav", *causes, "", "1.wav"]
    stdin = "".join(f"{name}\tx\n" if name else "\n" for name in names).encode()
    root = ("--audio-root", fresh.parent)
    run = attn("decode", "-m", model, *root, stdin=stdin, status=3)
    assert run.lines[1:-1] == ["\tx"] * len(causes) + [""]
    assert all(line.split("\t")[0] for line in (run.lines[0], run.lines[-1]))
    for name, cause in list(causes.items())[:8]:
        assert re.search(f"{re.escape(name)}.*{cause}", run.said)
    assert f"{len(causes)} unusable lines" in run.said
    skipped = inside("decode", "-m", model, *root, "--skip-bad", stdin=stdin)
    assert skipped.out == run.out
    assert inside("decode", "-m", model, stdin=b"").out == b""


def test_a_header_that_no_one_told_of_is_named_with_the_option_that_does(model, fresh, tmp_path):
    table = fresh.with_name("table.tsv")
    table.write_text("path\tlabel\n" + fresh.read_text())
    told = ("--columns", "path,label")
    hint = "path': No such file or directory (if line 1 is a header: --columns path"
    run = inside("decode", "-m", model, table, status=3)
    assert f"{hint})" in run.said
    named = inside("decode", "-m", model, "--columns", "path", table)
    assert named.lines == run.lines[1:]
    command = ("finetune", table, *LABELS, *SIZES, *FEW, "-o", tmp_path / "m")
    assert f"{hint},label)" in inside(*command, status=3).said
    assert "table.tsv:1" not in inside(*command, *told).said


def test_training_names_bad_recordings_and_refuses(corpus, tmp_path):
    folder = shutil.copytree(corpus.parent, tmp_path / "words")
    causes = sounds.hostile(folder)
    bad = "".join(f"{name}\thee\n" for name in list(causes)[:5])
    (folder / "train.tsv").write_text(bad + "0.wav\t \n" + (folder / "train.tsv").read_text())
    command = ("finetune", folder / "train.tsv", *LABELS, *SIZES, *FEW, "-o", tmp_path / "m")
    run = inside(*command, status=3)
    for number, cause in enumerate(list(causes.values())[:5], 1):
        assert re.search(f"train.tsv:{number}: .*{cause}", run.said)
    assert "train.tsv:6: empty label" in run.said
    assert "6 unusable lines: nothing is trained" in run.said
    run = inside(*command, "--skip-bad")
    assert "144 recordings to train on, 16 to validate on; 5 labels" in run.said


# The program, with a signal sent to itself after an update.
@pytest.mark.slow
def test_a_stopped_run_ends_as_the_uninterrupted_one(corpus, tmp_path):
    def command(folder):
        stateful = ("--dropout", 0.2, "--ema", 0.9, "--accumulate", 2, "--balance")
        few = ("--batch-tokens", 60, "--max-steps", 12, "--validate-every", 6, "--time-warp", 5)
        return ("finetune", corpus, *LABELS, *SIZES, *stateful, *few, "-o", tmp_path / folder)

    inside(*command("whole"))
    run = stopped(signal.SIGTERM, 9, *command("parts"), status=128 + signal.SIGTERM)
    assert "stopped after step 9, state saved" in run.said
    assert "continuing after step 9" in inside(*command("parts")).said
    one, other = tmp_path / "whole", tmp_path / "parts"
    assert rows_of(one) == rows_of(other)
    for name in ("model.safetensors", "labels.txt", "config.json"):
        assert (one / name).read_bytes() == (other / name).read_bytes()
    assert "has finished" in inside(*command("parts")).said


def test_dev_recordings_of_their_own_decide(model, corpus, fresh, tmp_path):
    start = ("--init", model, "--threads", 1, "--device", "cpu", "--precision", "float32")
    command = ("finetune", corpus, *LABELS, *FEW, *start)
    run = inside(*command, "--dev", fresh, "-o", tmp_path / "m")
    assert f"continued from {model}" in run.said
    best = [row["dev_accuracy"] for row in rows_of(tmp_path / "m") if row["best"]][-1]
    decoded = inside("decode", "-m", tmp_path / "m", fresh)
    scored = inside("score", "--accuracy", stdin=decoded.out).lines[0].split("\t")
    assert float(scored[1]) == pytest.approx(best, abs=1e-4)
    assert best > 0.9  # the output layer goes on learning, as the labels are the same
    odd = fresh.with_name("odd.tsv")
    odd.write_text("0.wav\tsnore\n")
    run = inside(*command, "--dev", odd, "-o", tmp_path / "n", status=3)
    assert "label 'snore' is not among those trained on" in run.said


def test_the_encoder_of_a_recognizer_goes_on_learning(corpus, tmp_path):
    sizes = ("--d-model", 32, "--d-ff", 64, "--n-heads", 2, "--n-encoder-layers", 1)
    rest = ("--n-decoder-layers", 1, "--threads", 1, "--device", "cpu", "--precision", "float32")
    few = ("--max-steps", 2, "--metric", "loss", "--time-masks", 1)
    inside("train-mt", corpus, "--source", "audio", *sizes, *rest, *few, "-o", tmp_path / "r")
    still = ("--max-steps", 1, "--lr", 1e-9, "--ema", 0, "--threads", 1, "--precision", "float32")
    given = ("finetune", corpus, *LABELS, *still, "--init", tmp_path / "r")
    inside(*given, "-o", tmp_path / "m", "--band-masks", 3)
    _, before = load_model(tmp_path / "r", torch.device("cpu"))
    _, after = load_model(tmp_path / "m", torch.device("cpu"))
    assert (after.config.d_model, after.config.time_masks, after.config.band_masks) == (32, 1, 3)
    weights = before.state_dict()
    same = [name for name in after.state_dict() if name.startswith(("src_embedding.", "encoder."))]
    assert len(same) > 10
    for name in same:
        torch.testing.assert_close(after.state_dict()[name], weights[name], atol=1e-6, rtol=1e-5)
    run = inside(*given, "--size", "small", "-o", tmp_path / "n", status=2)
    assert "decides otherwise than --size" in run.said
    run = inside(*given, "--sample-rate", 16000, "-o", tmp_path / "n", status=2)
    assert "--sample-rate 16000 (there: 8000)" in run.said


def test_only_a_model_of_recordings_is_continued(corpus, reversal_model, tmp_path):
    run = inside(
        "finetune", corpus, *LABELS, "--init", reversal_model, "-o", tmp_path / "m", status=3
    )
    assert "holds a 'transformer' that reads no recordings" in run.said


@pytest.mark.parametrize("pool", ["mean", "max", "own"])
def test_every_pooling_ignores_padding(pool, corpus, tmp_path):
    inside("finetune", corpus, *LABELS, *SIZES, *FEW, "--pool", pool, "-o", tmp_path / "m")
    _, model = load_model(tmp_path / "m", torch.device("cpu"))
    side = AudioSide.of(model.config)
    names = ("3.wav", "4.wav", "5.wav")
    items = side.encode([side.read(name, str(corpus.parent)) for name in names])
    with torch.inference_mode():
        together = model(*side.collate(items))
        alone = torch.cat([model(*side.collate([item])) for item in items])
        again, maps = model.attentions(*side.collate(items))
    torch.testing.assert_close(together, alone, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(together, again, atol=1e-5, rtol=1e-5)
    assert len(maps["recording"]) == (pool == "own")
    for weights in (*maps["recording"], *maps["self"]):
        sums = weights.sum(-1)
        torch.testing.assert_close(sums, torch.ones_like(sums), atol=1e-5, rtol=1e-5)


def test_the_table_of_attention_names_times(model, fresh):
    rows = columns(inside("attend", "-m", model, fresh))
    first = [row for row in rows if row[0] == "1"]
    assert [row[6] for row in first[:3]] == ["0.00", "0.04", "0.08"]
    assert sum(float(row[-1]) for row in first) == pytest.approx(1.0, abs=1e-3)


def test_the_loss_is_torchs():
    """Weights, smoothing, and recordings of which nothing is to be learnt."""
    torch.manual_seed(1)
    outputs, targets = torch.randn(5, 3), torch.tensor([0, 2, 1, 2, IGNORE_INDEX])
    weights = torch.tensor([1.0, 2.0, 0.5])
    objective = RecordingObjective(torch.nn.Linear(1, 1), 0.1, weights)
    loss, nll = objective.losses(outputs, targets)
    probs = outputs[:4].log_softmax(-1)
    expected = -(weights[targets[:4]] * probs[torch.arange(4), targets[:4]]).sum()
    assert float(nll) == pytest.approx(float(expected), rel=1e-5)
    smooth = F.cross_entropy(
        outputs[:4], targets[:4], weights, reduction="sum", label_smoothing=0.1
    )
    assert float(loss) == pytest.approx(float(smooth), rel=1e-5)
    batch = RecordingBatch(torch.zeros(5, 4, 2), torch.ones(5, 1, dtype=torch.bool), targets)
    assert (len(batch), batch.n_tokens, batch.without_targets().n_tokens) == (5, 4, 0)


def test_from_python_labels_have_probabilities(model, fresh):
    import attn_cli

    lines = [line.split("\t") for line in fresh.read_text().splitlines()]
    pairs = [(str(fresh.parent / name), label) for name, label in lines]
    loaded = attn_cli.load(model)
    answers = loaded.decode([path for path, _ in pairs])
    probs = [score.log_prob for score in loaded.score(pairs)]
    right = [answer == label for answer, (_, label) in zip(answers, pairs, strict=True)]
    assert np.mean(right) > 0.9
    assert all(np.exp(value) > 0.2 for value, hit in zip(probs, right, strict=True) if hit)


@pytest.mark.parametrize(
    ("flags", "cause"),
    [
        (("--task", "classify", "--max-seconds", 3), "--max-seconds without --source audio"),
        (("--task", "pair", "--source", "audio"), "labelled by --task classify alone"),
        ((*LABELS, "--arch", "rnn"), "--arch rnn reads no recordings"),
        ((*LABELS, "--stride", 3), "--source audio does not read --stride"),
        ((*LABELS, "--vocab-size", 300), "--source audio does not read --vocab-size"),
        ((*LABELS, "--metric", "pearson"), "--metric pearson: this has"),
        ((*LABELS, "--time-mask-share", 0), "--time-masks 0 says so"),
    ],
)
def test_options_that_contradict_are_refused(flags, cause, corpus, tmp_path):
    run = inside("finetune", corpus, "-o", tmp_path / "m", *flags, status=2)
    assert cause in run.said


def test_several_models_and_other_options_are_refused(model, fresh):
    run = inside("decode", "-m", f"{model},{model}", fresh, status=2)
    assert "only models that write texts decode as an ensemble" in run.said
    run = inside("decode", "-m", model, "--beam", 3, fresh, status=2)
    assert "--beam" in run.said and "labels recordings" in run.said
    run = inside("score", "--log-prob", "-m", model, fresh, status=3)
    assert "is a classifier of recordings" in run.said


@pytest.mark.slow
def test_single_digits_are_told_apart(data_dir, tmp_path):
    """Real speech, within two minutes of one core."""
    digits = data_dir / "spoken_digits"
    given = ("--columns", "path,text", "--dev", digits / "dev.tsv", "--max-steps", 240)
    inside("finetune", digits / "train.tsv", *LABELS, *given, "-o", tmp_path / "m")
    decoded = inside("decode", "-m", tmp_path / "m", "--columns", "path,text", digits / "dev.tsv")
    scored = inside("score", "--accuracy", stdin=decoded.out).lines[0].split("\t")
    assert float(scored[1]) > 0.9
