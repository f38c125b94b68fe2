"""`attn embed --plot`: places against scikit-learn's and NumPy's, and the picture."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

import numpy as np
import pytest
from drawn_models import write_language_model
from program import inside

from attn_cli.embed.embedder import Embedded
from attn_cli.embed.lines import LineVectors
from attn_cli.embed.sample import VectorSample, are_labels
from attn_cli.viz.points import by_pca, by_tsne, spread_out
from attn_cli.viz.vector_map import draw_map

pytest.importorskip("matplotlib")
pytest.importorskip("sklearn")

LINES = b"the cat sat\tanimal\n\na dog ran\tanimal\nthe mat\tthing\nto the mat\tthing\n$_x\tthing\n"


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> Path:
    return write_language_model(tmp_path_factory.mktemp("embed") / "gpt")


def embed(model: Path, *options: object, stdin: bytes = LINES, status: int = 0):
    quick = ("--threads", 1, "--device", "cpu")
    return inside("embed", "-m", model, *quick, *options, stdin=stdin, status=status)


def test_components_are_those_of_the_singular_vectors():
    vectors = np.random.default_rng(3).normal(size=(40, 7)) * np.arange(1, 8)
    points, shares = by_pca(vectors)
    centred = vectors - vectors.mean(0)
    left, values, _ = np.linalg.svd(centred, full_matrices=False)
    np.testing.assert_allclose(np.abs(points), np.abs(left[:, :2] * values[:2]), atol=1e-8)
    np.testing.assert_allclose(shares, (values**2 / (values**2).sum())[:2])


@pytest.mark.parametrize("shape", [(1, 5), (2, 5), (3, 1), (6, 3)])
def test_few_or_equal_vectors_have_places_too(shape):
    for vectors in (np.ones(shape), np.arange(np.prod(shape), dtype=float).reshape(shape)):
        assert by_pca(vectors)[0].shape == (shape[0], 2)
        assert np.isfinite(by_pca(vectors)[0]).all()
    assert np.isfinite(by_tsne(np.random.default_rng(1).normal(size=shape), 1)).all()


def test_named_points_are_far_from_each_other():
    points = np.array([[0.0, 0], [0.1, 0], [10, 0], [10, 0.1], [0, 10], [5, 5]])
    assert len(spread_out(points, 3)) == 3
    kept = points[spread_out(points, 4)]
    distances = np.linalg.norm(kept[:, None] - kept[None], axis=-1)[~np.eye(4, dtype=bool)]
    assert distances.min() > 4
    assert spread_out(np.zeros((4, 2)), 4) == [0] and spread_out(points, 0) == []


def test_a_sample_is_bounded_and_even():
    counts = np.zeros(50)
    for seed in range(200):
        sample = VectorSample(10, seed)
        for number in range(50):
            vector = Embedded(np.full((2, 3), number, np.float32))
            sample.add(LineVectors(number + 1, vector, ["x"], f"t{number}"))
            sample.add(LineVectors(0, None))
        vectors, texts, labels = sample.taken()
        assert vectors.shape == (10, 6) and sample.n_seen == 50 and labels == ["x"] * 10
        kept = vectors[:, 0].astype(int)
        assert texts == [f"t{number}" for number in kept] and sorted(kept) == list(kept)
        counts[kept] += 1
    assert counts.min() > 20 and counts.max() < 65  # 40 each, with a deviation of 5.7


def test_values_that_hardly_recur_are_no_labels():
    assert are_labels(["a", "b"] * 20) and are_labels(["a", "b", "c"]) and are_labels([])
    assert not are_labels([str(i) for i in range(30)])


@pytest.mark.parametrize("projection", ["tsne", "pca"])
def test_a_map_beside_the_vectors(model, tmp_path, projection):
    out = tmp_path / "map.svg"
    run = embed(model, "--plot", out, "--projection", projection)
    assert run.out == embed(model).out
    drawn = re.findall(r"<!-- (.*?) -->", out.read_text("utf-8"))
    assert {"animal", "thing", "the cat sat", "$_x", "gpt: 5 lines"} <= set(drawn)
    assert any("variance" in text for text in drawn) == (projection == "pca")
    raw = out.read_bytes()
    embed(model, "--plot", out, "--projection", projection)
    assert out.read_bytes() == raw
    embed(model, "--plot", out, "--plot-texts", 0, "--columns", "1,2")
    assert "the cat sat" not in out.read_text("utf-8")


def test_columns_name_the_text_and_its_label(model, tmp_path):
    rows = b"id\tlabel\ttext\n1\tx\tthe cat\n2\ty\ta dog\n3\t\tthe mat\n"
    out = tmp_path / "map.svg"
    run = embed(model, "--plot", out, "--columns", "text,label", stdin=rows)
    assert json.loads(run.lines[0])["columns"] == ["x", "1"]
    drawn = set(re.findall(r"<!-- (.*?) -->", out.read_text("utf-8")))
    assert {"x", "y", "(none)", "a dog"} <= drawn and "id" not in drawn


def test_many_labels_are_few_colours(tmp_path):
    vectors = np.random.default_rng(2).normal(size=(90, 4))
    labels = [f"l{i % 30:02}" for i in range(90)]
    out = tmp_path / "m.svg"
    texts = ["t"] * 90
    draw_map(str(out), "t", vectors, texts, labels, projection="pca", named=2)
    drawn = re.findall(r"<!-- (.*?) -->", out.read_text())
    assert "11 others" in drawn and sum(text.startswith("l") for text in drawn) == 19


def test_other_formats_and_second_columns_that_are_none(model, tmp_path):
    lines = b"".join(b"the cat %d\tvalue %d\n" % (i, i) for i in range(12))
    run = embed(model, "--plot", tmp_path / "m.png", "-o", tmp_path / "v.npy", stdin=lines)
    assert "12 values in the second column: no labels" in run.said and run.out == b""
    assert (tmp_path / "m.png").read_bytes().startswith(b"\x89PNG")
    assert np.load(tmp_path / "v.npy").shape == (12, 12)
    empty = embed(model, "--plot", tmp_path / "none.png", stdin=b"\n")
    assert "no lines, no map" in empty.said and not (tmp_path / "none.png").exists()


@pytest.mark.parametrize(
    ("options", "cause"),
    [
        (("--plot", "m.jpg"), ".png, .svg, .pdf"),
        (("--plot", "m.png", "--words"), "a point a line"),
        (("--projection", "pca"), "name its file"),
        (("--plot-texts", "3"), "name its file"),
    ],
)
def test_what_can_not_be_drawn_is_wrong_usage(model, options, cause):
    assert cause in embed(model, *options, status=2).said


@pytest.mark.parametrize("missing", ["matplotlib", "sklearn"])
def test_a_missing_library_is_named_before_the_model_is_read(tmp_path, monkeypatch, missing):
    for name in (missing, f"{missing}.figure", f"{missing}.manifold"):
        monkeypatch.setitem(sys.modules, name, None)
    run = embed(tmp_path / "none", "--plot", tmp_path / "m.png", status=2)
    assert "pip install '.[plot]'" in run.said
