"""`attn_cli.load(…)`: what the commands print, as objects; the commands are the oracle."""

from __future__ import annotations

import itertools
import json
import math
import pickle
import random
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from drawn_models import (
    TEXT,
    table,
    tokens,
    write_answerer,
    write_detector,
    write_language_model,
    write_nodes,
    write_reader,
    write_tagger,
    write_translator,
)
from program import ENVIRONMENT, inside

import attn_cli
from attn_cli.config.tokenizing import TokenizerOptions
from attn_cli.systems.translation.translator import AutoregressiveTranslator
from attn_cli.tokenizers.tokenizer_training import train_tokenizer

HERE = ("--device", "cpu", "--quiet")
LINES = ["the cat sat", "", "a dog ran to the mat", "кот", "NASA SAW EU"]
PAIRS = [("the cat", "a dog"), ("кот и", "the mat sat")]
SMALL = {"d_ff": 16, "n_heads": 2, "n_layers": 1}


@pytest.fixture(scope="module")
def models(tmp_path_factory) -> dict[str, Path]:
    place = tmp_path_factory.mktemp("models")
    options = TokenizerOptions(type="unigram", vocab_size=290, lossless=True)
    tokenizer = train_tokenizer(TEXT * 3, options, seed=1, threads=1, say=lambda text: None)
    return {
        "translator": write_translator(place / "translator"),
        "second": write_translator(place / "second", d_ff=16),
        "writer": write_language_model(place / "writer"),
        "classifier": write_reader(place / "classifier", "bert", **SMALL),
        "tagger": write_tagger(place / "tagger", tokenizer),
        "answerer": write_answerer(place / "answerer"),
        "detector": write_detector(place / "detector"),
    }


def loaded(*directories: Path, **options) -> attn_cli.Model:
    return attn_cli.load(*directories, device="cpu", say=lambda text: None, **options)


def command(name: str, model: Path, lines: list[str], *options: object) -> list[str]:
    text = "".join(f"{line}\n" for line in lines).encode()
    return inside(name, "-m", model, *HERE, *options, stdin=text).lines


@pytest.mark.parametrize("kind", ["translator", "writer", "classifier", "tagger", "detector"])
def test_texts_are_those_of_decode(models, kind):
    limit = {"max_len": 6} if kind in ("translator", "writer") else {}
    flags = ("--max-len", 6) if limit else ()
    lines = LINES[:3] if kind == "tagger" else LINES  # else the command sees words with tags
    found = loaded(models[kind]).decode(lines, **limit)
    assert found == command("decode", models[kind], lines, *flags)
    assert found[1] == "" and all(isinstance(text, attn_cli.Output) for text in found)


def test_answers_are_those_of_decode(models):
    asked = [("who sat", "the cat sat on the mat"), ("кто", "кот и пёс")]
    lines = ["\t".join(pair) for pair in asked]
    found = loaded(models["answerer"]).decode(asked, n_best=3)
    flags = ("--n-best", 3, "--format", "json")
    told = [json.loads(line) for line in command("decode", models["answerer"], lines, *flags)]
    assert [answer.split("\t")[0] for answer in command("decode", models["answerer"], lines)] == [
        entry["answer"] for entry in told
    ]
    for output, entry in zip(found, told, strict=True):
        assert (output, output.probability) == (entry["answer"], entry["probability"])
        assert (output.details["start"], output.details["end"]) == (entry["start"], entry["end"])
        assert list(output.n_best) == [each["text"] for each in entry["n_best"]]


def test_scores_alignments_and_lists_are_those_of_json(models):
    options = {"n_best": 3, "beam_size": 4, "align": True, "scores": True, "max_len": 7}
    flags = ("--n-best", 3, "--beam", 4, "--align", "--scores", "--max-len", 7, "--format", "json")
    found = loaded(models["translator"]).decode(LINES, **options)
    lines = command("decode", models["translator"], LINES, *flags)
    for output, line in zip(found, lines, strict=True):
        told = [each for each in json.loads(line)["hypotheses"] if each["text"]]
        assert [*output.n_best] == [each["text"] for each in told]
        assert [each.log_prob for each in output.n_best] == [each["log_prob"] for each in told]
        assert [each.score for each in output.n_best] == [each["score"] for each in told]
        links = [" ".join(f"{i}-{j}" for i, j in each.alignment) for each in output.n_best]
        assert links == [each["align"] for each in told]
        if told:
            assert (output, output.log_prob) == (told[0]["text"], told[0]["log_prob"])
    assert found[1].n_best == () and found[1].log_prob is None


def test_an_output_is_a_text_in_every_way(models):
    (output,) = loaded(models["translator"]).decode(["the cat"], scores=True, max_len=4)
    back = pickle.loads(pickle.dumps(output))
    assert back == output and back.log_prob == output.log_prob
    assert json.loads(json.dumps(output)) == str(output) == "".join(output)


def test_an_ensemble_decodes_as_its_command(models):
    both = models["translator"], models["second"]
    found = loaded(*both).decode(LINES, greedy=True, max_len=5)
    path = ",".join(map(str, both))
    assert found == command("decode", path, LINES, "--greedy", "--max-len", 5)


def test_labels_have_probabilities_and_pairs_of_text_and_label_scores(models):
    model = loaded(models["classifier"])
    told = command("decode", models["classifier"], LINES, "--scores")
    found = model.decode(LINES)
    for output, line in zip(found, told, strict=True):
        if output:
            assert line == f"{output}\t{output.probability:.6f}"
            assert math.isclose(sum(output.details["probs"].values()), 1.0, abs_tol=1e-6)
    scores = model.score([(text, "good") for text in LINES])
    for output, score in zip(found, scores, strict=True):
        if output:
            assert math.isclose(math.exp(score.log_prob), output.details["probs"]["good"])
        else:
            assert math.isnan(score.log_prob) and score.tokens == 0
    said: list[str] = []
    model = attn_cli.load(models["classifier"], device="cpu", say=said.append)
    assert math.isnan(model.score([("the cat", "goood")])[0].log_prob)
    assert said[0] == "lines:1: the model has no label 'goood' (did you mean good?)"


def test_scores_are_those_of_score(models):
    lines = ["\t".join(pair) for pair in PAIRS]
    told = command("score", models["translator"], lines, "--log-prob")
    found = loaded(models["translator"]).score([*PAIRS, ("", "")])
    assert [f"{score.log_prob:.6f}" for score in found[:2]] == told
    assert math.isnan(found[2].log_prob)
    ppl = command("score", models["translator"], lines, "--ppl")[0].split("\t")[1]
    total = sum(score.log_prob for score in found[:2]) / sum(score.tokens for score in found[:2])
    assert float(ppl) == pytest.approx(math.exp(-total), rel=1e-6)
    told = command("score", models["writer"], LINES, "--log-prob")
    found = loaded(models["writer"]).score(LINES)
    assert ["" if not s.tokens else f"{s.log_prob:.6f}" for s in found] == told


def test_vectors_are_those_of_embed(models):
    for kind in ("translator", "classifier"):
        told = [
            json.loads(line) if line else None for line in command("embed", models[kind], LINES)
        ]
        vectors = loaded(models[kind]).embed(LINES)
        assert vectors.dtype == np.float32 and len(vectors) == len(LINES)
        for row, entry in zip(vectors, told, strict=True):
            expected = entry["vector"] if entry else np.full(len(row), np.nan)
            np.testing.assert_array_equal(row, np.array(expected, np.float32))
    empty = loaded(models["translator"]).embed([])
    assert empty.shape == (0, 16)


def test_vectors_of_words_have_their_words(models):
    flags = ("--words", "--layer", "0")
    told = command("embed", models["classifier"], LINES, *flags)
    found = loaded(models["classifier"]).embed_units(LINES, words=True, layer="0")
    for own, line in zip(found, told, strict=True):
        entry = json.loads(line) if line else {"units": [], "vectors": np.empty((0, 12))}
        assert list(own.units) == entry["units"]
        np.testing.assert_array_equal(own.vectors, np.array(entry["vectors"], np.float32))
    with pytest.raises(attn_cli.UsageError, match="embed_units"):
        loaded(models["classifier"]).embed(LINES, words=True)
    with pytest.raises(attn_cli.UsageError, match="as embed gives"):
        loaded(models["classifier"]).embed_units(LINES, pool="max")


@pytest.mark.parametrize("kind", ["translator", "writer", "tagger"])
def test_attention_is_that_of_attend(models, kind):
    line = "the cat sat on the mat"
    flags = ("--layer", "all", "--head", "all", "--format", "tsv")
    lines = command("attend", models[kind], [line], *flags)
    numbers = table(lines)
    found = loaded(models[kind]).attend(line)
    first = found[0]
    assert first.rows == tuple(tokens(lines, "1", 4)), "the command draws the first kind"
    assert first.columns == tuple(tokens(lines, "1", 6))
    assert first.weights.shape[:2] == (len(first.layers), len(first.heads))
    for (place, layer), (at, head) in itertools.product(
        enumerate(first.layers), enumerate(first.heads)
    ):
        own = numbers["1", str(layer), head]
        for (row, column), weight in own.items():
            assert first.weights[place, at, row, column] == pytest.approx(weight, abs=1e-6)
    np.testing.assert_allclose(first.weights.sum(-1), 1.0, atol=1e-5)


def test_attention_of_pairs_words_and_chosen_layers(models):
    model = loaded(models["translator"])
    everything = model.attend(("the cat", "a dog"), pairs=True, words=True)
    assert [found.kind for found in everything] == ["cross", "encoder", "decoder"]
    assert everything[0].rows[:2] == ("a", "dog") and everything[0].columns[:2] == ("the", "cat")
    (last,) = model.attend(
        ("the cat", "a dog"), pairs=True, words=True, kind="encoder", layer="-1", head="mean"
    )
    assert (last.layers, last.heads) == ((3,), ("mean",))
    np.testing.assert_allclose(last.weights[0, 0], everything[1].weights[2].mean(0), atol=1e-6)
    assert model.attend(" ") == []
    with pytest.raises(attn_cli.UsageError, match="did you mean encoder"):
        model.attend("the cat", kind="encodr")
    with pytest.raises(attn_cli.DataError, match="^1 text instead of 2$"):
        model.attend("the cat", pairs=True)


def test_an_endless_generator_is_answered_window_by_window(models):
    taken = 0

    def endless():
        nonlocal taken
        for number in itertools.count():
            taken = number + 1
            yield LINES[0] if number % 2 else f"a dog {number % 7}"

    model = loaded(models["translator"])
    answers = model.decode(endless(), buffer=4, greedy=True, max_len=4)
    assert taken == 0, "nothing is read before it is asked for"
    first = [next(answers) for _ in range(10)]
    assert taken <= 12
    assert first == model.decode(list(itertools.islice(endless(), 10)), greedy=True, max_len=4)
    for method in (model.embed, model.embed_units):
        taken = 0
        assert len([*itertools.islice(method(endless(), buffer=4), 6)]) == 6
        assert taken <= 8
    taken = 0
    assert [*itertools.islice(model.score(zip(endless(), endless(), strict=True)), 3)]
    assert taken <= 2 * 1024


def test_an_item_is_one_line_whatever_it_holds(models, tmp_path):
    said: list[str] = []
    model = attn_cli.load(models["classifier"], device="cpu", say=said.append)
    odd = [
        "the\tcat",
        "the\ncat\r\nsat",
        "a \ud800 b",
        "{",
        '["x"]',
        "# no",
        "\u200b",
        ("the", "cat"),
    ]
    found = model.decode(odd)
    assert [bool(answer) for answer in found] == [True, True, False, True, True, True, False, False]
    assert said == [
        "lines:3: half of a surrogate pair in its text",
        "lines:8: 2 texts instead of 1",
        "2 unusable lines: answered with nothing",
    ]
    path = tmp_path / "lines.txt"
    path.write_text("the cat\r\na dog\n", newline="", encoding="utf-8")
    with path.open(encoding="utf-8", newline="") as file:
        assert [*model.decode(file)] == model.decode(["the cat", "a dog"])
    assert model.decode([]) == [] and [*model.decode(iter(()))] == []


def test_a_tagger_takes_every_item_as_a_text(models):
    model = loaded(models["tagger"])
    for texts in (["NN"], ["", "O B-PER X"], ["\ud800", "the cat"], ["-DOCSTART-"]):
        found = model.decode(texts)
        sizes = [0 if "\ud800" in text else len(text.split()) for text in texts]
        assert [len(output.split()) for output in found] == sizes
        assert [len(output.details.get("probs", ())) for output in found] == sizes


def test_what_is_no_line_is_refused(models):
    model = loaded(models["translator"])
    with pytest.raises(attn_cli.UsageError, match="one text is"):
        model.decode("the cat")
    with pytest.raises(attn_cli.UsageError, match="lines:2: a text or a tuple of texts .* not int"):
        model.decode(["the cat", 3])
    with pytest.raises(attn_cli.UsageError, match="not bytes"):
        model.decode([b"the cat"])
    with pytest.raises(attn_cli.UsageError, match="last, a label"):
        loaded(models["classifier"]).score(["the cat"])
    for kind in ("tagger", "answerer"):
        item = ("who", "the cat", "cat") if kind == "answerer" else ("the cat", "X")
        with pytest.raises(attn_cli.UsageError, match="no probability of a given answer"):
            loaded(models[kind]).score([item])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"beam_sise": 3}, r"unknown option 'beam_sise' \(did you mean beam_size\?\)"),
        ({"nbest": 3}, r"did you mean n_best\?"),
        ({"beam": 3, "beam_size": 4}, "beam_size: is beam, which is given too"),
        ({"beam": 0}, "--beam: 0 is below 1"),
        ({"beam": "5"}, "--beam: a whole number is needed, not '5'"),
        ({"sample": True, "greedy": True}, "exclude each other"),
        ({"n_best": 9}, "needs a beam at least as wide"),
        ({"stride": 3}, "--stride: .* writes texts: leave it out"),
        ({"format": "moses"}, "unknown option 'format'"),
    ],
)
def test_wrong_options_are_named_before_anything_is_read(models, options, message):
    with pytest.raises(attn_cli.UsageError, match=message):
        loaded(models["translator"]).decode(iter(["the cat"]), **options)


def test_wrong_models_are_named(models, tmp_path):
    with pytest.raises(attn_cli.NotThereError, match="no such model directory"):
        attn_cli.load(tmp_path / "none")
    with pytest.raises(attn_cli.UsageError, match="--device: 'cpuu' is not one of .*mean cpu"):
        attn_cli.load(models["writer"], device="cpuu")
    nodes = loaded(write_nodes(tmp_path / "nodes", tmp_path / "graph"))
    for method in (nodes.decode, nodes.attend):
        with pytest.raises(attn_cli.UsageError, match="labels the nodes of a graph"):
            method(["n1"])
    with pytest.raises(attn_cli.DataError, match="has no probability of a text"):
        loaded(models["detector"]).score([("the cat", "x")])
    with pytest.raises(AttributeError, match="no attribute 'laod'"):
        _ = attn_cli.laod


def test_what_is_said_is_a_warning_or_goes_to_say(models):
    model = attn_cli.load(models["translator"], device="cpu")
    with pytest.warns(attn_cli.AttnWarning) as caught:
        assert model.decode(["the cat", "\udfff"], greedy=True, max_len=3)[1] == ""
    assert [str(each.message) for each in caught] == [
        "lines:2: half of a surrogate pair in its text",
        "1 unusable line: answered with nothing",
    ]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model.decode(["the cat", ""], greedy=True, max_len=3)


def test_weights_are_read_once_whatever_is_asked(models, monkeypatch):
    reads = []
    load = AutoregressiveTranslator.load.__func__

    def counted(cls, *given):
        reads.append(given)
        return load(cls, *given)

    monkeypatch.setattr(AutoregressiveTranslator, "load", classmethod(counted))
    model = loaded(models["translator"])
    assert not reads
    texts = model.decode(LINES, max_len=4)
    model.decode(LINES, beam_size=2, n_best=2, max_len=4)
    model.score(PAIRS)
    assert len(reads) == 1
    assert model.decode(LINES, max_len=4) == texts


def test_the_program_keeps_its_own_random_numbers(models):
    model = loaded(models["translator"])
    torch.manual_seed(11)
    expected = torch.rand(3)
    torch.manual_seed(11)
    drawn = model.decode(LINES, sample=True, seed=5, max_len=5)
    model.score(PAIRS)
    model.embed(LINES)
    model.attend("the cat")
    assert torch.equal(torch.rand(3), expected)
    assert drawn == model.decode(LINES, sample=True, seed=5, max_len=5)
    flags = ("--sample", "--seed", 5, "--max-len", 5)
    assert drawn == command("decode", models["translator"], LINES, *flags)


def test_processes_answer_only_where_threads_are_asked_for(models, monkeypatch):
    started = []
    from attn_cli import workers

    start = workers._Pool._start
    monkeypatch.setattr(workers._Pool, "_start", lambda pool: started.append(1) or start(pool))
    generator = random.Random(1)
    lines = [" ".join(generator.choices(TEXT[0].split(), k=3)) for _ in range(600)]
    alone = loaded(models["classifier"]).decode(lines)
    assert not started
    threads = torch.get_num_threads()
    try:
        together = loaded(models["classifier"], threads=2).decode(lines)
    finally:
        torch.set_num_threads(threads)
    assert together == alone
    assert len(started) == (2 if sys.platform == "linux" else 0)


def test_importing_loads_no_torch_and_names_are_there():
    program = (
        "import sys, attn_cli\n"
        "assert not {'torch', 'numpy', 'typer'} & sys.modules.keys()\n"
        "assert set(attn_cli.__all__) <= set(dir(attn_cli))\n"
        "for name in attn_cli.__all__: getattr(attn_cli, name)\n"
        "assert 'torch' not in sys.modules\n"
        "from attn_cli import load\n"
        "help(load)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, env=ENVIRONMENT
    )
    assert done.returncode == 0, done.stderr
    assert "load(*directories: 'StrPath', device: 'str' = 'auto'" in done.stdout
    assert "AttnWarning" in done.stdout


def test_the_stub_says_what_the_package_has():
    stub = (Path(attn_cli.__file__).parent / "__init__.pyi").read_text("utf-8")
    places = {
        line.split()[-1]: line.split()[1] for line in stub.split("\n") if line.startswith("from")
    }
    assert places == attn_cli._PLACES


def test_help_lists_the_options_of_the_command():
    text = attn_cli.Model.decode.__doc__
    assert "beam: Hypotheses kept at each step" in text and "no_repeat_ngram" in text
    assert "format:" not in text and "threads:" not in text
