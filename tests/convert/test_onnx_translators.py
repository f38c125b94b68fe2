"""The two graphs of a translator compute, and write, what the model does in PyTorch."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

pytest.importorskip("onnxruntime")
pytest.importorskip("onnx")

from drawn_models import write_translator  # noqa: E402
from onnx_graphs import GreedyTranslator, described, written  # noqa: E402
from program import inside, write_reversal  # noqa: E402

from attn_cli.convert.onnx_layers import N_POSITIONS  # noqa: E402
from attn_cli.models.directory import load_model  # noqa: E402
from attn_cli.nn.positions import POSITIONS  # noqa: E402

CPU = torch.device("cpu")
PARTS = [
    *({"positions": kind} for kind in POSITIONS),
    {"norm": "post", "tie_embeddings": False, "activation": "gelu"},
    {"attention": "additive", "positions": "relative", "max_distance": 2},
    {"attention": "general", "tie_key_value": True},
    {"attention": "cosine", "combine": "mean"},
    {"attention": "mean", "normalize": "sum", "combine": "concat"},
    {"attention": "dot", "activation": "swish", "scale_embeddings": False},
    {"projections": "none", "n_encoder_layers": 0, "share_embeddings": False},
]
CASES = [
    *(("transformer", parts) for parts in PARTS),
    ("convolutional", {}),
    ("convolutional", {"positions": "sinusoidal", "attention": "general", "kernel_size": 5}),
    ("recurrent", {}),
    ("recurrent", {"cell": "gru", "attention": "additive", "input_feeding": True}),
    ("recurrent", {"cell": "rnn", "bidirectional": False, "projections": "learned"}),
    ("recurrent", {"attend_from": "previous", "normalize": "hard", "n_encoder_layers": 0}),
]


@pytest.mark.parametrize(("arch", "changes"), CASES, ids=str)
def test_every_part_computes_the_same_token_by_token(tmp_path, arch, changes):
    place = write_translator(tmp_path / "m", arch, **changes)
    graphs = GreedyTranslator(written(place))
    _, model = load_model(place, CPU)
    generator = torch.Generator().manual_seed(4)
    for batch, n_source, n_target in ((1, 1, 4), (4, 13, 7), (2, 25, 3)):
        ids = torch.randint(model.config.src_vocab, (batch, n_source), generator=generator)
        lengths = torch.randint(1, n_source + 1, (batch, 1), generator=generator)
        mask = torch.arange(n_source) < lengths
        targets = torch.randint(model.config.tgt_vocab, (batch, n_target), generator=generator)
        with torch.no_grad():
            expected = model.logits(model(ids, mask, targets).hidden).numpy()
        atol = max(1e-4, 1e-5 * float(np.abs(expected).max()))  # sums of large numbers
        first = given = graphs.encode(ids.numpy(), mask.long().numpy())
        for at in range(n_target):
            logits, given = graphs.advance(targets[:, at : at + 1].numpy(), given)
            np.testing.assert_allclose(logits[:, 0], expected[:, at], atol=atol, rtol=1e-4)
        if arch == "transformer":  # and all at once
            logits, given = graphs.advance(targets.numpy(), first)
            np.testing.assert_allclose(logits, expected, atol=atol, rtol=1e-4)
            assert given["cache"].shape[4] == n_target


@pytest.fixture(scope="module")
def folder(reversal_model, tmp_path_factory) -> Path:
    target = tmp_path_factory.mktemp("graphs") / "onnx"
    inside("convert", reversal_model, "--to", "onnx", "-o", target)
    return target


def test_what_was_learnt_is_written_text_for_text(reversal_model, folder, tmp_path):
    pairs = write_reversal(tmp_path / "new.tsv", 120, seed=8).read_text().splitlines()
    lines = [pair.split("\t")[0] for pair in pairs]
    stdin = "".join(f"{line}\n" for line in lines).encode()
    ours = inside("decode", "-m", reversal_model, "--greedy", stdin=stdin).lines
    graphs = GreedyTranslator(folder)
    found = [text for at in range(0, 120, 30) for text in graphs.translate(lines[at : at + 30])]
    assert found == ours
    assert graphs.translate(lines[:1]) == ours[:1]
    right = sum(a == pair.split("\t")[1] for a, pair in zip(found, pairs, strict=True))
    assert right > 60  # it has learnt something


def test_rows_of_the_cache_can_change_places(folder):
    """As hypotheses of a beam search do."""
    graphs = GreedyTranslator(folder)
    ids = np.array([[9, 8, 3], [7, 7, 3]], np.int64)
    given = graphs.encode(ids, np.ones_like(ids))
    start = np.full((2, 1), graphs.told["target_start"], np.int64)
    _, given = graphs.advance(start, given)
    tokens = np.array([[5], [6]], np.int64)
    logits, _ = graphs.advance(tokens, given)
    swapped = {name: given[name][:, :, ::-1].copy() for name in ("memory", "cache")}
    turned, _ = graphs.advance(tokens[::-1].copy(), {**given, **swapped})
    np.testing.assert_allclose(turned[::-1], logits, atol=1e-5)


def test_the_directory_says_how_it_is_used(folder, reversal_model, tmp_path):
    names = {file.name for file in folder.iterdir()}
    assert names == {"config.json", "encoder.onnx", "step.onnx", "tokenizer.model"}
    told = described(folder)
    assert told["n_positions"] == N_POSITIONS
    cache = told["graphs"]["step.onnx"]["inputs"][3]
    assert cache["name"] == "cache" and cache["shape"] == [1, 2, "batch", 2, "history", 16]
    assert "target_start" in told["use"]
    said = inside("convert", reversal_model, "--to", "onnx", "-o", tmp_path / "again").said
    assert "has 4,096 positions: longer texts fail there" in said
    learned = write_translator(tmp_path / "m", positions="learned", max_positions=20)
    assert described(written(learned))["n_positions"] == 20


def test_two_tokenizers_come_along(tmp_path):
    """A graph of a model whose source has a vocabulary of its own reads its ids."""
    place = write_translator(tmp_path / "m")
    (place / "src.tokenizer.model").write_bytes((place / "tokenizer.model").read_bytes())
    names = {file.name for file in written(place).iterdir()}
    assert {"tokenizer.model", "src.tokenizer.model"} <= names
