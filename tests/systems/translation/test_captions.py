"""Captions of images as a user meets them: `train-mt --source image`, decode, score, attend."""

from __future__ import annotations

import base64
import io
import json
import re
import shutil
import signal

import numpy as np
import pytest
import torch
from program import attn, inside, stopped
from test_train_mt import log

pictures = pytest.importorskip("pictures")

from attn_cli.config.decoding import SearchOptions  # noqa: E402
from attn_cli.config.tokenizing import TokenizerOptions  # noqa: E402
from attn_cli.data.images import read_pixels  # noqa: E402
from attn_cli.models.directory import load_model, read_config  # noqa: E402
from attn_cli.systems.translation.image_source import ImageSide  # noqa: E402
from attn_cli.systems.translation.translator import AutoregressiveTranslator, Source  # noqa: E402
from attn_cli.tokenizers.tokenizer_training import train_tokenizer  # noqa: E402
from attn_cli.train.checkpoints import Checkpoints  # noqa: E402

SIZES = ("--d-model", 32, "--n-decoder-layers", 1, "--threads", 1, "--device", "cpu")
LAYERS = ("--d-ff", 64, "--n-heads", 2, "--n-encoder-layers", 1)
WORDS = ("--source", "image", "--type", "word", "--region-size", 8, "--dropout", 0)
LIMITS = ("--max-steps", 110, "--warmup", 10, "--batch-tokens", 800, "--ema", 0.95)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    return pictures.write_shapes(tmp_path_factory.mktemp("corpus") / "shapes", 200, seed=1)


@pytest.fixture(scope="module")
def captioner(corpus, tmp_path_factory):
    """A model that has learnt to say what is in such images."""
    place = tmp_path_factory.mktemp("captioner") / "model"
    recipe = (*SIZES, *LAYERS, *WORDS, *LIMITS, "--image-encoder", "patch", "--metric", "bleu")
    inside("train-mt", corpus, "-o", place, *recipe)
    return place


@pytest.fixture
def fresh(tmp_path):
    """Images that were not trained on."""
    return pictures.write_shapes(tmp_path / "fresh", 24, seed=99)


def test_a_captioner_says_what_is_in_new_images(captioner, fresh):
    run = attn("decode", "-m", captioner, "--beam", 2, fresh)
    said = [line.split("\t") for line in run.lines]
    assert len(said) == 24
    right = sum(hypothesis == reference for hypothesis, reference in said)
    assert right >= 22
    assert float(attn("score", "--bleu", stdin=run.out).lines[0].split("\t")[1]) > 90


def test_the_directory_says_what_the_model_reads(captioner):
    config = read_config(captioner)
    assert config.task == "translate"
    model = config.model
    assert (model.source, model.image_encoder, model.image_height, model.image_width) == (
        *("image", "patch", 16, 32),
    )
    assert (model.src_vocab, model.share_embeddings) == (0, False)
    assert not any(path.name.startswith("src.") for path in captioner.iterdir())
    # What only the training needed is gone.
    left = {path.name for path in (captioner / "checkpoints").iterdir()}
    assert not [name for name in left if "image" in name or "index" in name]


def test_how_long_a_caption_may_be_has_nothing_to_do_with_the_number_of_regions():
    tokenizer = train_tokenizer(
        ["a red disc"], TokenizerOptions(type="char"), seed=1, threads=1, say=lambda text: None
    )
    limits = set()
    for side in (ImageSide(16, 16, 8), ImageSide(64, 64, 8)):
        model = torch.nn.Linear(1, 1)
        model.n_positions = None
        translator = AutoregressiveTranslator([model], side, tokenizer)
        (request,) = translator.requests([Source("", file=side.blank)], SearchOptions())
        limits.add(request.max_len)
    assert limits == {SearchOptions().longest(64)}


def test_the_size_that_is_asked_for_is_kept(corpus, tmp_path):
    given = ("--image-size", "24x48", "--max-steps", 2, "--metric", "loss")
    run = inside("train-mt", corpus, "-o", tmp_path / "m", *SIZES, *LAYERS, *WORDS, *given)
    model = read_config(tmp_path / "m").model
    assert (model.image_encoder, model.grid) == ("conv", (3, 6))
    assert "180 pairs to train on, 20 to validate on" in run.said


def test_what_is_reported_is_the_probability_of_the_caption(captioner, fresh):
    decoded = inside("decode", "-m", captioner, "--scores", "--beam", 3, fresh)
    lines = [line.split("\t") for line in decoded.lines]
    pairs = "".join(f"{n}.png\t{line[0]}\n" for n, line in enumerate(lines))
    named = fresh.with_name("again.tsv")
    named.write_text(pairs)
    again = inside("score", "--log-prob", "-m", captioner, named).lines
    expected = [float(line[1]) for line in lines]
    assert [float(value) for value in again] == pytest.approx(expected, abs=1e-4)


def test_every_way_to_search_reads_images(captioner, fresh):
    best = [line.split("\t")[0] for line in inside("decode", "-m", captioner, fresh).lines]
    json_lines = inside("decode", "-m", captioner, "--n-best", 3, "--format", "json", fresh).lines
    outputs = [json.loads(line)["hypotheses"] for line in json_lines]
    assert [one[0]["text"] for one in outputs] == best
    assert all(len({other["text"] for other in one}) == 3 for one in outputs)
    two = inside("decode", "-m", f"{captioner},{captioner}", fresh).lines
    assert [line.split("\t")[0] for line in two] == best
    drawn = inside("decode", "-m", captioner, "--sample", "--temperature", 0.01, fresh).lines
    assert [line.split("\t")[0] for line in drawn] == best
    aligned = inside("decode", "-m", captioner, "--align", fresh).lines
    for line in aligned:
        caption, links, _ = line.split("\t")
        pairs = [tuple(map(int, link.split("-"))) for link in links.split(" ")]
        assert [word for _, word in pairs] == list(range(len(caption.split())))
        assert all(0 <= region < 8 for region, _ in pairs)


def test_where_relative_names_start(captioner, fresh, tmp_path, monkeypatch):
    def first(*arguments, stdin=b"", status=0):
        return inside("decode", "-m", captioner, *arguments, stdin=stdin, status=status).lines[0]

    line = b"0.png\n"
    expected = first(fresh).split("\t")[0]
    elsewhere = tmp_path / "names.txt"
    elsewhere.write_bytes(line)
    assert first(elsewhere, "--image-root", fresh.parent) == expected
    assert first(elsewhere, status=3) == ""  # beside names.txt there is none
    monkeypatch.chdir(fresh.parent)
    assert first(stdin=line) == expected
    assert first(elsewhere, status=3) == ""
    whole = bytes(fresh.parent / "0.png") + b"\n"
    monkeypatch.chdir(tmp_path)
    assert first(stdin=whole) == expected


def test_of_several_images_in_a_file_the_first_is_said_to_be_read(captioner, fresh):
    from PIL import Image

    frames = [Image.open(fresh.parent / f"{number}.png").convert("RGB") for number in (0, 1)]
    frames[0].save(fresh.parent / "two.tif", save_all=True, append_images=frames[1:])
    stdin = b"0.png\ntwo.tif\n"
    run = inside("decode", "-m", captioner, "--image-root", fresh.parent, stdin=stdin)
    assert run.lines[0] == run.lines[1]
    said = "holds several images (frames, pages): the first one is read"
    assert f"standard input:2: {said}" in run.said
    assert run.said.count("several images") == 1


def test_a_bad_image_is_one_empty_line(captioner, fresh):
    causes = pictures.hostile(fresh.parent)
    names = ["0.png", *causes, "", "1.png"]
    stdin = "".join(f"{name}\tx\n" if name else "\n" for name in names).encode()
    run = attn("decode", "-m", captioner, "--image-root", fresh.parent, stdin=stdin, status=3)
    assert len(run.lines) == len(names)
    assert run.lines[0].endswith("\tx")
    assert run.lines[-1].endswith("\tx")
    assert all(line.strip() for line in (run.lines[0], run.lines[-1]))
    assert run.lines[1:-1] == ["\tx"] * len(causes) + [""]
    shown = list(causes.items())[:10]
    for number, (name, cause) in enumerate(shown, 2):
        (said,) = (
            s for s in run.said.split("\n") if s.startswith(f"attn: standard input:{number}:")
        )
        assert re.search(cause, said)
        assert name[:20] in said
    assert f"{len(causes)} unusable lines" in run.said
    skipped = inside(
        "decode", "-m", captioner, "--image-root", fresh.parent, "--skip-bad", stdin=stdin
    )
    assert skipped.out == run.out


def test_training_names_every_bad_image_and_refuses(corpus, tmp_path):
    folder = shutil.copytree(corpus.parent, tmp_path / "shapes")
    causes = pictures.hostile(folder)
    bad = "".join(f"{name}\tx\n" for name in list(causes)[:8])
    lines = (folder / "train.tsv").read_text()
    (folder / "train.tsv").write_text(bad + lines)
    command = (*SIZES, *LAYERS, *WORDS, "--max-steps", 1, "--metric", "loss")
    run = inside("train-mt", folder / "train.tsv", "-o", tmp_path / "m", *command, status=3)
    for number, cause in enumerate(list(causes.values())[:8], 1):
        assert re.search(f"train.tsv:{number}: .*{cause}", run.said)
    assert "8 unusable lines: nothing is trained" in run.said
    assert not (tmp_path / "m" / "config.json").exists()
    run = inside("train-mt", folder / "train.tsv", "-o", tmp_path / "m", *command, "--skip-bad")
    assert "8 unusable lines: left out" in run.said
    assert "180 pairs to train on, 20 to validate on" in run.said


def test_held_out_images_are_not_trained_on(tmp_path, monkeypatch):
    monkeypatch.setattr(Checkpoints, "clear_states", lambda self: None)
    corpus = pictures.write_shapes(tmp_path / "twice", 60, seed=2, captions=2)
    command = (*SIZES, *LAYERS, *WORDS, "--max-steps", 1, "--metric", "loss")
    inside("train-mt", corpus, "-o", tmp_path / "m", *command)
    work = tmp_path / "m" / "checkpoints"
    held = np.load(work / "held-out.npy")
    numbers = np.fromfile(work / "train.image-numbers", np.int64)
    assert numbers.tolist() == [n // 2 for n in range(120)]
    assert len(held) == 12
    assert not set(numbers[held]) & set(np.delete(numbers, held))


STATEFUL = (
    *("--dropout", 0.2, "--subword-sampling", 0.1, "--ema", 0.9, "--accumulate", 2),
    *("--batch-tokens", 150, "--max-steps", 16, "--validate-every", 8, "--metric", "bleu"),
)


@pytest.mark.slow
def test_a_stopped_run_ends_as_the_uninterrupted_one(tmp_path):
    corpus = pictures.write_shapes(tmp_path / "shapes", 90, seed=3, captions=2)

    def command(folder):
        recipe = ("--source", "image", "--region-size", 8, "--vocab-size", 28, *STATEFUL)
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


def test_other_images_under_the_same_names_are_other_data(tmp_path):
    corpus = pictures.write_shapes(tmp_path / "shapes", 20, seed=4)
    command = ("train-mt", corpus, "-o", tmp_path / "m", *SIZES, *LAYERS, *WORDS)
    limits = ("--max-steps", 1, "--metric", "loss")
    inside(*command, *limits)
    assert "has finished" in inside(*command, *limits).said
    pictures.halves(size=(32, 16)).save(corpus.parent / "7.png")
    assert "on other data" in inside(*command, *limits, status=2).said


@pytest.mark.parametrize("decoder", ["rnn", "cnn", "mask-predict", "hard"])
def test_every_architecture_reads_images(decoder, corpus, fresh, tmp_path):
    kinds = {
        "rnn": ("--arch", "rnn", "--attention", "additive"),
        "cnn": ("--arch", "cnn", "--n-encoder-layers", 1),
        "mask-predict": ("--decoder", "mask-predict", *LAYERS),
        "hard": ("--arch", "rnn", "--normalize", "hard"),  # Xu et al. 2015, section 4.1
    }
    few = ("--max-steps", 4, "--metric", "loss", "--validate-every", 2)
    run = inside("train-mt", corpus, "-o", tmp_path / "m", *SIZES, *kinds[decoder], *WORDS, *few)
    losses = [float(found) for found in re.findall(r"dev: loss ([0-9.]+)", run.said)]
    assert losses[-1] < losses[0]
    found = inside("decode", "-m", tmp_path / "m", "--max-len", 12, fresh)
    assert len(found.lines) == 24


def test_the_recurrent_decoder_is_show_attend_and_tell(corpus, tmp_path):
    """Xu et al. 2015, section 3.1: h₀ from the mean region, c = Σ αᵢ aᵢ over the regions."""
    recipe = ("--arch", "rnn", "--attention", "dot", "--max-steps", 1, "--metric", "loss")
    inside("train-mt", corpus, "-o", tmp_path / "m", *SIZES, *WORDS, *recipe)
    _, model = load_model(tmp_path / "m", torch.device("cpu"))
    assert model.config.n_encoder_layers == 0
    pixels = torch.from_numpy(read_pixels(bytes(corpus.parent / "0.png"), 16, 32).copy())[None]
    with torch.inference_mode():
        regions = model.src_embedding(pixels)[0]  # (S, D)
        state = model.start(pixels, torch.ones(1, 8, dtype=torch.bool))
        begin = model.bridge(regions.mean(0).repeat(2)).tanh().view_as(state.cells)
        torch.testing.assert_close(state.cells, begin)
        tokens = torch.tensor([[2]])
        _, after, weights = model.step(state, tokens, need_attention=True)
        h = after.cells[0, -1, 0, 0]
        torch.testing.assert_close(weights[0, 0], (regions @ h).softmax(0))


@pytest.mark.parametrize(
    ("flags", "cause"),
    [
        (("--image-size", "16x32"), "without --source image"),
        (("--source", "image", "--separate-vocab"), "--separate-vocab"),
        (("--source", "image", "--embeddings", "vectors.txt"), "--embeddings"),
        (
            ("--source", "image", "--image-size", "40x32"),
            "40 is no multiple of the region size, 16",
        ),
        (("--source", "imag"), "did you mean image"),
    ],
)
def test_options_that_contradict_are_refused(flags, cause, corpus, tmp_path):
    run = inside("train-mt", corpus, "-o", tmp_path / "m", *flags, status=2)
    assert cause in run.said


def test_options_of_the_other_kind_of_model_are_refused(captioner, reversal_model, corpus, fresh):
    for command in (("decode",), ("attend",)):
        run = inside(*command, "-m", reversal_model, "--image-root", ".", fresh, status=2)
        assert "this model reads texts" in run.said
    run = inside("train-mt", corpus, "--init", captioner, "-o", "nowhere", status=2)
    assert "--source text (there: image)" in run.said
    run = inside("decode", "-m", f"{captioner},{reversal_model}", fresh, status=2)
    assert "its tokenizer is not that of" in run.said
    assert "reads images" in inside("embed", "-m", captioner, fresh, status=3).said


def test_a_captioner_learns_on(captioner, corpus, tmp_path):
    command = ("--source", "image", "--max-steps", 2, "--metric", "loss", "--threads", 1)
    run = inside("train-mt", corpus, "--init", captioner, "-o", tmp_path / "m", *command)
    assert f"continued from {captioner}" in run.said
    first = re.findall(r"dev: loss ([0-9.]+)", run.said)[0]
    assert float(first) < 0.5
    assert read_config(tmp_path / "m").model.grid == (2, 4)


def test_the_table_of_attention_names_regions(captioner, fresh):
    rows = [line.split("\t") for line in inside("attend", "-m", captioner, fresh).lines]
    assert [row[6] for row in rows[:8]] == ["0,0", "0,1", "0,2", "0,3", "1,0", "1,1", "1,2", "1,3"]
    by_word: dict[tuple[str, str], float] = {}
    for row in rows:
        by_word[row[0], row[3]] = by_word.get((row[0], row[3]), 0.0) + float(row[7])
    assert all(total == pytest.approx(1, abs=1e-4) for total in by_word.values())


def test_the_page_holds_the_image(captioner, fresh, tmp_path):
    from PIL import Image

    page = tmp_path / "page.html"
    run = inside("attend", "-m", captioner, "--pairs", "-o", page, fresh)
    assert run.lines == [f"{page}#line={n}" for n in range(1, 25)]
    text = page.read_text("utf-8")
    assert "img-src data:" in text
    data = json.loads(
        re.search(r'<script type="application/json" id="data">(.*?)</script>', text)[1]
    )
    cross, encoder, _ = data[4]["maps"]
    assert (cross["picture"]["rows"], cross["picture"]["columns"]) == (2, 4)
    assert encoder["picture"] is None  # from region to region: a matrix
    kind, raw = cross["picture"]["image"].split(",")
    assert kind == "data:image/png;base64"
    shown = np.asarray(Image.open(io.BytesIO(base64.b64decode(raw))))
    assert np.array_equal(shown, read_pixels(bytes(fresh.parent / "4.png"), 16, 32))


@pytest.mark.parametrize("ending", ["png", "svg", "pdf"])
def test_pictures_are_the_image_once_for_each_word(captioner, fresh, tmp_path, ending):
    pytest.importorskip("matplotlib")
    one = fresh.with_name("one.tsv")
    one.write_text("3.png\tnone\n")
    run = inside("attend", "-m", captioner, "-o", tmp_path / f"p.{ending}", one)
    (name,) = run.lines
    raw = (tmp_path / name.split("#")[0]).read_bytes()
    if ending == "svg":
        words = inside("decode", "-m", captioner, one).lines[0].split("\t")[0].split()
        assert raw.count(b"<image") == len(words) + 1  # the image under its veil; the end
    else:
        assert raw.startswith({"png": b"\x89PNG", "pdf": b"%PDF"}[ending])


def test_shades_are_a_grid_for_each_word(captioner, fresh):
    one = fresh.with_name("one.tsv")
    one.write_text("3.png\na.png\n")
    run = inside("attend", "-m", captioner, "--format", "heat", one, status=3)
    title, words, upper, lower, *_ = run.lines
    assert title == "line 1  cross  layer 1  head mean  model, scaled-dot"
    assert words.split()[0].endswith("a")
    for grid in (upper, lower):
        assert set(grid) <= set(" ░▒▓█")
    assert "█" in upper[:8] + lower[:8]  # the largest weight of the first word
    assert "one.tsv:2" in run.said


@pytest.mark.slow
def test_photographs_are_learnt_by_heart(data_dir, tmp_path):
    """COCO's photographs and their five captions each: read, and over-fitted."""
    photographs = data_dir / "coco_mini"
    corpus = photographs / "train.tsv"
    given = ("--source", "image", "--image-root", photographs / "images", "--threads", 2)
    recipe = ("--columns", "image,caption", "--dev", corpus, "--dropout", 0, "--max-steps", 120)
    sizes = ("--vocab-size", 400, "--batch-tokens", 2048)
    inside("train-mt", corpus, "-o", tmp_path / "m", *given, *recipe, *sizes)
    captions: dict[str, list[str]] = {}
    for line in corpus.read_text("utf-8").splitlines()[1:]:
        name, caption = line.split("\t")
        captions.setdefault(name, []).append(caption)
    assert len(captions) == 26
    lines = "".join("\t".join([name, *own]) + "\n" for name, own in captions.items()).encode()
    root = ("--image-root", photographs / "images")
    decoded = inside("decode", "-m", tmp_path / "m", *root, stdin=lines)
    score = inside("score", "--bleu", stdin=decoded.out).lines[0]
    assert float(score.split("\t")[1]) > 90


@pytest.mark.slow
def test_the_recipe_reads_a_folder_or_a_tar_file(tmp_path):
    import os
    import subprocess
    import sys
    import tarfile
    from pathlib import Path

    def split(name, size, seed):
        corpus = pictures.write_shapes(tmp_path / name, size, seed, captions=2)
        corpus.write_text("image\tcaption\n" + corpus.read_text())
        return corpus

    train, dev = split("some train", 40, 1), split("dev", 6, 2)
    with tarfile.open(tmp_path / "dev.tar", "w") as archive:
        for image in dev.parent.glob("*.png"):
            archive.add(image, image.name)
    programs = tmp_path / "bin"
    programs.mkdir()
    (programs / "attn").write_text(f'#!/bin/sh\nexec "{sys.executable}" -m attn_cli "$@"\n')
    (programs / "attn").chmod(0o755)
    recipe = Path(__file__).resolve().parents[3] / "examples" / "captions" / "run.sh"
    arguments = [train, train.parent, dev, tmp_path / "dev.tar", *SIZES, *LAYERS, *WORDS]
    command = ["sh", recipe, "out put", *arguments, "--max-steps", 2, "--metric", "loss"]
    done = subprocess.run(
        [str(part) for part in command],
        cwd=tmp_path,
        env={**os.environ, "PATH": f"{programs}{os.pathsep}{os.environ['PATH']}"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert [line.split("\t")[0] for line in done.stdout.splitlines()[:2]] == ["BLEU", "chrF2"]
    decoded = (tmp_path / "out put" / "dev.captions.tsv").read_text().splitlines()
    assert [len(line.split("\t")) for line in decoded] == [3] * 6
    assert (tmp_path / "out put" / "regions.html").exists()
