"""Learned positions: no text is longer than their table, in training, decoding or scoring."""

from __future__ import annotations

import pytest
import torch
from program import TINY, inside

from attn_cli.config.decoding import SearchOptions
from attn_cli.nn.positions import LearnedPositions
from attn_cli.search.search import Hypothesis
from attn_cli.systems.translation.translator import AutoregressiveTranslator, Source

LENGTH = 12  # vectors of positions: 11 tokens beside bos or eos
SHORT = ("--type", "char", "--max-steps", 2, "--batch-tokens", 400, "--metric", "bleu")


@pytest.fixture(autouse=True)
def never_beyond(monkeypatch):
    """Fails where a place without a vector of its own is asked for."""
    forward = LearnedPositions.forward

    def checked(self, positions):
        assert int(positions.index.max()) < len(self.weight)
        return forward(self, positions)

    monkeypatch.setattr(LearnedPositions, "forward", checked)


@pytest.fixture(params=["transformer", "cnn", "mask-predict"])
def trained(request, tmp_path):
    """A model, and what was said of its training on sentences of which one is too long."""
    pairs = ["ab\tba", "abc\tcba", "bc\tcb", "c\tc"] * 8 + ["ab ab ab ab ab\tba"]
    (tmp_path / "t.tsv").write_text("".join(f"{pair}\n" for pair in pairs))
    (tmp_path / "d.tsv").write_text("ab\tba\nabc\tcba\n")
    kind = {
        "transformer": TINY,
        "cnn": ("--arch", "cnn", "--d-model", 32, "--threads", 1, "--device", "cpu"),
        "mask-predict": (*TINY, "--decoder", "mask-predict"),
    }[request.param]
    run = inside(
        *("train-mt", tmp_path / "t.tsv", "--dev", tmp_path / "d.tsv", "-o", tmp_path / "m"),
        *(*kind, *SHORT, "--positions", "learned", "--max-positions", LENGTH),
    )
    return request.param, ("-m", tmp_path / "m", "--device", "cpu", "--threads", 1), run.said


def test_what_is_longer_than_the_table_is_cut_split_or_refused_and_said(trained):
    kind, model, said = trained
    assert "t.tsv:33: a source of more than 11 tokens, cut there" in said
    assert "(--max-positions)" in said
    long = b"ab ab. ab ab. ab ab. ab ab.\nab\n"
    run = inside("decode", *model, "--greedy", stdin=long)
    assert len(run.lines) == 2
    assert "standard input:1: long line, decoded in " in run.said
    run = inside("decode", *model, "--max-input", 12, stdin=long, status=2)
    assert "--max-input 12: the model has learned positions of 11 tokens and the end" in run.said
    if kind == "mask-predict":
        return
    run = inside("decode", *model, "--max-len", 40, "--min-len", 12, stdin=b"ab\n", status=3)
    assert "--min-len is 12, but there is room for 11 tokens" in run.said
    translator = AutoregressiveTranslator.load(str(model[1]), torch.device("cpu"))
    stopped = Hypothesis((5,) * 11, -1.0, -1.0, False)
    told = translator.cut(Source("ab"), stopped, SearchOptions(max_len=40))
    assert told.startswith("its output stops at 11 tokens, as the model has learned positions of")
    pairs = b"ab\tba\nab ab ab\tba\nba\tab ab ab abc a\nab ab ab ab\tab\n"
    run = inside("score", *model, "--log-prob", stdin=pairs, status=3)
    assert [bool(line) for line in run.lines] == [True, True, False, False]
    assert "input:3: a target of 15 tokens, but the model has learned positions of 11" in run.said
    assert "input:4: a source of 12 tokens, but the model has learned positions of 11" in run.said
    run = inside("attend", *model, "--pairs", "--format", "tsv", stdin=pairs, status=3)
    assert "standard input:3: 15 tokens, more than 11" in run.said


def test_other_positions_have_no_end(tmp_path):
    (tmp_path / "t.tsv").write_text("ab\tba\nabc\tcba\n" * 8)
    inside(
        *("train-mt", tmp_path / "t.tsv", "-o", tmp_path / "m", *TINY, *SHORT),
        *("--positions", "sinusoidal", "--max-positions", LENGTH),
    )
    stdin = b"ab\tba ba ba ba ba ba ba\n"
    run = inside("score", "-m", tmp_path / "m", "--log-prob", stdin=stdin)
    assert float(run.lines[0]) < 0
