"""A graph of an encoder computes in onnxruntime what the model computes in PyTorch."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

onnxruntime = pytest.importorskip("onnxruntime")
pytest.importorskip("onnx")

from drawn_models import (  # noqa: E402
    write_language_model,
    write_nodes,
    write_text_model,
    write_translator,
)
from onnx_graphs import described, padded, session, written  # noqa: E402
from program import inside  # noqa: E402

from attn_cli.convert import onnx_layers  # noqa: E402
from attn_cli.models.directory import load_model  # noqa: E402
from attn_cli.models.text import HeadConfig  # noqa: E402
from attn_cli.tokenizers.tokenizer_files import load_tokenizer  # noqa: E402

CPU = torch.device("cpu")
SIZES = [(1, 1), (1, 17), (4, 6), (5, 33)]


def head(task: str, kind: str = "text", n_outputs: int = 2, **more) -> HeadConfig:
    return HeadConfig(name=task, kind=kind, n_outputs=n_outputs, task=task, **more)


def inputs(size: int, batch: int, length: int) -> tuple[torch.Tensor, ...]:
    """Random rows of several lengths, with two segments."""
    generator = torch.Generator().manual_seed(batch * length)
    ids = torch.randint(size, (batch, length), generator=generator)
    lengths = torch.randint(1, length + 1, (batch, 1), generator=generator)
    lengths[0] = length
    mask = torch.arange(length) < lengths
    segments = torch.randint(2, (batch, length), generator=generator)
    return ids, mask, segments


def run(folder: Path, ids: torch.Tensor, mask: torch.Tensor, segments: torch.Tensor) -> list:
    """The graph's outputs, given those inputs that it has."""
    graph = session(folder / "model.onnx")
    given = {"input_ids": ids, "attention_mask": mask.long(), "token_type_ids": segments}
    known = [each.name for each in graph.get_inputs()]
    return graph.run(None, {name: given[name].numpy() for name in known})


CASES = [
    ("bert", [head("classify", n_outputs=3, pool="own")], {}),
    ("bert", [head("multilabel", n_outputs=4, pool="mean")], {"n_segments": 1}),
    ("bert", [head("pair", pool="max")], {"norm": "pre", "activation": "swish"}),
    ("bert", [head("choice", n_outputs=1, pool="own")], {"n_segments": 0}),
    ("bert", [head("tag", "tokens", 5)], {"positions": "rotary", "activation": "gelu-tanh"}),
    ("bert", [head("qa", "span", 2)], {"positions": "relative", "max_distance": 3}),
    ("bert", [head("tag", "tokens", 3)], {"positions": "sinusoidal", "attention": "additive"}),
    ("bert", [head("classify"), head("tag", "tokens", 3)], {"positions": "none"}),
    ("bert", [head("classify")], {"attention": "general", "combine": "mean"}),
    ("gpt", [head("classify", pool="own")], {"norm": "pre"}),
    ("gpt", [head("tag", "tokens", 3)], {"normalize": "sum"}),
    ("rnn", [head("classify", pool="own")], {}),
    ("rnn", [head("tag", "tokens", 3)], {"cell": "gru"}),
    ("rnn", [head("pair", pool="mean")], {"cell": "rnn", "n_layers": 1}),
    ("bilm", [head("classify", pool="own")], {}),
]


@pytest.mark.parametrize(("arch", "heads", "changes"), CASES, ids=str)
def test_a_head_gives_the_same_outputs_for_any_number_and_length(tmp_path, arch, heads, changes):
    place = write_text_model(tmp_path / "m", arch, *heads, **changes)
    folder = written(place)
    _, model = load_model(place, CPU)
    for batch, length in SIZES:
        ids, mask, segments = inputs(model.config.vocab_size, batch, length)
        found = run(folder, ids, mask, segments)
        for each, outputs in zip(heads, found, strict=True):
            with torch.no_grad():
                expected = model(ids, mask, segments, each.name)
            kept = ... if each.kind == "text" else mask
            torch.testing.assert_close(
                torch.from_numpy(outputs)[kept], expected[kept], atol=1e-4, rtol=1e-4
            )


def test_a_regression_gives_its_number(tmp_path):
    own = head("rate", n_outputs=1, pool="own", mean=40.0, std=12.5, low=-1e9, high=1e9)
    place = write_text_model(tmp_path / "m", "bert", own)
    folder = written(place)
    lines = ["the cat sat on the mat", "a dog"]
    stdin = "".join(f"{line}\n" for line in lines).encode()
    expected = [float(line) for line in inside("decode", "-m", place, stdin=stdin).lines]
    (found,) = of_texts(folder, lines)
    assert found[:, 0].tolist() == pytest.approx(expected, rel=1e-4)
    assert described(folder)["tasks"][0]["low"] == -1e9


def of_texts(folder: Path, lines: list[str]) -> list[np.ndarray]:
    """What the graph makes of texts, framed as its config.json says."""
    told, tokenizer = described(folder), load_tokenizer(str(folder))
    frame = told["frame"]
    rows = [[frame["before"], *ids, frame["behind"]] for ids in tokenizer.encode(lines)]
    ids, mask = map(torch.from_numpy, padded(rows, told["special_ids"]["pad"]))
    return run(folder, ids, mask, torch.zeros_like(ids))


@pytest.mark.parametrize("arch", ["bert", "gpt", "rnn", "bilm"])
def test_texts_get_the_labels_that_decode_gives_them(tmp_path, arch):
    labels = ["bad", "good", "so so"]
    place = write_text_model(tmp_path / "m", arch, head("classify", n_outputs=3), labels=labels)
    folder = written(place)
    lines = [*("the cat sat on the mat", "a dog ran", "кот", "שלום עולם"), "a b c d e f g"]
    stdin = "".join(f"{line}\n" for line in lines).encode()
    (task,) = described(folder)["tasks"]
    assert task["labels"] == labels
    (logits,) = of_texts(folder, lines)
    found = [task["labels"][best] for best in logits.argmax(-1)]
    assert found == inside("decode", "-m", place, stdin=stdin).lines


@pytest.mark.parametrize("arch", ["bert", "bilm"])
@pytest.mark.parametrize(
    "own",
    [{}, {"pool": "cls"}, {"pool": "max", "normalize": True}],
    ids=str,
)
def test_an_encoder_without_heads_gives_the_vectors_of_embed(tmp_path, arch, own):
    place = write_text_model(tmp_path / "m", arch)
    file = place / "config.json"
    values = json.loads(file.read_text())
    file.write_text(json.dumps({**values, "options": {"embedding": own}}))
    folder = written(place)
    lines = ["the cat sat on the mat", "a dog", "кот и пёс"]
    stdin = "".join(f"{line}\n" for line in lines).encode()
    told = [json.loads(line) for line in inside("embed", "-m", place, stdin=stdin).lines]
    hidden, pooled = of_texts(folder, lines)
    np.testing.assert_allclose(pooled, [each["vector"] for each in told], atol=1e-4)
    assert hidden.shape[::2] == (3, 12)


def test_a_directory_of_graphs_says_what_it_holds(tmp_path):
    heads = head("classify", max_len=40), head("qa", "span", 2)
    folder = written(write_text_model(tmp_path / "m", "bert", *heads))
    names = {file.name for file in folder.iterdir()}
    assert names == {"config.json", "model.onnx", "tokenizer.model"}
    told, graph = described(folder), session(folder / "model.onnx")
    ports = told["graphs"]["model.onnx"]
    for side, found in (("inputs", graph.get_inputs()), ("outputs", graph.get_outputs())):
        assert [port["name"] for port in ports[side]] == [each.name for each in found]
        assert [port["shape"] for port in ports[side]] == [each.shape for each in found]
    assert [task["output"] for task in told["tasks"]] == ["logits_classify", "logits_qa"]
    assert [task["max_len"] for task in told["tasks"]] == [40, 512]
    assert told["tasks"][1]["no_answer_threshold"] != 0
    run = inside("convert", tmp_path / "m", "--to", "onnx", "-o", folder, status=2)
    assert "--overwrite" in run.said
    inside("convert", tmp_path / "m", "--to", "onnx", "-o", folder, "--overwrite")
    run = inside("decode", "-m", folder, status=3)
    assert "config.json" in run.said


def refused(place: Path, *options: object, status: int = 3) -> str:
    target = place.with_name("new") / "onnx"
    said = inside("convert", place, "--to", "onnx", "-o", target, *options, status=status).said
    assert not target.parent.exists()
    return said


def test_what_is_no_graph_is_refused_and_leaves_nothing(tmp_path):
    han = write_text_model(tmp_path / "han", "han", head("classify"))
    assert f"{han}: han makes documents of sentences" in refused(han)
    gpt = write_language_model(tmp_path / "gpt")
    assert f"{gpt}: a language model that continues texts" in refused(gpt)
    gat = write_nodes(tmp_path / "gat", tmp_path / "graph")
    assert f"{gat}: --to onnx writes encoders of texts" in refused(gat)
    place = write_translator(tmp_path / "mp", "mask-predict", d_ff=32, n_heads=2, n_lengths=30)
    assert f"{place}: --to onnx writes translators that write one token" in refused(place)
    place = write_translator(tmp_path / "none", "recurrent", attention="none")
    assert "recurrent translators with attention alone" in refused(place)


def test_options_that_graphs_lack_and_missing_packages_are_wrong_usage(tmp_path, monkeypatch):
    place = write_text_model(tmp_path / "m", "bert", head("classify"))
    assert "--precision: --to onnx has no use" in refused(place, "--precision", "int8", status=2)
    assert "needs -o DIR" in inside("convert", place, "--to", "onnx", status=2).said
    modules = __import__("sys").modules
    monkeypatch.setitem(modules, "onnxruntime", None)
    run = inside("convert", place, "--to", "onnx", "-o", tmp_path / "unchecked")
    assert "not compared with PyTorch, as onnxruntime is not installed" in run.said
    monkeypatch.setitem(modules, "onnx", None)
    assert "--to onnx needs: pip install '.[onnx]'" in refused(place, status=2)


def test_a_graph_that_computes_something_else_is_not_written(tmp_path, monkeypatch):
    place = write_text_model(tmp_path / "m", "bert", head("classify"), positions="rotary")
    monkeypatch.setattr(onnx_layers._RealRotary, "rotate", lambda self, heads, positions: heads)
    said = refused(place, status=1)
    assert "differs from PyTorch by" in said and "nothing was written" in said
