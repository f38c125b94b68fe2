"""`attn attend --attribute` beside the weights, and `--word`, of every kind of model."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from drawn_models import (
    table,
    tokens,
    write_language_model,
    write_nodes,
    write_reader,
    write_translator,
)
from program import inside
from test_attend import attend, matrix
from test_attend_files import unpacked

from attn_cli.data.label_files import read_labels
from attn_cli.models.directory import load_model
from attn_cli.tokenizers.tokenizer_files import load_tokenizer
from attn_cli.viz.cells import BELOW, Cells

CPU = torch.device("cpu")
PAIR = "the cat sat on\tкот и пёс"
SIZES = {
    "bert": {"d_ff": 16, "n_heads": 2, "n_layers": 2},
    "gpt": {"d_ff": 16, "n_heads": 2, "n_layers": 2},
    "rnn": {"n_layers": 1},
    "bilm": {"n_layers": 1},
    "han": {"d_embedding": 8},
}


def edit_config(model: Path, **changes: object) -> None:
    config = json.loads((model / "config.json").read_text())
    (model / "config.json").write_text(json.dumps(config | changes))


def attributed(lines: list[str]) -> np.ndarray:
    return matrix(table(lines)["1", "1", "attribution"])


def zeroed(model, ids: torch.Tensor, kept: list[int]) -> torch.Tensor:
    """The vectors of tokens, 0 but for those that are kept."""
    vectors = model.backbone.token_vectors(ids).detach()
    return vectors * torch.isin(ids, torch.tensor(kept))[..., None]


@pytest.mark.parametrize("arch", ["bert", "gpt", "rnn", "bilm"])
def test_the_tokens_of_a_text_sum_to_what_it_adds_to_its_label(tmp_path, arch):
    path = write_reader(tmp_path / "model", arch, **SIZES[arch])
    run = attend(path, "the cat ran to שלום", "--attribute")
    model, tokenizer = load_model(path, CPU)[1], load_tokenizer(str(path))
    ids = torch.tensor([tokenizer.piece_ids(tokens(run.lines, "1", 6))])
    label = inside("decode", "-m", path, "--device", "cpu", stdin="the cat ran to שלום".encode())
    number = read_labels(path).index(label.lines[0])
    segments = torch.zeros_like(ids)
    with torch.no_grad():
        here = model(ids, ids >= 0, segments, "mood").softmax(-1)[0, number]
        marks = list(tokenizer.reserved_ids - {tokenizer.unk_id})
        blank = zeroed(model, ids, marks)
        handle = model.backbone.token_vectors.register_forward_hook(lambda *_: blank)
        nothing = model(ids, ids >= 0, segments, "mood").softmax(-1)[0, number]
        handle.remove()
    own = attributed(run.lines)
    change = float(here - nothing)
    assert own.sum() == pytest.approx(change, abs=0.01 * max(abs(change), 0.01) + 1e-5)
    assert own[0, 0] == own[0, -1] == 0  # special tokens are part of the baseline
    assert np.abs(own).max() > 0
    weights = attend(path, "the cat ran to שלום").lines
    assert [line for line in run.lines if "\tattribution\t" not in line] == weights


def test_the_sentences_of_a_document_share_its_change(tmp_path):
    path = write_reader(tmp_path / "model", "han", **SIZES["han"])
    document = "The cat sat. A dog ran to the cat! On."
    run = attend(path, document, "--attribute", "--kind", "word", "--words")
    columns = tokens([line for line in run.lines if "\tattribution\t" in line], "1", 6)
    assert columns == document.split()
    whole = attend(path, document, "--kind", "attribution", "--attribute").lines
    assert all("\tattribution\t" in line for line in whole)
    assert attributed(whole).sum() == pytest.approx(attributed(run.lines).sum(), abs=1e-5)


@pytest.mark.parametrize(
    ("arch", "changes"),
    [
        ("transformer", {"positions": "rotary"}),
        ("transformer", {"share_embeddings": False, "norm": "pre", "positions": "relative"}),
        ("recurrent", {}),
        ("recurrent", {"attention": "none"}),
        ("recurrent", {"input_feeding": True}),
        ("convolutional", {}),
    ],
)
def test_the_source_sums_to_what_it_adds_to_each_word(tmp_path, arch, changes):
    path = write_translator(tmp_path / "model", arch, **changes)
    own = attributed(attend(path, PAIR, "--pairs", "--attribute", "--kind", "attribution").lines)
    model, tokenizer = load_model(path, CPU)[1], load_tokenizer(str(path))
    src, tgt = (tokenizer.encode([side])[0] for side in PAIR.split("\t"))
    src_ids = torch.tensor([[*src, tokenizer.eos_id]])
    tgt_ids = torch.tensor([[tokenizer.bos_id, *tgt, tokenizer.eos_id]])

    def probabilities() -> torch.Tensor:
        hidden = model(src_ids, src_ids >= 0, tgt_ids[:, :-1]).hidden
        return model.logits(hidden)[0].softmax(-1).gather(1, tgt_ids[0, 1:, None])[:, 0]

    with torch.no_grad():
        here = probabilities()
        embedding = model.src_embedding
        vectors = embedding.tokens(src_ids) * (src_ids == tokenizer.eos_id)[..., None]
        handle = embedding.register_forward_hook(lambda *_: embedding.of_vectors(vectors))
        nothing = probabilities()
        handle.remove()
    change = (here - nothing).numpy()
    assert own.shape == (len(tgt) + 1, len(src) + 1)
    np.testing.assert_allclose(own.sum(1), change, atol=1e-4 + 0.011 * np.abs(change).max())
    assert not own[:, -1].any() and (np.abs(own).max() > 0 or arch == "convolutional")


@pytest.fixture(scope="module")
def translator(tmp_path_factory) -> Path:
    return write_translator(tmp_path_factory.mktemp("word") / "model")


def test_one_word_of_the_output_over_the_source(translator):
    whole = attend(translator, PAIR, "--pairs", "--attribute", "--words").lines
    run = attend(translator, PAIR, "--pairs", "--attribute", "--words", "--word", 3)
    assert tokens(run.lines, "1", 4) == ["пёс"]
    np.testing.assert_allclose(attributed(run.lines)[0], attributed(whole)[2], atol=2e-6)
    own, every = (matrix(table(lines)["1", "2", "mean"]) for lines in (run.lines, whole))
    np.testing.assert_allclose(own[0], every[2], atol=2e-6)
    few = attend(translator, f"{PAIR}|a\tи", "--pairs", "--word", 3, status=3)
    assert "standard input:2: its output has 2 words, its end included: no --word 3" in few.said
    assert few.lines[-1] == ""
    heat = attend(translator, PAIR, "--pairs", "--word", 3, "--format", "heat", "--words").lines
    assert "the cat sat on" in heat[2] and "пёс" in heat[1]


def test_heat_and_pictures_have_both_with_a_bar_each(translator, tmp_path):
    pytest.importorskip("matplotlib")
    heat = attend(translator, PAIR, "--pairs", "--attribute", "--format", "heat").lines
    assert heat[0].startswith("0 ") and heat[0].endswith("attention weight")
    assert re.match(r"-\S+ .* \S+  attribution$", heat[1])
    assert any(line.startswith("line 1  attribution  model, scaled-dot") for line in heat)
    out = tmp_path / "one.svg"
    attend(translator, PAIR, "--pairs", "--attribute", "-o", out)
    drawn = re.findall(r"<!-- (.*?) -->", (tmp_path / "one-1.svg").read_text("utf-8"))
    assert {"attention weight", "attribution", "cross, layer 2, mean of the heads"} <= set(drawn)


def test_the_page_holds_signed_values(translator, tmp_path):
    out = tmp_path / "page.html"
    attend(translator, PAIR, "--pairs", "--attribute", "-o", out)
    (line,) = json.loads(re.search(r'id="data">(.*?)</script>', out.read_text("utf-8"))[1])
    assert [one["kind"] for one in line["maps"]] == ["cross", "encoder", "decoder", "attribution"]
    one = line["maps"][-1]
    (layer,) = one["layers"]
    found = unpacked(one, layer).round(9) * 65535
    signed = found.round().astype(np.uint16).view(np.int16)[0] / 32767 * layer["scale"]
    wanted = attributed(attend(translator, PAIR, "--pairs", "--attribute").lines)
    np.testing.assert_allclose(signed, wanted, atol=layer["scale"] / 30000 + 1e-6)
    assert one["signed"] and not line["maps"][0]["signed"]


def test_values_below_nothing_have_shades_of_their_own():
    cells = Cells(coloured=False)
    row = cells.row(np.array([-1.0, -0.5, 0.0, 0.5, 1.0]), 1.0, signed=True).plain
    assert row == "##--  ▒▒██" and set("#-") < set(BELOW)
    painted = Cells(coloured=True).row(np.array([-1.0, 1.0]), 1.0, signed=True)
    assert [str(span.style).split("#")[-1] for span in painted.spans] == ["2166ac", "b2182b"]


def test_models_that_have_none_are_named(translator, tmp_path):
    gpt = write_language_model(tmp_path / "gpt")
    nodes = write_nodes(tmp_path / "nodes", tmp_path / "graph")
    reader = write_reader(tmp_path / "rnn", "rnn", n_layers=1)
    masked = write_translator(tmp_path / "masked")
    edit_config(masked, task="mask-predict")
    for model, option, cause in (
        (gpt, "--attribute", "a language model; it is for translators and classifiers"),
        (nodes, "--attribute", "it is for translators and classifiers"),
        (masked, "--attribute", "it is for translators and classifiers"),
        (reader, "--word=2", "it is for translators"),
    ):
        run = inside("attend", "-m", model, option, "--device", "cpu", stdin=b"a\n", status=2)
        assert cause in run.said and run.out == b""
