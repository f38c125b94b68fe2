"""What a wrong command is answered: in the words that were typed, with the way out."""

from __future__ import annotations

import json
import re

import pytest
from program import attn, inside, run_inside


@pytest.mark.parametrize(
    ("command", "said"),
    [
        ("decode --min-len 40 --max-len 10", "--min-len 40 is above --max-len 10"),
        ("decode --max-len 0", "--max-len: 0 is below 1"),
        ("decode --top-k 3", "--temperature, --top-k and --top-p need --sample"),
        ("decode --sample --greedy", "--sample and --greedy exclude each other"),
        ("finetune --patience -1", "--patience: -1 is below 0"),
        (
            "finetune --save-every never",
            "--save-every: 'never' is no duration; write 90s, 30m or 2h",
        ),
        ("train-mt --src a", "--src and --tgt go together: parallel files, line by line"),
        ("train-mt --vocab-size 1", "--vocab-size: 1 is below 8"),
        ("train-mt --average 3", "--average 3 needs --keep-best 3 or more"),
        ("train-mt --lowercase", "--lowercase is for --type wordpiece"),
        ("tokenize encode", "--tokenizer is missing"),
        ("embed -o x.bin", "--output x.bin is no .npy; say --format npy all the same"),
        ("embed -m a,b", "-m a,b: here one model is used; name one of them"),
    ],
)
def test_options_are_named_as_they_are_typed(command, said):
    assert inside(*command.split(), status=2).said == f"attn: {said}\n"


@pytest.mark.parametrize(
    "command",
    [
        "decode -m nowhere",
        "decode -m tests",
        "embed -m nowhere",
        "attend -m nowhere",
        "score nowhere",
        "score --ref nowhere -",
        "score --ppl -m nowhere",
        "train-mt nowhere.tsv -o PLACE",
        "train-mt --src nowhere --tgt nowhere -o PLACE",
        "train-mt - --tokenizer nowhere.model -o PLACE",
        "train-mt - --init nowhere -o PLACE",
        "train-mt - --config nowhere.toml",
        "pretrain nowhere.txt -o PLACE",
        "finetune nowhere.tsv --task classify -o PLACE",
        "finetune nowhere.conll --task tag -o PLACE",
        "finetune nowhere.json --task qa -o PLACE",
        "finetune nowhere --task nodes -o PLACE",
        "finetune - --task classify --init nowhere -o PLACE",
        "convert nowhere",
        "tokenize train nowhere.txt -o PLACE.model",
        "tokenize encode -t nowhere.model",
    ],
)
def test_what_is_named_and_not_there_is_wrong_usage(command, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "tests").mkdir()  # a directory, but of no model
    words = command.replace("PLACE", str(tmp_path / "out")).split()
    run = run_inside(*words, stdin=b"a\tb\nc\td\n")
    assert run.status == 2, run.said
    name = next(word for word in words if word.startswith(("nowhere", "tests")))
    assert name in run.said and run.said.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_options_that_name_files_say_so():
    for command, options in {
        "decode": "--model DIR",
        "train-mt": "--src FILE,--tgt FILE,--dev FILE,--tokenizer FILE|DIR,--output DIR,--init DIR",
        "finetune": "--init DIR,--dev FILE,--embeddings FILE,--tokenizer FILE|DIR",
        "score": "--baseline FILE,--ref FILE",
        "embed": "--output FILE,--model DIR",
        "attend": "--output FILE",
        "convert": "--output DIR",
        "tokenize encode": "--tokenizer FILE|DIR",
        "tokenize train": "--output FILE",
    }.items():
        rare = "--help-all" if command in ("train-mt", "finetune", "decode") else "--help"
        text = inside(*command.split(), rare).out.decode()
        for option in options.split(","):
            assert re.search(rf"(^|[ ,]){re.escape(option)}( |$)", text, re.M), (command, option)
    for command in ("embed", "attend"):
        assert "ensemble" not in inside(command, "--help").out.decode()


@pytest.fixture(scope="module")
def classifier(tmp_path_factory):
    place = tmp_path_factory.mktemp("classifier")
    rows = [f"{word} {i}\t{word}\n" for i in range(12) for word in ("good", "bad")]
    (place / "train.tsv").write_text("".join(rows))
    small = ("--size", "tiny", "--type", "word", "--max-steps", 1, "--threads", 1)
    inside("finetune", place / "train.tsv", "--task", "classify", *small, "-o", place / "m")
    return place / "m"


def test_options_that_a_classifier_does_not_read(classifier):
    for option in (("--beam", 3), ("--greedy",), ("--sample",)):
        said = inside("decode", "-m", classifier, *option, stdin=b"x\n", status=2).said
        assert said == f"attn: {option[0]}: {classifier} gives answers: leave it out\n"
    said = inside(
        *("decode", "-m", classifier, "--n-best", 2, "--max-answer-len", 2), stdin=b"x\n", status=2
    ).said
    assert said == (
        f"attn: --n-best, --max-answer-len: for models that answer questions (qa); {classifier} "
        "does classify: leave them out, --format json gives every label's probability\n"
    )
    said = inside("score", "--ppl", "-m", classifier, stdin=b"x\n", status=3).said
    assert f"{classifier}: is a model that answers (finetune), which has no probability" in said


def test_an_unusable_line_keeps_its_other_columns(classifier):
    stdin = b"good\tid1\n\tid2\nbad\tid3\n\n"
    run = inside("decode", "-m", classifier, "--scores", stdin=stdin)
    lines = [line.split("\t") for line in run.lines]
    assert [line[2:] for line in lines] == [["id1"], ["id2"], ["id3"], []]
    assert lines[1] == ["", "", "id2"] and lines[3] == [""]
    run = inside("decode", "-m", classifier, "--columns", 3, stdin=b"a\tb\tc\na\tb\n", status=3)
    assert [line.split("\t")[1:] for line in run.lines] == [["a", "b"]] * 2
    run = inside("decode", "-m", classifier, "--format", "json", stdin=b"\tid2\n")
    assert json.loads(run.out) == {"line": 1, "columns": ["id2"]}


def test_a_pipe_is_read_without_a_word(classifier):
    assert attn("decode", "-m", classifier, stdin=b"good 1\n").said == ""
