"""Pictures and the page that `attn attend` writes."""

from __future__ import annotations

import base64
import html.parser
import json
import re
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from drawn_models import write_reader, write_translator
from program import inside

from attn_cli.models.directory import load_model
from attn_cli.tokenizers.tokenizer_files import load_tokenizer
from attn_cli.viz import page

QUICK = ("--threads", 1, "--device", "cpu", "--beam", 1)
HOSTILE = (
    "</script><script>alert('1')</script> \"&amp;<!-- \x00\x1b[31m שלום \u202e\u2028 $x_1$ 中文"
)


@pytest.fixture(scope="module")
def translator(tmp_path_factory) -> Path:
    return write_translator(tmp_path_factory.mktemp("drawn") / "model")


def draw(model: Path, lines: list[str], *options: object, status: int = 0):
    text = "".join(f"{line}\n" for line in lines).encode()
    return inside("attend", "-m", model, *QUICK, *options, stdin=text, status=status)


class Page(html.parser.HTMLParser):
    """What a browser would make of a page: its elements, their attributes, its scripts."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.scripts: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs) -> None:
        self.tags.append(tag)
        self.attributes += attrs
        if tag == "script":
            self.scripts.append("")

    def handle_data(self, data) -> None:
        if self.tags and self.tags[-1] == "script":
            self.scripts[-1] += data


def unpacked(one: dict, layer: dict) -> np.ndarray:
    """Weights of a layer as the page holds them. Shape: (H, T, S)."""
    shape = len(layer["heads"]), len(one["rows"]), len(one["columns"])
    return np.frombuffer(base64.b64decode(layer["weights"]), "<u2").reshape(shape) / 65535


def test_the_page_holds_every_layer_and_head(translator, tmp_path):
    out = tmp_path / "page.html"
    run = draw(translator, ["the cat sat\tкот", "", "a dog\tпёс и кот"], "--pairs", "-o", out)
    assert run.lines == [f"{out}#line=1", "", f"{out}#line=3"]
    lines = json.loads(Page(out.read_text("utf-8")).scripts[0])
    assert [line["line"] for line in lines] == [1, 3]
    assert lines[1]["texts"] == ["a dog", "пёс и кот"]
    tokenizer = load_tokenizer(str(translator))
    src = torch.tensor([[*tokenizer.encode(["a dog"])[0], tokenizer.eos_id]])
    tgt = torch.tensor([[tokenizer.bos_id, *tokenizer.encode(["пёс и кот"])[0]]])
    with torch.no_grad():
        model = load_model(translator, torch.device("cpu"))[1]
        wanted = vars(model.attentions(src, src >= 0, tgt)[1])
    assert [one["kind"] for one in lines[1]["maps"]] == ["cross", "encoder", "decoder"]
    for one in lines[1]["maps"]:
        assert len(one["layers"]) == len(wanted[one["kind"]])
        for layer, weights in zip(one["layers"], wanted[one["kind"]], strict=True):
            assert layer["heads"] == ["1", "2"]
            np.testing.assert_allclose(unpacked(one, layer), weights[0], atol=1e-5)


def test_no_input_becomes_markup_and_nothing_is_loaded(translator, tmp_path):
    calm, wild = tmp_path / "calm.html", tmp_path / "wild.html"
    draw(translator, ["the cat\tкот"], "--pairs", "-o", calm)
    draw(translator, [f"{HOSTILE}\t{HOSTILE}"], "--pairs", "--words", "-o", wild)
    pages = [Page(path.read_text("utf-8")) for path in (calm, wild)]
    assert pages[0].tags == pages[1].tags and pages[0].tags.count("script") == 2
    assert pages[0].attributes == pages[1].attributes
    assert not {"src", "href", "srcset", "action"} & {name for name, _ in pages[1].attributes}
    assert not any(name.startswith("on") for name, _ in pages[1].attributes)
    text = wild.read_text("utf-8")
    assert not re.search(r"https?:|url\(|@import|fetch\(|innerHTML", text)
    assert "\x00" not in text and "\u2028" not in text
    (line,) = json.loads(pages[1].scripts[0])
    joined = " ".join(line["maps"][0]["columns"])
    assert "</script><script>alert('1')</script>" in joined and "שלום" in joined
    assert "\u2400" in joined and "\u202e" not in joined


def test_what_is_asked_for_is_all_that_is_in_the_page(translator, tmp_path):
    out = tmp_path / "page.html"
    draw(translator, ["a dog"], "-o", out, "--kind", "encoder", "--layer", 2, "--head", "mean")
    (line,) = json.loads(Page(out.read_text("utf-8")).scripts[0])
    ((layer,),) = (one["layers"] for one in line["maps"])
    assert (layer["layer"], layer["heads"]) == (2, ["mean"])


def test_a_page_is_bounded_and_says_what_is_left_out(translator, tmp_path, monkeypatch):
    out = tmp_path / "page.html"
    monkeypatch.setattr(page, "ROOM", 40_000)
    lines = ["a dog\tкот", f"{'the cat sat on the mat ' * 9}\tкот", "a cat\tкот"]
    run = draw(translator, lines, "--pairs", "-o", out)
    assert run.lines == [f"{out}#line=1", "", f"{out}#line=3"]
    assert "full; 1 line left out" in run.said


def test_a_page_of_a_classifier(tmp_path):
    model = write_reader(tmp_path / "model", "rnn", n_layers=1)
    out = tmp_path / "page.html"
    draw(model, ["the cat ran"], "-o", out)
    (line,) = json.loads(Page(out.read_text("utf-8")).scripts[0])
    assert [one["kind"] for one in line["maps"]] == ["word"]


MAGIC = {"png": b"\x89PNG\r\n\x1a\n", "svg": b"<?xml", "pdf": b"%PDF-"}


@pytest.mark.parametrize("kind", ["png", "svg"])
def test_a_picture_for_each_line(translator, tmp_path, kind):
    pytest.importorskip("matplotlib")
    out = tmp_path / f"one.{kind}"
    lines = [f"{HOSTILE}\tкот", "", f"{'catsat' * 12} cat\t{HOSTILE}"]
    run = draw(translator, lines, "--pairs", "--words", "-o", out, "--head", "all")
    assert run.lines == [str(tmp_path / f"one-1.{kind}"), "", str(tmp_path / f"one-3.{kind}")]
    for name in ("one-1", "one-3"):
        assert (tmp_path / f"{name}.{kind}").read_bytes().startswith(MAGIC[kind])
    assert sorted(path.name for path in tmp_path.iterdir()) == [f"one-1.{kind}", f"one-3.{kind}"]


def test_a_document_has_a_page_for_each_line_and_is_the_same_again(translator, tmp_path):
    pytest.importorskip("matplotlib")
    files = [tmp_path / "one.pdf", tmp_path / "two.pdf"]
    for out in files:
        run = draw(translator, ["a dog", "", "the cat"], "-o", out)
        assert run.lines == [f"{out}#page=1", "", f"{out}#page=2"]
    raw = files[0].read_bytes()
    assert raw.startswith(MAGIC["pdf"]) and len(re.findall(rb"/Type /Page\b", raw)) == 2
    assert raw == files[1].read_bytes()


def test_without_matplotlib_the_remedy_is_named(translator, tmp_path, monkeypatch):
    for name in ("matplotlib", "matplotlib.figure"):
        monkeypatch.setitem(sys.modules, name, None)
    run = draw(translator, ["a dog"], "-o", tmp_path / "one.png", status=2)
    assert "pip install '.[plot]'" in run.said and run.out == b""


@pytest.mark.parametrize("ending", ["html", "png"])
def test_a_missing_directory_is_said_before_anything_is_computed(translator, tmp_path, ending):
    run = draw(translator, ["a dog"], "-o", tmp_path / "none" / f"one.{ending}", status=1)
    assert "no such directory" in run.said and run.out == b""
