"""`attn score` of labels, tags, numbers and answers, through real pipes and files."""

from __future__ import annotations

import gzip
import json

import pytest
from program import attn

CONLL = (
    "Ann\tB-PER\tB-PER\n\u2028\tI-PER\tI-PER\nsaw\tO\tO\n\n"
    "Rome\tO\tB-LOC\n.\tO\tO\n\nBob\tB-LOC\tB-PER\n"
)


def score(*arguments, text="", status=0):
    return attn("score", *arguments, stdin=text.encode(), status=status)


def figures(run):
    return {name: float(value) for name, value in (line.split("\t") for line in run.lines)}


def test_labels_with_a_line_for_each_class():
    text = "yes\tyes\nno\tyes\nno\tno\nvery much\tno\n"
    run = score("--accuracy", "--f1", "--mcc", "--report", text=text)
    assert run.lines[:2] == ["ACCURACY\t0.500000", "MACRO_F1\t0.388889"]
    assert run.lines[2:4] == ["MICRO_F1\t0.500000", "MCC\t0.223607"]  # 2 / sqrt(10 * 8)
    assert run.lines[4:] == [
        "class\tprecision\trecall\tf1\tsupport",
        "MACRO_F1.no\t0.500000\t0.500000\t0.500000\t2",
        "MACRO_F1.very much\t0.000000\t0.000000\t0.000000\t0",
        "MACRO_F1.yes\t1.000000\t0.500000\t0.666667\t2",
    ]


def test_conll_is_sentences_in_columns_or_in_parallel_files(tmp_path):
    run = score("--span-f1", "--accuracy", "--columns", "2,3", text=CONLL)
    expected = {
        "ACCURACY": 4 / 6,
        "SPAN_F1": 2 / 5,
        "SPAN_PRECISION": 1 / 2,
        "SPAN_RECALL": 1 / 3,
    }
    assert figures(run) == pytest.approx(expected, abs=1e-6)
    by_line = "B-PER I-PER O\tB-PER I-PER O\nO O\tB-LOC O\nB-LOC\tB-PER\n"
    assert score("--span-f1", "--accuracy", text=by_line).lines == run.lines
    for column, name in ((1, "hyp"), (2, "ref")):
        rows = [line.split("\t") for line in CONLL.split("\n")[:-1]]
        text = "".join((row[column] if row[0] else "") + "\n" for row in rows)
        (tmp_path / name).write_text(text)
    files = (tmp_path / "hyp", "--ref", tmp_path / "ref")
    assert score("--span-f1", "--accuracy", *files).lines == run.lines
    assert score("--accuracy", "--columns", "2,3", text=CONLL).lines == ["ACCURACY\t0.666667"]


def test_a_sentence_end_keeps_spans_apart():
    words = "w\tB-X\tB-X\nw\tI-X\tI-X\n"
    apart = words.replace("\nw", "\n\nw")
    told = [
        json.loads(score("--span-f1", "--columns", "2,3", "--json", text=t).out)["SPAN_F1"]
        for t in (words, apart)
    ]
    assert [each["gold"] for each in told] == [1, 1]
    joined = score("--span-f1", "--columns", "2,3", text=words + "w\tI-X\tO\n")
    split = score("--span-f1", "--columns", "2,3", text=words + "\nw\tI-X\tO\n")
    assert joined.lines[0] == "SPAN_F1\t0.000000" and split.lines[0] == "SPAN_F1\t1.000000"


def test_a_word_without_an_answer_is_a_wrong_one():
    run = score("--span-f1", "--accuracy", "--columns", "2,3", text="a\tO\tO\nb\t\tO\nc\tO\tO\n")
    assert run.lines[0] == "ACCURACY\t0.666667"


@pytest.mark.parametrize("files", [False, True])
def test_an_unusable_row_does_not_end_its_sentence(tmp_path, files):
    rows = [("B-A", "B-A"), None, ("I-A", "I-A"), ("O", "B-A"), None, ("", ""), ("I-A", "I-A")]
    left = b"\n".join(b"a\xff" if row is None else row[0].encode() for row in rows) + b"\n"
    right = "\n".join("B-A" if row is None else row[1] for row in rows) + "\n"
    (tmp_path / "r").write_text(right)
    stdin, ref = left, ("--ref", tmp_path / "r")
    if not files:
        ref = ("--columns", "1,2")
        pairs = zip(left.split(b"\n"), right.encode().split(b"\n"), strict=True)
        stdin = b"\n".join(b"\t".join(pair) if all(pair) else b"" for pair in pairs)
    run = attn("score", "--span-f1", *ref, stdin=stdin, status=3)
    # Gold: A over rows 1 and 3, A at 4; the blank line ends it, and the last I-A begins nothing.
    assert figures(run) == {
        "SPAN_F1": pytest.approx(2 / 3, abs=1e-6), "SPAN_PRECISION": 1.0, "SPAN_RECALL": 0.5,
    }  # fmt: skip
    assert run.said.count("not UTF-8") == 2
    assert "2 unusable lines: left out of the score" in run.said


def test_bad_lines_are_named_and_left_out():
    cases = (
        (("--pearson",), "1\t2\nhigh\t3\n3\t3\n", "standard input:2: 'high' is not a number"),
        (("--f1",), "a\tb\tc\n", "2 references where one is needed"),
        (("--span-f1",), "O O\tO O\nO\tO O\n", "standard input:2: 1 tags, but 2 gold ones"),
        (("--span-f1",), "O\tNOUN\n", "gold tag 'NOUN'"),
        (("--accuracy",), "a\tb\nc\n", "standard input:2: 1 column"),
    )
    for flags, text, cause in cases:
        run = score(*flags, text=text, status=3)
        assert cause in run.said and bool(run.out) == (text.count("\n") > 1), flags
    run = score("--spearman", "--skip-bad", text="1\t2\nhigh\t3\n2\t4\n3\t9\n")
    assert run.lines == ["SPEARMAN\t1.000000"] and "1 unusable line: left out" in run.said


def test_per_line_answers_in_place():
    text = "a\ta\n\na\tb\n"
    assert score("--per-line", "--accuracy", text=text).lines == ["1.000000", "", "0.000000"]
    run = score("--per-line", "--multilabel-f1", text="a,b\tb, c\n")
    assert run.lines == ["0.333333\t0.500000"]
    run = score("--per-line", "--span-f1", "--scheme", "bio", text="B-X O\tB-X B-Y\n")
    assert run.lines == ["0.666667\t1.000000\t0.500000"]
    assert score("--per-line", "--squad", text="the Cat\tcat\tdog\n").lines == [
        "100.0000\t100.0000"
    ]


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (("--per-line", "--mcc"), "--mcc is a figure of many lines"),
        (("--per-line", "--span-f1"), "name the --scheme"),
        (("--f1", "--multilabel-f1"), "ask for one"),
        (("--report", "--bleu"), "--report"),
        (("--tags", "--bleu"), "--tags"),
        (("--scheme", "iob", "--span-f1"), "did you mean iob1"),
    ],
)
def test_what_makes_no_sense_is_wrong_usage(flags, said):
    assert said in score(*flags, text="a\ta\n", status=2).said


def test_intervals_significance_signature_and_json(tmp_path):
    gold = ["B-X I-X O", "O B-Y O", "O O O"] * 6
    for name, lines in (("hyp", gold), ("ref", gold), ("base", ["O O O"] * 18)):
        (tmp_path / name).write_text("".join(f"{line}\n" for line in lines))
    files = (tmp_path / "hyp", "--ref", tmp_path / "ref", "--baseline", tmp_path / "base")
    flags = ("--span-f1", "--accuracy", "--f1", "--mcc", "--bootstrap", 30, "--seed", 7, "--json")
    told = json.loads(score(*flags, *files).out)
    for name in ("SPAN_F1", "MACRO_F1", "ACCURACY", "MCC"):
        assert (
            told[name]["score"] == told[name]["mean"] == 1.0
            and told[name]["ci95_half_width"] == 0.0
        )
        assert told[name]["baseline"] < 0.8 and told[name]["p_randomization"] < 0.01
        assert "bs:30|seed:7|item:" in told[name]["signature"]
    assert told["SPAN_F1"]["signature"].count("scheme:bio") == 1
    assert told["SPAN_F1"]["classes"]["X"] == {
        "precision": 1.0,
        "recall": 1.0,
        "f1": 1.0,
        "support": 6,
    }


def test_squad_files_as_they_are_published(tmp_path):
    questions = [
        {"id": "q1", "answers": [{"text": "the Cat", "answer_start": 0}, {"text": "dog"}]},
        {"id": "q2", "answers": [], "is_impossible": True},
        {"id": "q3", "answers": [{"text": "ten years"}]},
    ]
    gold = {"version": "v2.0", "data": [{"paragraphs": [{"context": "", "qas": questions}]}]}
    with gzip.open(tmp_path / "dev.json.gz", "wt") as file:
        json.dump(gold, file)
    reference = ("--ref", tmp_path / "dev.json.gz")
    predictions = json.dumps({"q1": "cat!", "q2": "", "q9": "?"})
    run = score("--squad", "--json", *reference, text=predictions)
    told = json.loads(run.out)
    assert told["SQUAD_EM"]["score"] == pytest.approx(200 / 3)
    assert told["SQUAD_EM"]["NoAns_exact"] == 100.0 and told["SQUAD_F1"]["HasAns_f1"] == 50.0
    assert "1 of 3 questions without an answer" in run.said and "1 answer to questions" in run.said
    base = tmp_path / "base.json"
    base.write_text("{}")
    compared = score("--squad", "--baseline", base, *reference, text=predictions)
    assert "SQUAD_EM.baseline\t33.3333" in compared.lines
    assert score("--squad", "--bleu", *reference, text=predictions, status=2).out == b""
    assert "lines" in score("--squad", "--per-line", *reference, text="{}", status=2).said
    for wrong, cause in (("[]", "object"), ("{", "not JSON"), ('{"q1": 3}', "question q1")):
        assert cause in score("--squad", *reference, text=wrong, status=3).said
    base.write_text('{"data": [{}]}')
    assert "SQuAD's JSON" in score("--squad", "--ref", base, text="{}", status=3).said


def test_training_gets_the_same_figures_without_files():
    from attn_cli.config.scoring import ScoreOptions
    from attn_cli.metrics.base import Segment
    from attn_cli.metrics.scoring import score_corpus

    segments = [
        *(Segment("B-PER I-PER O", ("B-PER I-PER O",)), Segment("O O", ("B-LOC O",))),
        Segment("B-LOC", ("B-PER",)),
    ]
    scores = score_corpus(ScoreOptions(span_f1=True, accuracy=True), segments)
    printed = score("--span-f1", "--accuracy", "--columns", "2,3", text=CONLL).lines
    assert [f"{s.name}\t{s.value:.6f}" for s in scores] == printed


def test_comments_of_conll_are_no_items():
    text = "# sent_id = 1\nthe\tDET\tDET\n#\tSYM\tX\n\n# sent_id = 2\ncat\tNOUN\tNOUN\n"
    assert score("--accuracy", "--columns", "2,3", text=text).lines == ["ACCURACY\t0.666667"]
    run = score("--bleu", "--columns", "2,3", text=text, status=3)
    assert "standard input:1: 1 column, but column 3 is needed" in run.said


def test_an_undefined_correlation_is_no_number():
    flags = ("--pearson", "--spearman")
    for text, said in (
        ("1\t1\n1\t2\n", "PEARSON is undefined: all hypotheses are 1"),
        ("1\t0.5\n2\t0.5\n", "SPEARMAN is undefined: all references are 0.5"),
        ("3.5\t1\n", "two or more are needed"),
    ):
        run = score(*flags, text=text)
        assert run.lines == ["PEARSON\tnan", "SPEARMAN\tnan"] and said in run.said
        assert json.loads(score(*flags, "--json", text=text).out)["PEARSON"]["score"] is None


@pytest.mark.parametrize(
    "change",
    [
        lambda text: text.replace("\t", " ").replace("\u2028", "x"),
        lambda text: text.replace("\n\n", "\n \n"),
        lambda text: f"-DOCSTART- -X- O O\n\n{text}",
        lambda text: f"# text = x\n{text}\n\n# a comment\n",
        lambda text: text.replace("saw", "\t".join(["2-3", "x", *"_______", "_\nsaw"])),
    ],
)
def test_conll_files_are_scored_as_they_are(change):
    whole = score("--span-f1", "--accuracy", "--columns", "2,3", text=CONLL).lines
    run = score("--span-f1", "--accuracy", "--columns", "2,3", text=change(CONLL))
    assert (run.lines, run.said) == (whole, "")


def test_what_spaces_do_not_part_as_in_the_lines_before_is_no_pair_of_tags():
    text = "Ann B-PER B-PER\nNew York B-LOC B-LOC\n\nin O O\n"
    run = score("--span-f1", "--columns", "2,3", text=text, status=3)
    assert "input:2: 4 columns, where the lines before have 3 (a space in a word?" in run.said


def test_labels_with_spaces_are_not_parted_unasked():
    assert "1 column, but" in score("--accuracy", text="very good\nso so\n", status=3).said
