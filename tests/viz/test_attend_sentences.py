"""A text that attends as a whole is drawn as itself, with what the model says of it above."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from drawn_models import table, tokens, write_reader
from program import inside
from test_attend import attend, matrix, on_terminal

from attn_cli.models.directory import load_model
from attn_cli.tokenizers.tokenizer_files import load_tokenizer
from attn_cli.viz.maps import Axis
from attn_cli.viz.sentence import Piece, chunks_of, pieces_of, values_of
from attn_cli.viz.sentence_panel import in_lines

TEXT = "the cat ran to שלום"


@pytest.fixture(scope="module")
def bert(tmp_path_factory) -> Path:
    sizes = {"d_ff": 16, "n_heads": 2, "n_layers": 2}
    return write_reader(tmp_path_factory.mktemp("bert") / "model", "bert", **sizes)


@pytest.fixture(scope="module")
def rnn(tmp_path_factory) -> Path:
    return write_reader(tmp_path_factory.mktemp("rnn") / "model", "rnn", n_layers=1)


def answered(model: Path) -> str:
    """What `decode` says of the text, and how sure it is, as pictures say it."""
    run = inside("decode", "-m", model, "--format", "json", "--device", "cpu", stdin=TEXT.encode())
    answer = json.loads(run.out)
    return f"{answer['answer']}  {answer['probability']:.3f}"


def test_a_classifier_shows_the_weights_of_the_vector_it_answers_from(bert):
    found = table(attend(bert, TEXT).lines)
    wanted = table(attend(bert, TEXT, "--kind", "self").lines)
    ((_, own),) = found.items()
    ((_, every),) = wanted.items()
    np.testing.assert_allclose(matrix(own)[0], matrix(every)[0], atol=1e-6)  # ⟨CLS⟩'s
    assert tokens(attend(bert, TEXT).lines, "1", 4) == ["text"]
    assert tokens(attend(bert, TEXT).lines, "1", 6)[0] == "<cls>"


@pytest.mark.parametrize(("pool", "row"), [("mean", None), ("max", None), ("own", -1)])
def test_other_pools_show_the_rows_that_they_read(tmp_path, pool, row):
    arch = "gpt" if row == -1 else "bert"
    model = write_reader(tmp_path / "model", arch, d_ff=16, n_heads=2, n_layers=1)
    config = json.loads((model / "config.json").read_text())
    config["heads"][0]["pool"] = pool
    (model / "config.json").write_text(json.dumps(config))
    ((_, own),) = table(attend(model, TEXT).lines).items()
    ((_, every),) = table(attend(model, TEXT, "--kind", "self").lines).items()
    whole = matrix(every)
    np.testing.assert_allclose(
        matrix(own)[0], whole.mean(0) if row is None else whole[row], atol=2e-6
    )


@pytest.mark.parametrize("name", ["bert", "rnn"])
def test_the_text_stands_in_the_terminal_with_its_answer_above(name, request):
    model = request.getfixturevalue(name)
    run = attend(model, f"{TEXT}||{TEXT}", "--format", "heat", "--words")
    legend, title, answer, text, shades = run.lines[:5]
    assert legend.startswith("0 ") and legend.endswith("attention weight")
    assert title.startswith("line 1  ") and answer == answered(model)
    assert TEXT in text and len(shades) == len(text)
    assert "█" in shades and set(shades) <= set(" ░▒▓█")
    assert run.lines.count(answer) == 2
    coloured = on_terminal(model, f"{TEXT}\n".encode())
    assert answer in coloured and "48;5;" in coloured and "█" not in coloured


@pytest.mark.parametrize("kind", ["png", "svg", "pdf"])
def test_a_picture_has_the_answer_the_model_and_the_words(bert, tmp_path, kind):
    pytest.importorskip("matplotlib")
    out = tmp_path / f"one.{kind}"
    (place,) = attend(bert, TEXT, "--words", "-o", out).lines
    raw = Path(place.split("#")[0]).read_bytes()
    if kind == "svg":
        drawn = re.findall(r"<!-- (.*?) -->", raw.decode())
        assert {answered(bert), "model, scaled-dot", "attention weight"} <= set(drawn)
        assert [text for text in drawn if text in TEXT.split()] == TEXT.split()
    else:
        assert len(raw) > 1000


@pytest.mark.parametrize(
    ("name", "said"), [("bert", "text, layer 2, mean of the heads"), ("rnn", "word, layer 1")]
)
def test_a_title_tells_of_heads_where_there_are_several(name, said, tmp_path, request):
    pytest.importorskip("matplotlib")
    (place,) = attend(request.getfixturevalue(name), TEXT, "-o", tmp_path / "one.svg").lines
    assert said in re.findall(r"<!-- (.*?) -->", Path(place).read_text("utf-8"))


def test_a_page_has_the_text_and_the_grid(bert, tmp_path):
    out = tmp_path / "page.html"
    attend(bert, TEXT, "-o", out)
    (line,) = json.loads(re.search(r'id="data">(.*?)</script>', out.read_text("utf-8"))[1])
    assert [one["kind"] for one in line["maps"]] == ["text", "self"]
    text, grid = line["maps"]
    assert grid["pieces"] is None and text["answer"] == answered(bert)
    said = "".join(" " * spaced + piece for piece, _, _, spaced in text["pieces"])
    assert TEXT in said
    ends = [end for _, _, end, _ in text["pieces"]]
    assert [first for _, first, _, _ in text["pieces"]] == [0, *ends[:-1]]
    assert ends[-1] == len(text["columns"])


@pytest.mark.parametrize(
    ("labels", "words", "pieces"),
    [
        (("▁un", "known", "▁", "中"), (("unknown", 2), ("中", 2)), ["+un", "known", "+中"]),
        (("the", "dog", "##s"), (("the", 1), ("dogs", 2)), ["+the", "+dog", "s"]),
        (("the",), (("The", 1),), ["+The"]),
        (("ĠÃ", "©", "t"), (("ét", 3),), ["+ét"]),
        (("a sentence.", "Two"), None, ["+a sentence.", "+Two"]),
    ],
)
def test_pieces_spell_the_text(labels, words, pieces):
    axis = Axis(labels, words)
    found = pieces_of(axis)
    assert ["+" * piece.spaced + piece.text for piece in found] == pieces
    weights = np.arange(1, len(labels) + 1, dtype=np.float32)
    assert values_of(found, weights).sum() == weights.sum()
    assert found[-1].end == len(labels)


def test_a_word_of_several_pieces_stands_on_one_line_if_it_can():
    spaced = [False, True, False, False, True, False]
    places = in_lines([2.0, 1.0, 1.0, 1.0, 3.0, 3.0], spaced, widest=4.0)
    assert [row for _, row in places] == [0, 1, 1, 1, 2, 3]  # the last word is wider than a line
    assert [left for left, _ in places] == [0.0, 0.0, 1.0, 2.0, 0.0, 0.0]


def test_a_long_piece_may_be_broken_at_its_spaces():
    chunks = chunks_of([Piece("a b", 0, 1, True), Piece("c", 1, 2, False)], np.array([0.5, 0.25]))
    assert chunks == [("a", True, 0.5), ("b", True, 0.5), ("c", False, 0.25)]


def test_what_is_pooled_is_what_the_model_pools(rnn):
    backbone = load_model(rnn, torch.device("cpu"))[1].backbone
    tokenizer = load_tokenizer(str(rnn))
    ids = torch.tensor([[tokenizer.cls_id, *tokenizer.encode([TEXT])[0], tokenizer.sep_id]])
    with torch.no_grad():
        wanted = backbone.attentions(ids, ids >= 0)["word"][0][0, 0, 0]
    ((_, own),) = table(attend(rnn, TEXT).lines).items()
    np.testing.assert_allclose(matrix(own)[0], wanted.numpy(), atol=1e-6)
