"""`attn decode --split`: sentences of a line are translated one by one and joined again."""

from __future__ import annotations

import json

import pytest
from drawn_models import write_language_model, write_reader
from program import inside

SENTENCES = ["Banu kera.", "Limo monu ra!", "Kevo baba?"]


@pytest.fixture(scope="module")
def model(reversal_model):
    return ("-m", reversal_model, "--threads", 1)


def decoded(model, lines, *options, **expected):
    stdin = "".join(f"{line}\n" for line in lines).encode()
    return inside("decode", *model, *options, stdin=stdin, **expected).lines


def test_a_line_is_its_sentences_joined_by_what_stood_between_them(model):
    alone = decoded(model, SENTENCES)
    assert all(alone)
    paragraph = "\u3000{}  {}\u00a0{} \tmore\tcolumns".format(*SENTENCES)
    run = decoded(model, [paragraph, "", "limo", "Banu kera."], "--split")
    assert run == [
        "{}  {}\u00a0{}\tmore\tcolumns".format(*alone),
        "",
        *decoded(model, ["limo"]),
        alone[0],
    ]


def test_a_line_of_one_sentence_is_decoded_as_ever(model):
    lines = ["limo kera", "Dr. Ra vo.", "  ", "ra. vo"]
    assert decoded(model, lines, "--split") == decoded(model, lines)


def test_sentences_that_nothing_parts_are_joined_as_the_output_is_written(model):
    first, second = decoded(model, ["banu kera。", "limo"])
    assert decoded(model, ["banu kera。limo"], "--split") == [f"{first} {second}"]


def test_scores_add_up_and_alignments_count_the_words_of_the_line(model):
    options = ("--scores", "--align", "--beam", 3)
    alone = [line.split("\t") for line in decoded(model, SENTENCES, *options)]
    ((text, score, links),) = (
        line.split("\t") for line in decoded(model, [" ".join(SENTENCES)], *options, "--split")
    )
    assert text == " ".join(each[0] for each in alone)
    assert float(score) == pytest.approx(sum(float(each[1]) for each in alone), abs=1e-4)
    expected, src, tgt = [], 0, 0
    for sentence, (output, _, own) in zip(SENTENCES, alone, strict=True):
        pairs = [map(int, link.split("-")) for link in own.split()]
        expected += [f"{src + i}-{tgt + j}" for i, j in pairs]
        src, tgt = src + len(sentence.split()), tgt + len(output.split())
    assert links.split() == expected


def test_the_outputs_of_a_rank_are_joined(model):
    options = ("--beam", 4, "--n-best", 2, "--format", "json")
    alone = [json.loads(line)["hypotheses"] for line in decoded(model, SENTENCES, *options)]
    (line,) = decoded(model, [" ".join(SENTENCES)], *options, "--split")
    found = [hypothesis["text"] for hypothesis in json.loads(line)["hypotheses"]]
    assert found == [" ".join(each[rank]["text"] for each in alone) for rank in range(2)]


def test_a_prefix_begins_the_first_sentence(model):
    line, rest = decoded(model, ["Banu kera. Limo ra.\tmonu", "Limo ra.\t"], "--prefix", "--split")
    assert line.startswith("monu")
    assert line.endswith(rest)


def test_samples_of_equal_sentences_differ(model):
    options = ("--split", "--sample", "--temperature", 5, "--max-len", 20)
    (line,) = decoded(model, [" ".join(["Banu kera limo."] * 2)], *options)
    half = len(line) // 2
    assert line[:half].strip() != line[half:].strip()
    assert decoded(model, [" ".join(["Banu kera limo."] * 2)], *options) == [line]


def test_a_long_sentence_is_cut_all_the_same(model):
    paragraph = f"Limo. {'Banu kera ' * 20}limo."
    stdin = f"{paragraph}\n".encode()
    run = inside("decode", *model, "--split", "--max-input", 16, "--max-len", 9, stdin=stdin)
    assert len(run.lines) == 1
    assert "standard input:1: long line, decoded in" in run.said
    assert "long line" not in inside("decode", *model, "--split", stdin=b"Limo. Ra.\n").said


@pytest.mark.parametrize(
    ("options", "cause"),
    [
        (("--split", "--constraints"), "--split: nothing says which sentence a phrase belongs to"),
        (("--markup", "xml"), "--markup: 'xml' is not one of html, srt"),
        (("--markup", "srt", "--scores", "--columns", "2"), "--scores, --columns: with --markup"),
    ],
)
def test_what_makes_no_sense_is_refused(model, options, cause):
    assert cause in inside("decode", *model, *options, stdin=b"limo\tra\n", status=2).said


@pytest.mark.parametrize("option", [("--split",), ("--markup", "html")])
def test_other_models_refuse_it(tmp_path, option):
    writer = write_language_model(tmp_path / "writer")
    run = inside("decode", "-m", writer, *option, stdin=b"a\n", status=2)
    assert f"{option[0]}: for models that translate texts; leave it out" in run.said
    reader = write_reader(tmp_path / "reader", "bert", d_ff=16, n_heads=2, n_layers=1)
    run = inside("decode", "-m", reader, *option, stdin=b"a\n", status=2)
    assert f"{option[0]}: {reader} gives answers: leave it out" in run.said


def test_a_pivot_is_a_pipe(model):
    once = inside("decode", *model, stdin=b"banu kera livo\n\nmonu\n")
    assert once.lines == ["livo kera banu", "", "monu"]
    assert inside("decode", *model, stdin=once.out).lines == ["banu kera livo", "", "monu"]
