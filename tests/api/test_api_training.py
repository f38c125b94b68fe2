"""Trainings and scores from Python, and the examples of all docstrings."""

from __future__ import annotations

import doctest
import importlib
import json
from pathlib import Path

import pytest
from drawn_models import write_translator
from program import TINY, inside, write_reversal

import attn_cli
from attn_cli.config.command import resolve

SIZES = {"d_model": 32, "d_ff": 64, "n_heads": 2, "n_encoder_layers": 1, "n_decoder_layers": 1}
RUN = {"threads": 1, "device": "cpu", "max_steps": 3, "metric": "loss", "precision": "float32"}
STEPS = ("--max-steps", 3, "--metric", "loss", "--precision", "float32")


@pytest.fixture
def corpus(tmp_path) -> Path:
    return write_reversal(tmp_path / "train.tsv", 300, seed=2)


def trained(*files: Path, **options):
    return attn_cli.train_mt(*files, **{"say": lambda text: None, **SIZES, **RUN, **options})


def test_a_training_makes_the_bytes_of_its_command(corpus, tmp_path):
    said: list[str] = []
    model = trained(corpus, output=tmp_path / "ours", say=said.append)
    inside("train-mt", corpus, "-o", tmp_path / "theirs", *TINY, *STEPS)
    for name in ("config.json", "model.safetensors", "tokenizer.model"):
        ours, theirs = ((tmp_path / place / name).read_bytes() for place in ("ours", "theirs"))
        assert ours == theirs, name
    assert model.path == str(tmp_path / "ours")
    assert any("finished after 3 steps" in text for text in said)
    assert len(model.decode(["ba nu"], max_len=3)) == 1
    trained(corpus, output=tmp_path / "ours", say=said.append)
    assert "has finished" in said[-1]


def test_options_come_as_keywords_a_dataclass_or_a_file(corpus, tmp_path):
    given = {**SIZES, **RUN, "output": str(tmp_path / "one")}
    options = resolve(attn_cli.TrainMtCommand, given)
    one = attn_cli.train_mt(corpus, options=options, say=lambda text: None)
    file = tmp_path / "options.toml"
    lines = [f"{name.replace('_', '-')} = {json.dumps(value)}" for name, value in given.items()]
    file.write_text("\n".join(lines))
    two = attn_cli.train_mt(corpus, config=file, output=tmp_path / "two", say=lambda text: None)
    weights = [(Path(model.path) / "model.safetensors").read_bytes() for model in (one, two)]
    assert weights[0] == weights[1]
    with pytest.raises(attn_cli.UsageError, match="options and lr: give all options as one"):
        attn_cli.train_mt(corpus, options=options, lr=0.1)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"max_step": 3}, r"unknown option 'max_step' \(did you mean max_steps\?\)"),
        ({"dry_run": True}, "unknown option 'dry_run'"),
        ({"arch": "transformr"}, r"did you mean transformer\?"),
        ({"max_steps": 2.5}, "--max-steps: a whole number is needed"),
    ],
)
def test_wrong_options_leave_nothing_behind(corpus, tmp_path, options, message):
    with pytest.raises(attn_cli.UsageError, match=message):
        trained(corpus, output=tmp_path / "model", **options)
    assert not (tmp_path / "model").exists()


def test_refused_data_is_an_error_of_the_package(tmp_path):
    (tmp_path / "bad.tsv").write_text("no pair\n")
    with pytest.raises(attn_cli.DataError, match="no tab in it"):
        trained(tmp_path / "bad.tsv", output=tmp_path / "model")
    with pytest.raises(attn_cli.NotThereError, match="none.tsv"):
        trained(tmp_path / "none.tsv", output=tmp_path / "model")


def test_remarks_of_a_training_are_warnings(corpus, tmp_path):
    with pytest.warns(attn_cli.AttnWarning, match="from random weights"):
        attn_cli.train_mt(corpus, output=tmp_path / "model", criterion="risk", **SIZES, **RUN)


def test_figures_are_those_of_score(tmp_path):
    hypotheses = ["the cat sat on a mat", "a dog ran", "it is"]
    references = [
        ["the cat sat on the mat", "a cat sat"],
        ["the dog ran", "a dog"],
        ["it was", "it"],
    ]
    (tmp_path / "hyp").write_text("".join(f"{line}\n" for line in hypotheses))
    for number in (0, 1):
        text = "".join(f"{row[number]}\n" for row in references)
        (tmp_path / f"ref{number}").write_text(text)
    refs = ("--ref", tmp_path / "ref0", "--ref", tmp_path / "ref1")
    told = inside("score", tmp_path / "hyp", *refs, "--bleu", "--chrf", "--ter", "--json")
    found = attn_cli.score_corpus(hypotheses, iter(references), bleu=True, chrf=True, ter=True)
    values = {name: entry["score"] for name, entry in json.loads(told.out).items()}
    assert {name: score.value for name, score in found.items()} == pytest.approx(values)
    labels = attn_cli.score_corpus(["a", "b"], ["b", "b"], accuracy=True, say=lambda text: None)
    assert [score.value for score in labels.values()] == [0.5]


def test_a_baseline_is_compared(tmp_path):
    lines = [f"line {number} of the test" for number in range(30)]
    found = attn_cli.score_corpus(lines, lines, baseline=["other"] * 30, bleu=True)
    assert found["BLEU"].comparison is not None and found["BLEU"].value == pytest.approx(100.0)


@pytest.mark.parametrize(
    ("sides", "options", "message"),
    [
        ((["a", "b"], ["a"]), {}, "references end after 1, and the others go on"),
        ((["a"], ["a", "b"]), {}, "hypotheses end after 1"),
        ((["a"], [[]]), {}, "line 1: no reference"),
        (([], []), {}, "no lines, no score"),
        ((["a"], ["b"]), {"pearson": True}, "line 1: .*number"),
        ((["a"], ["b"]), {"baseline": ["c", "d"]}, "the baseline goes on"),
        ((["a", "b"], ["b", "c"]), {"baseline": ["c"]}, "the baseline end after 1"),
    ],
)
def test_lines_that_do_not_fit_are_named(sides, options, message):
    with pytest.raises(attn_cli.DataError, match=message):
        attn_cli.score_corpus(*sides, **options)


def test_a_misspelt_metric_is_named():
    with pytest.raises(attn_cli.UsageError, match=r"'bleeu' \(did you mean bleu\?\)"):
        attn_cli.score_corpus(["a"], ["a"], bleeu=True)


@pytest.mark.parametrize("name", ["model", "training", "scoring"])
@pytest.mark.filterwarnings("ignore::attn_cli.AttnWarning")
def test_the_examples_of_docstrings_hold(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "new.txt").write_text("The cat sleeps.\n\nShe sings.\n")
    if name == "model":
        write_translator(tmp_path / "en-fr")
    else:
        write_reversal(tmp_path / "train.tsv", 300, seed=2)
        sentences = [f"the cat number {i} {'sleeps and sleeps' * (i % 2)}." for i in range(120)]
        documents = ["\n".join(sentences[i : i + 4]) for i in range(0, 120, 4)]
        (tmp_path / "text.txt").write_text("\n\n".join(documents) + "\n")
        labels = [f"{text}\t{('short', 'long')[i % 2]}\n" for i, text in enumerate(sentences)]
        (tmp_path / "labels.tsv").write_text("".join(labels))
    module = importlib.import_module(f"attn_cli.api.{name}")
    found = doctest.testmod(module, extraglobs={"attn_cli": attn_cli}, optionflags=doctest.ELLIPSIS)
    assert found.attempted and not found.failed
