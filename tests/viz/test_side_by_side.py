"""`attn attend` of several models: one scale, one table, one page."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
from drawn_models import table, write_nodes, write_tagger, write_translator
from program import inside
from test_attend import attend, explicit, matrix, on_terminal

from attn_cli.config.attending import AttendOptions
from attn_cli.tokenizers.tokenizer_files import load_tokenizer
from attn_cli.viz.maps import AttentionMap, Axis, LineMaps
from attn_cli.viz.rows import arranged
from attn_cli.viz.scale import Scale, said
from attn_cli.viz.selection import HeadSelection

PAIR = "the cat sat on\tкот и пёс"


@pytest.fixture(scope="module")
def two(tmp_path_factory) -> tuple[Path, Path]:
    place = tmp_path_factory.mktemp("two")
    first = write_translator(place / "add", "recurrent", attention="additive")
    return first, write_translator(place / "dot", "transformer", attention="dot")


def test_the_table_holds_the_weights_of_each_model_with_its_name(two):
    run = attend(",".join(map(str, two)), f"{PAIR}||{PAIR}", "--pairs", "--head", "all")
    assert run.lines.count("") == 1
    for model, name, score, layer in zip(
        two, ("add", "dot"), ("additive", "dot"), ("1", "2"), strict=True
    ):
        title = f"\t{name}, {score}"
        own = [line.removesuffix(title) for line in run.lines if line.endswith(title)]
        found = table(own)
        assert {number for number, _, _ in found} == {"1", "3"}
        wanted = explicit(model, *PAIR.split("\t"))["cross"][-1]
        for head, weights in enumerate(wanted, 1):
            np.testing.assert_allclose(matrix(found["3", layer, str(head)]), weights, atol=1e-6)
        alone = attend(model, f"{PAIR}||{PAIR}", "--pairs", "--head", "all").lines
        assert own == [line for line in alone if line]


def test_without_pairs_each_model_attends_from_its_own_output(two, tmp_path):
    out = tmp_path / "page.html"
    attend(",".join(map(str, two)), "a dog", "--beam", 1, "-o", out)
    (line,) = json.loads(re.search(r'id="data">(.*?)</script>', out.read_text())[1])
    assert line["texts"][0] == "a dog"
    assert [text.split(":")[0] for text in line["texts"][1:]] == ["add, additive", "dot, dot"]
    assert {one["model"] for one in line["maps"]} == {"add, additive", "dot, dot"}
    for model, text in zip(two, line["texts"][1:], strict=True):
        decoded = inside("decode", "-m", model, "--beam", 1, "--device", "cpu", stdin=b"a dog\n")
        said = text.split(": ", 1)[1].replace("\N{SYMBOL FOR LINE FEED}", " ")
        assert decoded.lines[0].split() == said.split()


def plain(text: str) -> str:
    """A text of a terminal without what makes it bold."""
    return re.sub(r"\x1b\[[0-9;]*m", "", text)


def maps_of_two() -> LineMaps:
    axis = Axis(("a", "b"))
    weak, strong = np.full((2, 2, 2), 0.09, np.float32), np.full((1, 2, 2), 0.5, np.float32)
    strong[0, 0, 1] = 0.8
    return LineMaps(
        1,
        maps=(
            AttentionMap("cross", (weak,), axis, axis, model="x, dot"),
            AttentionMap("cross", (strong, weak), axis, axis, model="y, dot"),
        ),
    )


def test_all_panels_have_one_scale_and_models_stand_side_by_side():
    heads = {"x, dot": {"cross": [2]}, "y, dot": {"cross": [1, 2]}}
    options = AttendOptions(layer="all", head="all")
    selection = HeadSelection.parse(options, heads, everything=False)
    line = maps_of_two()
    scale = Scale.of_line(line, selection, None)
    assert scale.bars() == [(pytest.approx(0.8), "attention weight", False)]
    rows = arranged(line, selection, scale)
    assert [[panel.drawn.model[0] for panel in row] for row in rows] == [list("xxy"), list("yy")]
    assert {panel.peak for row in rows for panel in row} == {scale.weight}
    assert rows[0][2].title == ("y, dot", "cross, layer 1")
    given = Scale.of_line(line, selection, 1.0)
    assert given.bars()[0][0] == 1.0


@pytest.mark.parametrize(
    ("value", "text"), [(0.0, "0.00"), (0.8, "0.80"), (0.012, "0.01"), (0.0003, "0.0003")]
)
def test_a_legend_is_no_longer_than_it_needs(value, text):
    assert said(value) == text


def test_a_selection_names_the_model_that_lacks_it():
    heads = {"x": {"cross": [2]}, "y": {"cross": [1, 2]}}
    for options, cause in (
        (AttendOptions(layer="2"), r"layers 1 to 1 .*\(x\)"),
        (AttendOptions(head="2", layer="1"), r"heads 1 to 1 there \(y\)"),
    ):
        with pytest.raises(Exception, match=cause):
            HeadSelection.parse(options, heads, everything=False)


@pytest.mark.parametrize("kind", ["png", "svg", "pdf"])
def test_a_picture_of_both_names_models_scores_and_layers(two, tmp_path, kind):
    pytest.importorskip("matplotlib")
    out = tmp_path / f"both.{kind}"
    run = attend(",".join(map(str, two)), PAIR, "--pairs", "--peak", 0.9, "-o", out)
    (place,) = run.lines
    raw = Path(place.split("#")[0]).read_bytes()
    assert len(raw) > 1000
    if kind == "svg":
        drawn = set(re.findall(r"<!-- (.*?) -->", raw.decode()))
        assert {"add, additive", "dot, dot", "attention weight", "0.90"} <= drawn
        assert {"cross, layer 1", "cross, layer 2, mean of the heads"} <= drawn


def test_a_wide_terminal_has_them_abreast_and_a_narrow_one_below_each_other(two):
    names = ",".join(map(str, two))
    wide = plain(on_terminal(names, b"the cat\n", NO_COLOR="1", COLUMNS="120"))
    (heads,) = [line for line in wide.split("\r\n") if "add, additive" in line]
    assert heads.index("dot, dot") == 60
    narrow = plain(on_terminal(names, b"the cat\n", NO_COLOR="1", COLUMNS="60"))
    lines = narrow.split("\r\n")
    assert lines[0].startswith("0 ") and lines[0].endswith("  attention weight")
    assert [line for line in lines if "add, additive" in line and "dot, dot" in line] == []
    assert sum("line 1  cross  layer" in line for line in lines) == 2


def test_models_that_do_not_read_alike_are_refused(two, tmp_path):
    one = two[0]
    tagger = write_tagger(tmp_path / "tagger", load_tokenizer(str(one)))
    nodes = write_nodes(tmp_path / "nodes", tmp_path / "graph")
    for models, cause in (
        (f"{one},{one}", "one of the models is named twice"),
        (f"{one},{tagger}", "add and tagger read lines of different kinds"),
        (f"{one},{nodes}", "models of graphs are drawn one by one"),
    ):
        run = inside("attend", "-m", models, "--device", "cpu", stdin=b"a\n", status=2)
        assert cause in run.said and run.out == b""
    pairs = inside("attend", "-m", f"{one},{tmp_path}/none", stdin=b"a\n", status=2)
    assert "none" in pairs.said
