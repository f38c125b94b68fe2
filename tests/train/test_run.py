"""What a training says before it begins, when it ends, and when it is started again."""

from __future__ import annotations

import json
import os
import re
import threading

import pytest
from program import TINY, inside, write_reversal

from attn_cli.config.training import TrainingOptions
from attn_cli.train.pace import Pace, forecast
from attn_cli.train.progress import Progress
from attn_cli.train.run import said_slow_validations

SIZES = ("--vocab-size", 30, "--batch-tokens", 200, *TINY)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    return write_reversal(tmp_path_factory.mktemp("corpus") / "t.tsv", 300, seed=5, longest=8)


def train(corpus, output, *options, status=0):
    return inside("train-mt", corpus, "-o", output, *SIZES, *options, status=status)


@pytest.fixture
def finished(corpus, tmp_path):
    train(corpus, tmp_path / "m", "--max-steps", 2, "--metric", "loss")
    return tmp_path / "m"


@pytest.mark.parametrize(
    ("limits", "said"),
    [
        (
            ("--max-steps", 3000),
            r"about 3,000 updates of [\d.]+ s \([\d,]+ tokens/s\): \d+:\d\d.*,",
        ),
        (("--max-epochs", 10), r"about 1\d\d updates of .*, with \d+ validations? of \d+\.\d s$"),
        (
            ("--max-time", "30m"),
            r"about [\d,]+ updates of .*: 30:00, with validations of .* s, which take a tenth",
        ),
        (
            ("--max-steps", 90, "--validate-every", 30),
            r"about 90 updates.*, with 3 validations of \d+\.\d s$",
        ),
    ],
)
def test_a_dry_run_says_how_long_it_will_take(corpus, tmp_path, limits, said):
    done = train(corpus, tmp_path / "m", "--dry-run", *limits)
    assert re.search(said, done.said, re.MULTILINE), done.said
    assert not (tmp_path / "m").exists()


def test_the_best_validation_and_the_weights_that_are_kept_are_named(corpus, tmp_path):
    done = train(corpus, tmp_path / "m", "--max-steps", 2, "--validate-every", 1)
    assert re.search(r"step 1  .* loss \d\.\d+ .*  best yet  \(", done.said), done.said
    assert "model.safetensors holds the weights of the best validation, by dev " in done.said


def test_a_finished_training_names_the_way_to_train_on(corpus, finished, tmp_path):
    refused = train(corpus, finished, "--max-steps", 4, "--metric", "loss", status=2)
    assert f"finished; to train on, start from it: --init {finished}" in refused.said
    output = tmp_path / "on"
    inside("train-mt", corpus, "-o", output, "--init", finished, "--max-steps", 2)
    assert (output / "model.safetensors").exists()


@pytest.mark.parametrize(
    ("command", "said"),
    [
        ("train-mt none.tsv", "none.tsv: No such file"),
        ("train-mt --src t.tsv --tgt none.fr", "none.fr: No such file"),
        ("train-mt t.tsv --dev none.tsv", "none.tsv: No such file"),
        ("train-mt t.tsv --tokenizer none.model", "none.model: No such file"),
        ("train-mt t.tsv --embeddings none.vec", "none.vec: No such file"),
        ("train-mt t.tsv --init none", "none: no such model directory"),
        ("train-mt --source audio none.tsv", "none.tsv: No such file"),
        ("pretrain none.txt", "none.txt: No such file"),
        ("pretrain t.tsv --dev none.txt", "none.txt: No such file"),
        ("pretrain t.tsv --init none", "none: no such model directory"),
        ("finetune none.tsv --task classify", "none.tsv: No such file"),
        ("finetune t.tsv --task classify --dev none.tsv", "none.tsv: No such file"),
        ("finetune none.json --task qa", "none.json: No such file"),
        ("finetune --task a=pair:t.tsv --task b=tag:none.conll", "none.conll: No such file"),
        ("finetune t.tsv --task classify --init none", "none: no such model directory"),
        ("finetune none.tsv --task classify --source audio", "none.tsv: No such file"),
        ("finetune . --task nodes", "nodes.tsv: No such file"),
    ],
)
@pytest.mark.parametrize("overwrite", [(), ("--overwrite",)])
def test_what_is_missing_is_named_before_an_earlier_training_is_looked_at_or_removed(
    corpus, finished, monkeypatch, command, said, overwrite
):
    monkeypatch.chdir(corpus.parent)
    before = {path: path.read_bytes() for path in finished.rglob("*") if path.is_file()}
    refused = inside(*command.split(), "-o", finished, *overwrite, status=2)
    assert said in refused.said, refused.said
    assert before == {path: path.read_bytes() for path in finished.rglob("*") if path.is_file()}


def test_a_named_pipe_is_not_opened_to_see_whether_it_is_there(corpus, tmp_path):
    pipe = tmp_path / "pairs"
    os.mkfifo(pipe)
    writer = threading.Thread(target=lambda: pipe.write_bytes(corpus.read_bytes()))
    writer.start()
    train(pipe, tmp_path / "m", "--max-steps", 1, "--metric", "loss")
    writer.join()


def test_an_unfinished_training_goes_on_to_another_limit(corpus, tmp_path):
    output = tmp_path / "m"
    train(corpus, output, "--max-steps", 2, "--metric", "loss", "--validate-every", 1)
    config = json.loads((output / "config.json").read_text())
    (output / "config.json").write_text(json.dumps(config | {"finished": False}))
    options = ("--metric", "loss", "--validate-every", 1)
    done = train(corpus, output, "--max-steps", 4, *options)
    assert "continues to other limits (max_steps: 2 there, 4 now)" in done.said
    assert json.loads((output / "config.json").read_text())["options"]["training"]["max_steps"] == 4
    refused = train(corpus, output, "--max-steps", 4, "--ema", 0.5, *options, status=2)
    assert "other options (ema: 0.999 there, 0.5 now)" in refused.said


def test_a_finished_training_whose_weights_are_gone_is_no_success(corpus, finished):
    (finished / "model.safetensors").unlink()
    again = train(corpus, finished, "--max-steps", 2, "--metric", "loss", status=1)
    assert not again.out
    assert (
        "model.safetensors: missing, though this training has finished; --overwrite" in again.said
    )
    decoded = inside("decode", "-m", finished, stdin=b"ba\n", status=3)
    assert (
        "model.safetensors: missing; the training has finished, its weights are gone"
        in decoded.said
    )


def test_a_model_too_young_to_translate_is_said_so_at_the_end_and_by_decode(corpus, tmp_path):
    output = tmp_path / "m"
    done = train(corpus, output, "--max-steps", 2)
    note = f"{output}: trained too little to translate (dev BLEU below 1): train longer"
    assert f"attn: {note}" in done.said
    assert re.search(r"best dev loss \d\.\d+ at step 2", done.said)
    assert note in inside("decode", "-m", output, "--max-len", 3, stdin=b"banu kera\n").said


def paced(monkeypatch, seconds):
    """A pace of this many seconds an update."""
    monkeypatch.setattr(Pace, "seconds_per_step", seconds)
    monkeypatch.setattr(Pace, "tokens_per_second", 1000.0)
    return Pace()


@pytest.mark.parametrize(
    ("measured", "estimate", "limits", "said"),
    [
        # Five updates are half a pass. The validation was slower than the estimate, or as slow.
        (4.0, 0.1, {"max_epochs": 20.0}, "200 updates of 0.50 s (1,000 tokens/s): 2:20, with 10"),
        (0.1, 0.8, {"max_epochs": 20.0}, "200 updates of 0.50 s (1,000 tokens/s): 1:48, with 2"),
        (4.0, 9.0, {"max_steps": 200}, "200 updates of 0.50 s (1,000 tokens/s): 2:25, with 1 "),
        (4.0, 0.1, {"max_steps": 200, "validate_every": 8}, "(1,000 tokens/s): 3:20, with 25"),
        (4.0, 0.1, {"max_time": "60s"}, "120 updates of 0.50 s (1,000 tokens/s): 1:00, with valid"),
        (
            4.0,
            0.1,
            {"max_time": "2m", "max_steps": 200},
            "200 updates of 0.50 s (1,000 tokens/s): 2:00, ",
        ),
    ],
)
def test_the_time_of_a_run_counts_validations_as_they_were_measured(
    monkeypatch, measured, estimate, limits, said
):
    progress = Progress(step=5, epochs=0.5, validations=1, validation_seconds=measured)
    (line,) = forecast(TrainingOptions(**limits), progress, paced(monkeypatch, 0.5), estimate)
    assert said in line, line
    assert f"of {max(measured, estimate * 5):.1f} s" in line


def test_validations_that_took_more_than_was_planned_are_said():
    slow = Progress(seconds=80.0, validations=4, validation_seconds=40.0)
    assert said_slow_validations(slow).startswith("4 validations took 44% of the time; --validate")
    fast = Progress(seconds=80.0, validations=4, validation_seconds=8.0)
    alone = Progress(seconds=1.0, validations=1, validation_seconds=40.0)
    assert not said_slow_validations(fast)
    assert not said_slow_validations(alone)
