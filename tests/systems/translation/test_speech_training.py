"""What `train-mt --source audio` reads, refuses, keeps and learns."""

from __future__ import annotations

import json
import re
import shutil
import signal

import numpy as np
import pytest
import sounds
from program import attn, inside, stopped
from test_train_mt import log

from attn_cli.config.audio import n_bands
from attn_cli.models.directory import read_config
from attn_cli.systems.translation.audio_source import AudioSide, AudioSources
from attn_cli.train.checkpoints import Checkpoints

SIZES = ("--d-model", 32, "--n-decoder-layers", 1, "--threads", 1, "--device", "cpu")
LAYERS = ("--d-ff", 64, "--n-heads", 2, "--n-encoder-layers", 1)
WORDS = ("--source", "audio", "--type", "word", "--dropout", 0, "--precision", "float32")
SHORT = (*SIZES, *LAYERS, *WORDS, "--max-steps", 1, "--metric", "loss")


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    return sounds.write_words(tmp_path_factory.mktemp("corpus") / "speech", 90, seed=1)


@pytest.fixture
def fresh(tmp_path):
    """Recordings that were not trained on."""
    return sounds.write_words(tmp_path / "fresh", 30, seed=99)


def test_training_names_every_bad_recording_and_refuses(corpus, tmp_path):
    folder = shutil.copytree(corpus.parent, tmp_path / "speech")
    causes = sounds.hostile(folder)
    bad = "".join(f"{name}\tx\n" for name in list(causes)[:8])
    (folder / "train.tsv").write_text(bad + (folder / "train.tsv").read_text())
    run = inside("train-mt", folder / "train.tsv", "-o", tmp_path / "m", *SHORT, status=3)
    for number, cause in enumerate(list(causes.values())[:8], 1):
        assert re.search(f"train.tsv:{number}: .*{cause}", run.said)
    assert "8 unusable lines: nothing is trained" in run.said
    assert not (tmp_path / "m" / "config.json").exists()
    run = inside("train-mt", folder / "train.tsv", "-o", tmp_path / "m", *SHORT, "--skip-bad")
    assert "81 pairs to train on, 9 to validate on" in run.said


def test_a_header_that_no_one_told_of_is_named_with_the_option_that_does(corpus, tmp_path):
    folder = shutil.copytree(corpus.parent, tmp_path / "speech")
    table = folder / "table.tsv"
    rows = [line.split("\t") for line in corpus.read_text().splitlines()]
    lines = ["text\tspeaker\tpath", *(f"{text}\tx\t{path}" for path, text in rows)]
    table.write_text("".join(f"{line}\n" for line in lines))
    command = ("train-mt", table, "-o", tmp_path / "m", *SHORT)
    run = inside(*command, "--columns", "3,1", status=3)
    (said,) = re.findall(r"table\.tsv:1: .*", run.said)
    assert said.endswith(
        "path': No such file or directory (if line 1 is a header: --columns path,text)"
    )
    inside(*command, "--columns", "path,text")
    rows[0][0] = "none.wav"  # a name with an ending is none of a column
    table.write_text("".join(f"{path}\t{text}\n" for path, text in rows))
    run = inside("train-mt", table, "-o", tmp_path / "n", *SHORT, status=3)
    assert "none.wav': No such file or directory\n" in run.said


def test_what_is_too_long_to_learn_from_is_refused(corpus, tmp_path):
    limit = ("--max-seconds", 0.5)
    run = inside("train-mt", corpus, "-o", tmp_path / "m", *SHORT, *limit, status=3)
    assert "seconds, but --max-seconds is 0.5" in run.said
    inside("train-mt", corpus, "-o", tmp_path / "m", *SHORT, *limit, "--skip-bad")
    assert read_config(tmp_path / "m").model.trained_seconds <= 0.5


def test_few_recordings_are_written_in_characters_unless_told(corpus, tmp_path):
    short = [option for option in SHORT if option not in ("--type", "word")]
    run = inside("train-mt", corpus, "-o", tmp_path / "m", *short)
    assert "tokenizer: char: 81 pairs are few to learn longer pieces from" in run.said
    texts = "".join(f"{line.split(chr(9))[1]}\n" for line in corpus.read_text().splitlines())
    encoded = inside(
        "tokenize", "encode", "-t", tmp_path / "m" / "tokenizer.model", stdin=texts.encode()
    )
    pieces = {piece for line in encoded.lines for piece in line.split()}
    assert all(len(piece) == 1 for piece in pieces)
    assert len(pieces) > 5
    assert "tokenizer: char" not in inside("train-mt", corpus, "-o", tmp_path / "w", *SHORT).said
    assert AudioSources.tokenizer_type(None, 99_999) == "char"
    assert AudioSources.tokenizer_type(None, 100_000) == "auto"


def test_held_out_recordings_are_not_trained_on(tmp_path, monkeypatch):
    monkeypatch.setattr(Checkpoints, "clear_states", lambda self: None)
    corpus = sounds.write_words(tmp_path / "twice", 60, seed=2, transcripts=2)
    inside("train-mt", corpus, "-o", tmp_path / "m", *SHORT)
    work = tmp_path / "m" / "checkpoints"
    held = np.load(work / "held-out.npy")
    numbers = np.fromfile(work / "train.audio-numbers", np.int64)
    assert numbers.tolist() == [n // 2 for n in range(120)]
    assert len(held) == 12
    assert not set(numbers[held]) & set(np.delete(numbers, held))


STATEFUL = (
    *("--dropout", 0.2, "--ema", 0.9, "--accumulate", 2, "--precision", "float32"),
    *("--batch-tokens", 150, "--max-steps", 16, "--validate-every", 8, "--metric", "bleu"),
)


def test_a_stopped_run_ends_as_the_uninterrupted_one(tmp_path):
    """What SpecAugment draws is a part of the state that is saved."""
    corpus = sounds.write_words(tmp_path / "speech", 90, seed=3)

    def command(folder):
        recipe = ("--source", "audio", "--vocab-size", 24, "--time-warp", 8, *STATEFUL)
        return ("train-mt", corpus, "-o", tmp_path / folder, *SIZES, *LAYERS, *recipe)

    inside(*command("whole"))
    run = stopped(signal.SIGTERM, 11, *command("parts"), status=143)
    assert "stopped after step 11, state saved" in run.said
    run = inside(*command("parts"))
    assert "continuing after step 11" in run.said
    one, other = tmp_path / "whole", tmp_path / "parts"
    assert log(one) == log(other)
    for name in ("model.safetensors", "tokenizer.model", "config.json"):
        assert (one / name).read_bytes() == (other / name).read_bytes()


def test_other_recordings_under_the_same_names_are_other_data(tmp_path):
    corpus = sounds.write_words(tmp_path / "speech", 20, seed=4)
    command = ("train-mt", corpus, "-o", tmp_path / "m", *SHORT)
    inside(*command)
    assert "has finished" in inside(*command).said
    sounds.write_wave(corpus.parent / "7.wav", sounds.glide(300, 400, 0.3))
    assert "on other data" in inside(*command, status=2).said


@pytest.mark.parametrize("kind", ["rnn", "hard", "cnn", "mask-predict", "attention alone"])
def test_every_architecture_reads_recordings(kind, corpus, fresh, tmp_path):
    kinds = {
        "rnn": ("--arch", "rnn", "--attention", "additive", "--cell", "gru"),
        "hard": ("--arch", "rnn", "--normalize", "hard"),
        "cnn": ("--arch", "cnn", "--n-encoder-layers", 1),
        "mask-predict": ("--decoder", "mask-predict", *LAYERS),
        "attention alone": (*LAYERS, "--ctc-weight", 0),
    }
    few = ("--max-steps", 12, "--metric", "loss", "--validate-every", 4, "--warmup", 2)
    run = inside("train-mt", corpus, "-o", tmp_path / "m", *SIZES, *kinds[kind], *WORDS, *few)
    losses = [float(found) for found in re.findall(r"dev: loss ([0-9.]+)", run.said)]
    assert losses[-1] < losses[0]
    assert len(inside("decode", "-m", tmp_path / "m", "--max-len", 12, fresh).lines) == 30
    aligned = inside("decode", "-m", tmp_path / "m", "--max-len", 12, "--align", fresh).lines
    for text, times, _ in (line.split("\t") for line in aligned):
        assert len(times.split()) == len(text.split())
        assert all(re.fullmatch(r"\d+\.\d\d-\d+\.\d\d", each) for each in times.split())
    model = read_config(tmp_path / "m").model
    assert model.ctc == (kind in ("rnn", "hard", "cnn"))
    assert model.n_encoder_layers == (3 if kind in ("rnn", "hard") else 1)
    by_encoder = inside(
        "decode", "-m", tmp_path / "m", "--ctc", fresh, status=0 if model.ctc else 2
    )
    if model.ctc:
        assert len(by_encoder.lines) == 30
    else:
        assert "--ctc" in by_encoder.said


def write_matrices(folder, size, seed):
    """A word is a feature that is large for a while."""
    generator = np.random.default_rng(seed)
    folder.mkdir()
    rows = []
    for number in range(size):
        words = generator.integers(0, 3, generator.integers(1, 4))
        frames = [np.zeros((4, 5))]
        for word in words:
            frames += [np.eye(5)[[word] * 12], np.zeros((6, 5))]
        values = np.concatenate(frames) + generator.normal(0, 0.05, (len(frames) // 2 * 18 + 4, 5))
        np.save(folder / f"{number}.npy", values)
        rows.append(f"{number}.npy\t{' '.join('xyz'[word] for word in words)}\n")
    corpus = folder / "train.tsv"
    corpus.write_text("".join(rows))
    return corpus


def test_matrices_of_features_are_learnt_as_sounds_are(tmp_path):
    corpus = write_matrices(tmp_path / "train", 200, seed=1)
    fresh = write_matrices(tmp_path / "fresh", 20, seed=2)
    recipe = (*WORDS, "--max-steps", 150, "--warmup", 10, "--batch-tokens", 300, "--ema", 0.95)
    inside("train-mt", corpus, "-o", tmp_path / "m", *SIZES, *LAYERS, *recipe, "--metric", "loss")
    model = read_config(tmp_path / "m").model
    assert (model.sample_rate, model.n_features) == (0, 5)
    assert model.band_masks == 0  # columns that are no bands say different things
    run = inside("decode", "-m", tmp_path / "m", "--ctc", fresh)
    assert sum(len({*line.split("\t")}) == 1 for line in run.lines) >= 16
    sound = sounds.write_wave(tmp_path / "a.wav", sounds.glide(300, 400, 0.2))
    refused = inside("decode", "-m", tmp_path / "m", stdin=f"{sound}\n".encode(), status=3)
    assert "a sound, but 5 features a frame (.npy) are read here" in refused.said


def test_what_is_hidden_in_training_can_be_chosen(corpus, tmp_path):
    masks = ("--time-masks", 3, "--time-mask-share", 0.1, "--band-masks", 1, "--time-warp", 7)
    inside("train-mt", corpus, "-o", tmp_path / "m", *SHORT, *masks, "--band-mask-share", 0.5)
    model = read_config(tmp_path / "m").model
    assert (model.time_masks, model.time_mask_share, model.time_warp) == (3, 0.1, 7)
    assert (model.band_masks, model.band_mask_share) == (1, 0.5)
    inside("train-mt", corpus, "-o", tmp_path / "n", *SHORT, "--sample-rate", 4000)
    model = read_config(tmp_path / "n").model
    assert (model.n_features, model.band_masks) == (n_bands(4000), 2)


def test_sounds_are_learnt_at_other_speeds_too(corpus, fresh, tmp_path, monkeypatch):
    """Each time as one of three; what validates, at its own speed."""
    monkeypatch.setattr(Checkpoints, "clear_states", lambda self: None)
    learnt = []
    encode = AudioSide.encode
    monkeypatch.setattr(
        AudioSide,
        "encode",
        lambda self, contents: (
            learnt.append([len(c.features) for c in contents]) or encode(self, contents)
        ),
    )
    kept = {}
    for given in ((), ("--speed-perturbation", 0), ("--speed-perturbation", 0.25)):
        place = tmp_path / f"m{len(kept)}"
        inside("train-mt", corpus, "--dev", fresh, "-o", place, *SHORT, *given)
        for name in ("train", "dev"):
            meta = json.loads((place / "checkpoints" / f"{name}.audio.json").read_text())
            kept[given, name] = meta["percents"]
    names = [percents for (_, name), percents in kept.items() if name == "train"]
    assert names == [[100, 90, 110], [100], [100, 75, 125]]
    assert all(percents == [100] for (_, name), percents in kept.items() if name == "dev")
    lengths = {tuple(sorted(pool)) for pool in learnt if len(pool) == 90}
    assert len(lengths) >= 3  # of all recordings, as they are and each at some speed


def test_transcripts_that_no_recording_can_hold_are_counted(tmp_path):
    corpus = sounds.write_words(tmp_path / "speech", 20, seed=5)
    rows = corpus.read_text().splitlines()
    rows[:3] = [row.split("\t")[0] + "\t" + "hoo hee " * 30 for row in rows[:3]]
    corpus.write_text("".join(f"{row}\n" for row in rows))
    dev = sounds.write_words(tmp_path / "dev", 5, seed=6)
    run = inside("train-mt", corpus, "--dev", dev, "-o", tmp_path / "m", *SHORT)
    assert "3 transcripts of 20 have more tokens than the encoder has positions" in run.said
    given = ("--dev", dev, "-o", tmp_path / "n", *SHORT, "--ctc-weight", 0)
    assert "more tokens than" not in inside("train-mt", corpus, *given).said


@pytest.mark.parametrize(
    ("flags", "cause"),
    [
        (("--ctc-weight", 0.5), "--ctc-weight without --source audio"),
        (("--source", "audio", "--image-size", "8x8"), "--image-size without --source image"),
        (("--source", "audio", "--separate-vocab"), "--separate-vocab"),
        (("--source", "audio", "--ctc-weight", 1.5), "1.5 is above 1"),
        (("--source", "audio", "--head-penalty", 0.1), "--head-penalty does not go with CTC"),
        (
            ("--source", "audio", "--decoder", "mask-predict", "--ctc-weight", 0.2),
            "leave out --ctc-weight",
        ),
        (("--source", "audoi"), "did you mean audio"),
    ],
)
def test_options_that_contradict_are_refused(flags, cause, corpus, tmp_path):
    run = inside("train-mt", corpus, "-o", tmp_path / "m", *flags, status=2)
    assert cause in run.said


def test_recordings_are_checked_as_other_pairs_are(corpus):
    inside("check", corpus)


@pytest.mark.slow
def test_two_processes_train_as_one(corpus, tmp_path):
    """Without masks, which each process draws for its own share."""
    recipe = (*SIZES, *LAYERS, *WORDS, "--max-steps", 20, "--validate-every", 5, "--metric", "loss")
    recipe += ("--time-masks", 0, "--band-masks", 0, "--batch-tokens", 60)
    inside("train-mt", corpus, "-o", tmp_path / "one", *recipe)
    attn("train-mt", corpus, "-o", tmp_path / "two", *recipe, "--processes", 2)
    for alone, together in zip(log(tmp_path / "one"), log(tmp_path / "two"), strict=True):
        assert together == pytest.approx(alone, abs=1e-4)


@pytest.mark.slow
def test_strings_of_digits_are_learnt(data_dir, tmp_path):
    """Real speech: after some five minutes of one core most digits are right."""
    digits = data_dir / "spoken_digits"
    given = ("--source", "audio", "--columns", "path,text", "--dev", digits / "strings_dev.tsv")
    short = ("--max-steps", 1300)
    inside("train-mt", digits / "strings_train.tsv", "-o", tmp_path / "m", *given, *short)
    dev = ("--columns", "path,text", digits / "strings_dev.tsv")
    run = inside("decode", "-m", tmp_path / "m", *dev)
    rate = inside("score", "--wer", stdin=run.out).lines[0].split("\t")
    assert float(rate[1]) < 0.3
