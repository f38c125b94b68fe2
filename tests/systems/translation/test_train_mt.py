"""`attn train-mt` as a user meets it, on corpora of a few hundred short pairs."""

from __future__ import annotations

import json
import os
import signal
import subprocess

import pytest
import torch
from program import (
    COMMAND,
    ENVIRONMENT,
    TINY,
    attn,
    inside,
    stopped,
    write_reversal,
)

from attn_cli.models.directory import load_model
from attn_cli.tokenizers.tokenizer_files import load_tokenizer
from attn_cli.train.checkpoints import locked
from attn_cli.train.monitor import Monitor

SMALL = (*TINY, "--type", "bpe", "--vocab-size", 36, "--metric", "loss", "--warmup", 5)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    return write_reversal(tmp_path_factory.mktemp("corpus") / "train.tsv", 300, seed=1)


def log(folder):
    """train.jsonl without the time that passed."""
    lines = (folder / "train.jsonl").read_text("utf-8").splitlines()
    return [{k: v for k, v in json.loads(line).items() if k != "minutes"} for line in lines]


def files(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


# Everything that has a state: dropout, subword sampling, averages, momentum, accumulation.
STATEFUL = (
    *("--dropout", 0.2, "--subword-sampling", 0.1, "--ema", 0.9, "--accumulate", 2),
    *("--batch-tokens", 140, "--max-steps", 32, "--validate-every", 8, "--keep-best", 2),
)


# The program, with a signal sent to itself after an update.
def test_a_run_stopped_twice_ends_as_the_uninterrupted_one(tmp_path, corpus):
    def command(folder):
        return ("train-mt", corpus, "-o", tmp_path / folder, *SMALL, *STATEFUL)

    whole = inside(*command("whole"))
    assert whole.out == f"{tmp_path / 'whole'}\n".encode()
    run = stopped(signal.SIGINT, 13, *command("parts"), status=130)
    assert "stopped after step 13, state saved; the same command continues" in run.said
    assert run.out == b""
    # Killed without a chance to save: what happened after step 16 happens again.
    run = stopped(signal.SIGKILL, 21, *command("parts"), status=-signal.SIGKILL)
    assert "continuing after step 13" in run.said
    run = inside(*command("parts"))
    assert "continuing after step 16" in run.said
    one, other = tmp_path / "whole", tmp_path / "parts"
    assert log(one) == log(other)
    assert len(log(one)) == 4
    assert 0 < log(one)[0]["epoch"] % 1 < 1
    assert files(one) == files(other)
    for name in ("model.safetensors", "tokenizer.model", "config.json"):
        assert (one / name).read_bytes() == (other / name).read_bytes(), name


def test_sigterm_saves_and_exits_143(tmp_path, corpus, monkeypatch):
    step = Monitor.step

    def stopping(self, progress, *rest):
        step(self, progress, *rest)
        if progress.step == 2:
            signal.raise_signal(signal.SIGTERM)

    monkeypatch.setattr(Monitor, "step", stopping)
    inside("train-mt", corpus, "-o", tmp_path, *SMALL, "--max-steps", 9, status=143)
    assert list((tmp_path / "checkpoints").glob("state-*2.safetensors"))


def test_data_that_is_refused_leaves_no_directory_behind(tmp_path):
    empty, folder = tmp_path / "empty.tsv", tmp_path / "model"
    empty.touch()
    assert "no pair to work with" in inside("train-mt", empty, "-o", folder, status=3).said
    assert not folder.exists()
    folder.mkdir()
    inside("train-mt", empty, "-o", folder, status=3)
    assert folder.exists()


def test_what_a_directory_with_a_training_in_it_answers(tmp_path, corpus):
    """Finished, other options, other data, in use, afresh: one directory's life."""
    folder = tmp_path / "model"
    command = ("train-mt", corpus, "-o", folder, *SMALL, "--max-steps", 3, "--validate-every", 1)
    inside(*command)
    kept = ["config.json", "model.safetensors", "tokenizer.model", "train.jsonl"]
    assert [name for name in files(folder) if not name.startswith("checkpoints")] == kept
    weights = (folder / "model.safetensors").read_bytes()

    again = inside(*command)
    assert again.out == f"{folder}\n".encode()
    assert "this training has finished; --overwrite starts it afresh" in again.said
    shorter = tmp_path / "shorter.tsv"
    shorter.write_bytes(b"".join(corpus.read_bytes().splitlines(keepends=True)[1:]))
    elsewhere = inside(command[0], shorter, *command[2:], status=2)
    assert "holds a training on other data" in elsewhere.said
    other = inside(*command, "--lr", 0.1, status=2)
    assert "lr: 0.004 there, 0.1 now" in other.said
    assert "--overwrite" in other.said
    text = tmp_path / "text.txt"
    text.write_text("a b\n")
    stranger = inside("pretrain", text, "-o", folder, status=2)
    assert "holds a model that another command or version of attn made" in stranger.said
    with locked(folder / "checkpoints"):
        busy = inside(*command, "--overwrite", status=1)
    assert "another training is writing there" in busy.said
    assert (folder / "model.safetensors").read_bytes() == weights

    (folder / "notes.txt").write_text("mine")
    inside(*command, "--overwrite", "--lr", 0.1)
    assert (folder / "model.safetensors").read_bytes() != weights
    assert [entry["step"] for entry in log(folder)] == [1, 2, 3]
    assert (folder / "notes.txt").read_text() == "mine"


def test_a_state_resumes_only_on_its_own_data(tmp_path, corpus, monkeypatch):
    changed = tmp_path / "changed.tsv"
    changed.write_bytes(corpus.read_bytes())
    command = ("train-mt", changed, "-o", tmp_path / "model", *SMALL, "--max-steps", 4)
    with monkeypatch.context() as patch:
        patch.setattr(Monitor, "step", lambda *_: signal.raise_signal(signal.SIGINT))
        inside(*command, status=130)
    with changed.open("a") as file:
        file.write("banu kera\tkera banu\n")
    assert "training on other data" in inside(*command, status=2).said


def test_the_same_seed_gives_the_same_bytes_and_another_gives_others(tmp_path, corpus):
    models = []
    for folder, seed in (("a", 5), ("b", 5), ("c", 6)):
        inside(
            "train-mt", corpus, "-o", tmp_path / folder, *SMALL, "--max-steps", 3, "--seed", seed
        )
        models.append((tmp_path / folder / "model.safetensors").read_bytes())
    assert models[0] == models[1] != models[2]


def test_a_dry_run_trains_a_few_steps_and_leaves_nothing(tmp_path, corpus, monkeypatch):
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    run = inside("train-mt", corpus, "-o", tmp_path / "model", *SMALL, "--dry-run")
    assert "tokens or so: batches of 512 tokens, some" in run.said
    assert "5 steps trained and validated, nothing kept" in run.said
    assert run.out == b""
    assert list(tmp_path.iterdir()) == []


def test_tensorboard_shows_what_the_log_says(tmp_path, corpus):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    limits = ("--max-steps", 4, "--validate-every", 2)
    board, folder = tmp_path / "board", tmp_path / "model"
    inside("train-mt", corpus, "-o", folder, *SMALL, *limits, "--tensorboard", board)
    events = EventAccumulator(str(board))
    events.Reload()
    for name in ("train_loss", "dev_loss", "epoch"):
        shown = [(event.step, event.value) for event in events.Scalars(name)]
        assert shown == [(entry["step"], pytest.approx(entry[name])) for entry in log(folder)]


def test_unusable_lines_are_refused_before_the_first_step_or_skipped(tmp_path, corpus):
    bad = tmp_path / "bad.tsv"
    lines = corpus.read_bytes().split(b"\n")[:60]
    lines[3:5] = [b"only a source", b"bad \xff\tbytes"]
    lines[9:9] = [b"", b"source\t ", b"\xe2\x80\xa8\tx"]
    bad.write_bytes(b"\xef\xbb\xbf" + b"\r\n".join(lines) + b"\r\n")
    command = ("train-mt", bad, "-o", tmp_path / "model", *SMALL, "--max-steps", 1)
    run = inside(*command, status=3)
    named = [line.split(":")[2] for line in run.said.split("\n") if "bad.tsv:" in line]
    assert named == ["4", "5", "10", "11", "12"]
    assert "5 unusable lines" in run.said.split("\n")[-2]
    assert "step" not in run.said
    run = inside(*command, "--skip-bad", "--overwrite")
    assert "5 unusable lines: left out" in run.said
    assert "53 pairs to train on, 5 to validate on" in run.said


def test_corpora_from_anywhere_give_the_same_model(tmp_path, corpus):
    """TSV, standard input with the columns turned, a header, parallel files, .gz: one model."""
    import gzip

    pairs = [line.split("\t") for line in corpus.read_text().splitlines()]
    turned = "".join(f"{tgt}\t{src}\n" for src, tgt in pairs).encode()
    (tmp_path / "named.tsv").write_bytes(b"tgt\tsrc\n" + turned)
    (tmp_path / "a.txt.gz").write_bytes(gzip.compress("".join(f"{s}\n" for s, _ in pairs).encode()))
    (tmp_path / "b.txt").write_text("".join(f"{t}\r\n" for _, t in pairs))
    steps = ("--max-steps", 2)

    def weights(name, *arguments, stdin=b""):
        inside("train-mt", *arguments, "-o", tmp_path / name, *SMALL, *steps, stdin=stdin)
        return (tmp_path / name / "model.safetensors").read_bytes()

    plain = weights("plain", corpus)
    assert weights("turned", "--columns", "2,1", stdin=turned) == plain
    assert weights("named", tmp_path / "named.tsv", "--columns", "src,tgt") == plain
    parallel = ("--src", tmp_path / "a.txt.gz", "--tgt", tmp_path / "b.txt")
    assert weights("parallel", *parallel) == plain


def test_parallel_files_of_unequal_length_are_refused(tmp_path):
    (tmp_path / "a").write_text("one\ntwo\n")
    (tmp_path / "b").write_text("eins\n")
    parallel = ("--src", tmp_path / "a", "--tgt", tmp_path / "b")
    run = inside("train-mt", *parallel, "-o", tmp_path / "model", status=3)
    assert "a has 2 lines" in run.said
    assert "b has 1 line" in run.said


def test_wrong_usage_names_the_right_one():
    run = attn("train-mt", "--max-setps", 3, status=2)
    assert "--max-steps" in run.said
    assert "--src and --tgt go together" in inside("train-mt", "--src", "x", status=2).said
    assert "needs --keep-best 3" in inside("train-mt", "--average", 3, status=2).said


def test_every_variant_trains_and_decodes(tmp_path, corpus):
    for number, variant in enumerate(
        (
            ("--norm", "post", "--positions", "learned", "--max-positions", 3),
            ("--attention", "dot", "--positions", "none", "--no-tie-embeddings"),
            ("--separate-vocab", "--optimizer", "adamw", "--schedule", "cosine"),
            ("--metric", "chrf", "--precision", "bf16", "--clip-norm", 0, "--ema", 0),
        )
    ):
        folder = tmp_path / str(number)
        inside("train-mt", corpus, "-o", folder, *SMALL, "--max-steps", 2, *variant)
        run = inside("decode", "-m", folder, "--max-len", 4, stdin=b"banu kera\n")
        assert len(run.lines) == 1


def test_a_small_model_learns_to_reverse_sentences_it_has_never_seen(reversal_model, tmp_path):
    unseen = write_reversal(tmp_path / "test.tsv", 200, seed=99)
    out = inside("decode", "-m", reversal_model, unseen).lines
    right = sum(hypothesis == reference for hypothesis, reference in (x.split("\t") for x in out))
    assert right >= 160


def test_word_vectors_start_the_token_vectors(tmp_path):
    corpus = write_reversal(tmp_path / "t.tsv", 40, seed=1)
    (tmp_path / "v.txt").write_text("banu 1 2 3\nkera 3 2 1\nelsewhere 1 1 1\n")
    run = inside(
        *("train-mt", corpus, "-o", tmp_path / "m", *TINY, "--type", "word", "--vocab-size", 19),
        *("--max-steps", 1, "--lr", 1e-9, "--embeddings", tmp_path / "v.txt"),
    )
    assert "2 of 19 tokens (10.5%) start from 3 words with 3 numbers each" in run.said
    _, model = load_model(tmp_path / "m", torch.device("cpu"))
    tokenizer = load_tokenizer(str(tmp_path / "m"))
    (banu,), (kera,) = tokenizer.encode(["banu", "kera"])
    weight = model.src_embedding.tokens.weight.detach()
    ratio = weight[banu, :3] / torch.tensor([1.0, 2.0, 3.0])
    torch.testing.assert_close(ratio, ratio[:1].expand(3))
    torch.testing.assert_close(weight[kera, :3], weight[banu, :3].flip(0))


RECURRENT = (
    *("--d-model", 16, "--n-encoder-layers", 1, "--n-decoder-layers", 1, "--threads", 1),
    *("--device", "cpu", "--type", "bpe", "--vocab-size", 36, "--metric", "loss"),
)


@pytest.mark.parametrize(
    ("flags", "parts"),
    [
        (
            ("--arch", "rnn", "--attend-from", "previous", "--unidirectional"),
            {"attend_from": "previous", "bidirectional": False},
        ),
        (("--arch", "cnn", "--kernel-size", 5), {"kernel_size": 5}),
    ],
)
def test_options_of_an_architecture_are_those_of_its_model(tmp_path, corpus, flags, parts):
    inside("train-mt", corpus, *RECURRENT, *flags, "--max-steps", 1, "-o", tmp_path / "m")
    config, _ = load_model(tmp_path / "m", torch.device("cpu"))
    assert {name: getattr(config.model, name) for name in parts} == parts


@pytest.mark.parametrize("flags", [("--weight-decay", 0.9), ("--label-smoothing", 0.5)])
def test_regularization_changes_what_is_learnt(tmp_path, corpus, flags):
    learnt = []
    for name, more in (("usual", ()), ("other", flags)):
        limits = ("--max-steps", 2, "--ema", 0, "--lr", 0.05, "--matrix-factor", 1)
        inside("train-mt", corpus, *SMALL, *limits, *more, "-o", tmp_path / name)
        learnt.append(load_model(tmp_path / name, torch.device("cpu"))[1].state_dict())
    assert any(not torch.equal(weight, learnt[1][name]) for name, weight in learnt[0].items())


def test_a_training_ends_when_its_time_is_over(tmp_path, corpus):
    run = inside("train-mt", corpus, *SMALL, "--max-time", "1s", "-o", tmp_path / "m")
    assert "finished after" in run.said


def test_the_reference_may_be_one_of_the_outputs_that_are_judged(tmp_path, corpus):
    inside("train-mt", corpus, *SMALL, "--max-steps", 1, "-o", tmp_path / "start")
    risk = ("--init", tmp_path / "start", "--criterion", "risk", "--samples", 2, "--max-steps", 1)
    losses = []
    for name, more in (("usual", ()), ("other", ("--with-reference",))):
        run = ("train-mt", corpus, *TINY[-4:], "--metric", "loss", *risk, *more, "--ema", 0)
        inside(*run, "-o", tmp_path / name)
        losses.append(load_model(tmp_path / name, torch.device("cpu"))[1].state_dict())
    assert any(not torch.equal(weight, losses[1][name]) for name, weight in losses[0].items())


def test_drawing_among_the_likeliest_alone_is_greedy_and_one_group_is_plain_beam_search(
    tmp_path, corpus
):
    inside("train-mt", corpus, *SMALL, "--max-steps", 4, "-o", tmp_path / "m")

    def decoded(*flags):
        stdin = b"banu kera\nlivo monu bara\n"
        run = inside("decode", "-m", tmp_path / "m", "--scores", *flags, stdin=stdin)
        return run.lines

    assert decoded("--sample", "--top-p", 1e-6) == decoded("--greedy")
    grouped = decoded("--beam", 4, "--diversity", 1, "--diversity-groups", 1)
    assert grouped == decoded("--beam", 4)
    several = ("--beam", 4, "--n-best", 4, "--format", "moses")
    assert decoded(*several, "--diversity", 9, "--diversity-groups", 2) != decoded(*several)


def test_one_file_where_two_are_needed_is_told_once(tmp_path, corpus):
    sources = tmp_path / "train.en"
    sources.write_text("".join(line.split("\t")[0] + "\n" for line in corpus.open()))
    run = inside("train-mt", sources, *SMALL, "-o", tmp_path / "m", status=3)
    assert run.said == (
        f"attn: {sources}: no tab in it, so no line has a column 2; lines are source<TAB>target; "
        "two parallel files are named by --src and --tgt\n"
    )
    assert not (tmp_path / "m").exists()
    said = inside("train-mt", "--src", sources, *SMALL, "-o", tmp_path / "m", status=2).said
    assert said == "attn: --src and --tgt go together: parallel files, line by line\n"


@pytest.mark.parametrize("swapped", [True, False])
def test_a_dev_file_with_its_sides_swapped_is_said(tmp_path, swapped):
    rows = [(f"cat dog{i % 9} .", f"chat chien{i % 9} .") for i in range(60)]
    write = lambda rows: "".join("\t".join(row) + "\n" for row in rows)  # noqa: E731
    (tmp_path / "train.tsv").write_text(write(rows))
    (tmp_path / "dev.tsv").write_text(write([row[::-1] if swapped else row for row in rows[:9]]))
    run = inside(
        *("train-mt", tmp_path / "train.tsv", "--dev", tmp_path / "dev.tsv", *SMALL),
        *("--max-steps", 1, "-o", tmp_path / "m"),
    )
    assert (f"{tmp_path}/dev.tsv: its sides look swapped" in run.said) == swapped


def test_at_a_terminal_it_says_what_it_waits_for_and_leaves_nothing_behind(tmp_path):
    pty = pytest.importorskip("pty")
    ours, theirs = pty.openpty()
    command = [*COMMAND, "train-mt", *map(str, SMALL), "-o", str(tmp_path / "m")]
    pipes = {"stdin": theirs, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    heard = signal.getsignal(signal.SIGINT)
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a background job ignores Ctrl-C
    running = subprocess.Popen(command, **pipes, env=ENVIRONMENT)
    signal.signal(signal.SIGINT, heard)
    try:
        assert running.stderr.readline() == (
            b"reading standard input: Ctrl-D ends it, Ctrl-C stops\n"
        )
        assert (tmp_path / "m").exists()
        running.send_signal(signal.SIGINT)
        assert running.wait(60) == 130
    finally:
        running.kill()
        os.close(ours), os.close(theirs)
    assert not (tmp_path / "m").exists()
