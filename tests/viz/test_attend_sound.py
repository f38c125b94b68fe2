"""What `attn attend` draws of a recording: the weights along its time, and the sound itself."""

from __future__ import annotations

import base64
import io
import json
import random
import wave

import numpy as np
import pytest
import sounds
from program import inside
from test_attend_files import Page

SIZES = ("--d-model", 16, "--d-ff", 32, "--n-heads", 2, "--n-encoder-layers", 1)
REST = ("--n-decoder-layers", 1, "--threads", 1, "--device", "cpu", "--max-steps", 1)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    return sounds.write_words(tmp_path_factory.mktemp("corpus") / "speech", 24, seed=1)


@pytest.fixture(scope="module")
def recognizer(corpus):
    """One that reads recordings, and has learnt nothing of them."""
    place = corpus.parent / "model"
    kind = ("--source", "audio", "--type", "word", "--metric", "loss")
    inside("train-mt", corpus, "-o", place, *kind, *SIZES, *REST)
    return place


def page(recognizer, path, out):
    run = inside("attend", "-m", recognizer, "--pairs", "-o", out, path)
    text = out.read_text("utf-8")
    lines = json.loads(Page(text).scripts[0])
    assert len(lines) == len(run.lines)
    return lines, text


def heard(sound):
    """The samples that the page plays, and their rate."""
    kind, raw = sound["audio"].split(",")
    assert kind == "data:audio/wav;base64"
    with wave.open(io.BytesIO(base64.b64decode(raw))) as file:
        assert (file.getnchannels(), file.getsampwidth()) == (1, 2)
        return np.frombuffer(file.readframes(file.getnframes()), "<i2"), file.getframerate()


def test_the_page_holds_the_sound_and_its_spectrogram(recognizer, corpus, tmp_path):
    lines, text = page(recognizer, corpus, tmp_path / "page.html")
    assert "media-src data:" in text
    maps = {one["kind"]: one for one in lines[3]["maps"]}
    assert maps["encoder"]["sound"] is None  # from time to time: a matrix
    sound = maps["cross"]["sound"]
    samples, rate = heard(sound)
    with wave.open(str(corpus.parent / "3.wav")) as file:
        written = np.frombuffer(file.readframes(file.getnframes()), "<i2")
    assert rate == sounds.RATE
    assert np.abs(samples[: len(written)].astype(int) - written).max() <= 1
    assert sound["begin"] == 0.0
    assert sound["seconds"] == pytest.approx(len(written) / rate, abs=0.011)
    assert len(maps["cross"]["columns"]) == -(-sound["frames"] // 4)
    shades = np.frombuffer(base64.b64decode(sound["shades"]), np.uint8)
    shades = shades.reshape(sound["frames"], -1).astype(float)
    assert shades.min() == 0 and shades.max() == 255
    assert shades[:4].mean() < shades[8:16].mean()  # it begins with silence


def test_a_part_of_a_long_recording_has_its_part_of_the_sound(recognizer, tmp_path):
    generator = random.Random(3)
    words = [sounds.utterance(["rise", "fall", "hee"], generator) for _ in range(4)]
    whole = np.concatenate(words)
    sounds.write_wave(tmp_path / "long.wav", whole)
    out = tmp_path / "page.html"
    run = inside(
        *("attend", "-m", recognizer, "--max-input", 25, "--beam", 1, "-o", out),
        stdin=f"{tmp_path / 'long.wav'}\n".encode(),
    )
    assert "long line, drawn in" in run.said
    (line,) = json.loads(Page(out.read_text("utf-8")).scripts[0])
    parts = [one for one in line["maps"] if one["kind"] == "cross"]
    assert len(parts) > 2
    begin = 0.0
    for part in parts:
        sound = part["sound"]
        assert sound["begin"] == pytest.approx(begin, abs=1e-6)
        assert float(part["columns"][0]) == pytest.approx(begin, abs=0.006)
        samples, rate = heard(sound)
        first = round(begin * rate)
        wanted = np.round(whole[first : first + len(samples)] * 32767)
        assert np.abs(samples[: len(wanted)] - wanted).max() <= 1
        begin += sound["seconds"]
    assert begin == pytest.approx(len(whole) / sounds.RATE, abs=0.02)


def test_features_are_drawn_and_not_heard(tmp_path):
    folder = tmp_path / "features"
    folder.mkdir()
    generator = np.random.default_rng(1)
    for number in range(8):
        np.save(folder / f"{number}.npy", generator.normal(size=(30 + number, 5)))
    corpus = folder / "train.tsv"
    corpus.write_text("".join(f"{n}.npy\t{'a b' if n % 2 else 'b'}\n" for n in range(8)))
    kind = ("--source", "audio", "--type", "word", "--metric", "loss")
    inside("train-mt", corpus, "--dev", corpus, "-o", tmp_path / "m", *kind, *SIZES, *REST)
    lines, _ = page(tmp_path / "m", corpus, tmp_path / "page.html")
    (cross,) = (one for one in lines[2]["maps"] if one["kind"] == "cross")
    assert cross["sound"]["audio"] is None
    assert cross["sound"]["frames"] == 32


@pytest.mark.parametrize("ending", ["png", "svg", "pdf"])
def test_pictures_show_the_spectrogram_above_the_words(recognizer, corpus, tmp_path, ending):
    pytest.importorskip("matplotlib")
    lines = corpus.read_text().splitlines()[:2]
    root = ("--audio-root", corpus.parent)
    out = tmp_path / f"picture.{ending}"
    stdin = "".join(f"{line}\n" for line in lines).encode()
    pairs = ("--pairs", "--kind", "cross", "-o", out)
    run = inside("attend", "-m", recognizer, *pairs, *root, stdin=stdin)
    assert len(run.lines) == 2
    if ending != "png":
        return
    from matplotlib.image import imread

    for name in run.lines:
        pixels = imread(name)[..., :3]
        gray = (np.ptp(pixels, axis=2) < 0.02) & (pixels[..., 0] > 0.05) & (pixels[..., 0] < 0.95)
        colour = np.ptp(pixels, axis=2) > 0.2
        rows_of_gray, rows_of_colour = gray.sum(1) > 50, colour.sum(1) > 50
        assert rows_of_gray.any() and rows_of_colour.any()
        assert rows_of_gray.argmax() < rows_of_colour.argmax()
