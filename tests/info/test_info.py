"""`attn info`: what it says of a model, beside the model itself."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from drawn_models import (
    write_detector,
    write_language_model,
    write_nodes,
    write_reader,
    write_translator,
)
from program import COMMAND, ENVIRONMENT, TINY, attn, inside, write_reversal

from attn_cli.config.command import resolve, saved
from attn_cli.config.finetuning import FinetuneCommand
from attn_cli.config.pretraining import PretrainCommand
from attn_cli.config.translation import TrainMtCommand
from attn_cli.info.given import given_options
from attn_cli.info.text import sparkline
from attn_cli.model_files import read_plain_config
from attn_cli.models.directory import load_model
from attn_cli.tokenizers.tokenizer_files import read_tokenizers

STACK = {"d_ff": 16, "n_heads": 2, "n_layers": 1}
KINDS = {
    "transformer": lambda place: write_translator(place, "transformer"),
    "recurrent": lambda place: write_translator(place, "recurrent"),
    "convolutional": lambda place: write_translator(place, "convolutional"),
    "mask-predict": lambda place: write_translator(
        place, "mask-predict", d_ff=32, n_heads=2, n_lengths=16
    ),
    "bert": lambda place: write_reader(place, "bert", **STACK),
    "rnn": lambda place: write_reader(place, "rnn", n_layers=1),
    "han": lambda place: write_reader(place, "han", d_embedding=8),
    "bilm": lambda place: write_reader(place, "bilm"),
    "detector": write_detector,
    "gpt": write_language_model,
    "gat": lambda place: write_nodes(place, place.parent / "graph"),
}
OPTIONS = ("--vocab-size", 30, "--max-steps", 6, "--validate-every", 2, "--metric", "chrf")


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> Path:
    place = tmp_path_factory.mktemp("info")
    corpus = write_reversal(place / "train.tsv", 200, seed=3)
    dev = write_reversal(place / "dev.tsv", 30, seed=4)
    inside("train-mt", corpus, "--dev", dev, "-o", place / "model", *TINY, *OPTIONS, "--quiet")
    return place / "model"


@pytest.fixture
def copied(trained, tmp_path) -> Path:
    return Path(shutil.copytree(trained, tmp_path / "copy"))


def told(place: Path) -> dict[str, str]:
    """The values by name, the last one where there are several."""
    return dict(line.split("\t") for line in inside("info", place).lines)


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_model_is_described_as_it_is(kind, tmp_path):
    place = KINDS[kind](tmp_path / "model")
    found = json.loads(inside("info", place, "--json").out)
    config, model = load_model(place, torch.device("cpu"))
    weights = found["weights"]
    assert weights["parameters"] == sum(weight.numel() for weight in model.parameters())
    assert sum(weights["parts"].values()) == weights["parameters"]
    assert weights["types"] == {"F32": weights["parameters"]}
    assert (found["arch"], found["task"]) == (config.arch, config.task)
    assert found["heads"] == [
        {"name": head.name, "task": head.task, "n_outputs": head.n_outputs} for head in config.heads
    ]
    for head in config.heads:
        own = sum(w.numel() for w in model.heads[head.name].parameters())
        assert weights["parts"][f"head {head.name}"] == own
    sizes = [each["size"] for each in found["tokenizers"]]
    if kind == "gat":
        assert sizes == []
    else:
        assert sizes == [tokenizer.vocab_size for tokenizer in {*read_tokenizers(place)}]
        assert found["tokenizers"][0]["kind"] == "unigram"
        assert found["tokenizers"][0]["traits"] == ["lossless"]
    rows = told(place)
    assert f"{weights['parameters']:,} in float32" in rows["parameters"]
    assert "fingerprint" not in "".join(rows.values())
    header, _ = card_of(place)
    assert header["tags"][:2] == ["attn", config.arch]


def test_a_training_is_told(trained):
    rows = told(trained)
    assert rows["trained on"].startswith("200 pairs, 30 validate; fingerprint ")
    assert rows["trained by"].startswith("attn train-mt --dev ")
    for flag in ("--d-model 32", "--n-heads 2", "--vocab-size 30", "--metric chrf"):
        assert flag in rows["trained by"]
    assert "--label-smoothing" not in rows["trained by"] and "--seed" not in rows["trained by"]
    found = json.loads(inside("info", trained, "--json").out)
    log = [json.loads(line) for line in (trained / "train.jsonl").read_text().splitlines()]
    assert found["validations"] == log and len(log) == 3
    best = max(log, key=lambda row: (row["dev_chrf"], -row["dev_loss"]))
    assert found["best"] == best
    assert rows["best"].startswith(f"step {best['step']} by chrf: loss {best['dev_loss']:.2f}")
    assert rows["validations"].startswith("3, the last at step 6")
    assert len(rows["dev loss"].split()[0]) == 3
    config = json.loads((trained / "config.json").read_text())
    assert found["training"]["fingerprint"] == config["options"]["data"]
    assert found["training"]["examples"] == {"train": 200, "dev": 30}
    assert set(found["training"]["given"]) >= {"dev", "d_model", "max_steps", "vocab_size"}


def test_a_directory_of_an_earlier_version_still_counts_as_finished(trained, copied):
    config = json.loads((copied / "config.json").read_text())
    del config["options"]["examples"]
    (copied / "config.json").write_text(json.dumps(config))
    assert "number of examples not recorded" in told(copied)["trained on"]
    place = trained.parent
    files = (place / "train.tsv", "--dev", place / "dev.tsv")
    run = inside("train-mt", *files, "-o", copied, *TINY, *OPTIONS)
    assert "this training has finished" in run.said


@pytest.mark.parametrize(
    ("command", "size", "noun"),
    [
        (("pretrain", "--objective", "clm"), 300, "document"),
        (("finetune", "--task", "classify", "--arch", "rnn"), 40, "example"),
    ],
)
def test_other_trainings_are_told_by_their_own_command(command, size, noun, tmp_path):
    corpus = tmp_path / "data.tsv"
    lines = [f"ba ke li mo {'nu' if i % 2 else 'ra'} {i}" for i in range(120)]
    finetune = command[0] == "finetune"
    ends = [f"\t{'ab'[i % 2]}\n" if finetune else "\n\n" for i in range(120)]
    corpus.write_text("".join(line + end for line, end in zip(lines, ends, strict=True)))
    sizes = ("--vocab-size", size, "--max-steps", 1, "--threads", 1, "--size", "tiny", "--quiet")
    inside(*command, corpus, "-o", tmp_path / "m", *sizes)
    rows = told(tmp_path / "m")
    assert f" {noun}" in rows["trained on"] and "not recorded" not in rows["trained on"]
    assert rows["trained by"].startswith(f"attn {command[0]} ")
    assert f"--vocab-size {size}" in rows["trained by"] and "--max-steps 1" in rows["trained by"]
    assert "--patience" not in rows["trained by"]  # the command's own default


@pytest.mark.parametrize(
    ("command", "given", "arch"),
    [
        (TrainMtCommand, {}, ""),
        (TrainMtCommand, {"lr": 0.001, "share_vocab": False, "dropout": 0.2}, ""),
        (TrainMtCommand, {"init": "elsewhere", "criterion": "risk", "seed": 3}, ""),
        (PretrainCommand, {"objective": "clm", "label_smoothing": 0.1}, ""),
        (FinetuneCommand, {"task": ("classify",), "arch": "han", "patience": 9}, "han"),
        (FinetuneCommand, {"task": ("nodes",), "lr": 0.5}, "gat"),
        (FinetuneCommand, {"task": ("a=tag:x", "b=pair:y"), "init": "elsewhere"}, "bert"),
        (FinetuneCommand, {"task": ("classify",), "init": "HAN"}, "han"),
    ],
)
def test_the_options_that_were_given_are_found_again(command, given, arch, tmp_path):
    for folder in ("HAN", "model"):  # what a training starts from has its architecture
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "config.json").write_text(json.dumps({"arch": arch}))
    if given.get("init") == "HAN":
        given = {**given, "init": str(tmp_path / "HAN")}
    sections = json.loads(json.dumps(saved(resolve(command, given))))
    sections |= {"data": "f00", "examples": {"train": 1, "dev": 1}}
    found = given_options(sections, tmp_path / "model")
    assert (found.command, found.options) == (command.name, given)
    if "share_vocab" in given:
        text = " ".join(found.flags)
        assert "--separate-vocab" in text and "--lr 0.001" in text and "--dropout 0.2" in text


def test_a_model_of_hugging_face_is_described(tmp_path):
    tiny = pytest.importorskip("tiny_models")
    bert = tiny.save_bert(tmp_path / "hf")
    inside("convert", tmp_path / "hf", "-o", tmp_path / "bert", "--quiet")
    found = json.loads(inside("info", tmp_path / "bert", "--json").out)
    assert found["weights"]["parameters"] == sum(w.numel() for w in bert.parameters())
    assert (found["arch"], found["task"], found["validations"]) == ("bert", "predict", [])
    assert found["training"]["command"] == ""
    (tokenizer,) = found["tokenizers"]
    assert (tokenizer["file"], tokenizer["kind"]) in {
        ("vocab.txt", "wordpiece"),
        ("tokenizer.json", "wordpiece"),
    }
    assert "an encoder without" in told(tmp_path / "bert")["task"]
    assert told(tmp_path / "bert")["trained by"].startswith("not known")
    header, body = card_of(tmp_path / "bert")
    assert header["pipeline_tag"] == "feature-extraction" and "metrics" not in header
    assert "attn embed -m bert < lines.txt" in body


def card_of(place: Path, *options: object) -> tuple[dict, str]:
    yaml = pytest.importorskip("yaml")
    text = inside("info", place, "--card", *options).out.decode()
    _, header, body = text.split("---\n", 2)
    return yaml.safe_load(header), body


def test_a_card_is_read_by_the_hubs_own_library(trained, tmp_path):
    hub = pytest.importorskip("huggingface_hub")
    options = ("--language", "no,de", "--license", "apache-2.0", "--name", 'A "name": #1')
    page = tmp_path / "README.md"
    assert inside("info", trained, "--card", *options, "-o", page).out == b""
    data = hub.ModelCard.load(page).data
    assert (data.language, data.license) == (["no", "de"], "apache-2.0")
    assert data.pipeline_tag == "translation" and "attn" in data.tags
    best = json.loads(inside("info", trained, "--json").out)["best"]
    figures = {result.metric_type: result.metric_value for result in data.eval_results or []}
    assert data.metrics == list(figures) == ["bleu", "chrf"]
    for name, value in figures.items():
        assert float(value) == pytest.approx(best[f"dev_{name}"], abs=0.01)
    text = page.read_text()
    assert '# A "name": #1' in text and "attn decode -m model < lines.txt" in text
    assert "--dev dev.tsv" in text and str(trained.parent) not in text  # no path of this machine


def test_a_card_without_what_nobody_said(trained):
    header, _ = card_of(trained)
    assert "license" not in header and "language" not in header


def test_a_card_says_what_the_training_was_told(trained, tmp_path):
    command = ("train-mt", trained.parent / "train.tsv", "-o", tmp_path / "m", *TINY, "--quiet")
    command = (*command, "--max-steps", 1, "--metric", "loss", "--language", "en,de")
    assert "no identifier of a license" in inside(*command, "--license", "my: own", status=2).said
    inside(*command, "--license", "mit")
    header, body = card_of(tmp_path / "m")
    assert (header["language"], header["license"]) == (["en", "de"], "mit")
    assert "--license mit" in body
    header, _ = card_of(tmp_path / "m", "--license", "cc0-1.0")
    assert (header["language"], header["license"]) == (["en", "de"], "cc0-1.0")


def test_the_curve_is_drawn(trained, tmp_path):
    image = pytest.importorskip("matplotlib.image")
    run = inside("info", trained, "--plot", tmp_path / "curve.png")
    assert run.lines[0].startswith("task\t")
    height, width, _ = image.imread(tmp_path / "curve.png").shape
    assert width > 900 and height > 300
    inside("info", trained, "--plot", tmp_path / "curve.svg")
    svg = (tmp_path / "curve.svg").read_bytes()
    inside("info", trained, "--plot", tmp_path / "again.svg")
    assert (tmp_path / "again.svg").read_bytes() == svg


def test_converted_models_are_described(trained, tmp_path):
    inside("convert", trained, "--precision", "int8", "-o", tmp_path / "small")
    before, after = told(trained), told(tmp_path / "small")
    assert after["parameters"].split(" in ")[0] == before["parameters"].split(" in ")[0]
    assert "int8" in after["parameters"]
    found = json.loads(inside("info", tmp_path / "small", "--json").out)
    whole = json.loads(inside("info", trained, "--json").out)
    assert found["weights"]["parts"] == whole["weights"]["parts"]
    assert "stored in int8" in found["weights"]["note"]


def test_a_tokenizer_alone_is_described(trained, tmp_path):
    shutil.copy(trained / "tokenizer.model", tmp_path)
    rows = told(tmp_path)
    assert rows["model"] == "none; a tokenizer alone"
    assert "30 pieces" in rows["tokenizer"]
    assert "no model" not in inside("info", tmp_path, "--json").said
    assert "a tokenizer alone" in inside("info", tmp_path, "--card", status=2).said


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--json", "--card"), "--json and --card: one of them"),
        (("--license", "mit"), "--license: only a card says it"),
        (("--card", "--license", "my own: one"), "no identifier of a license"),
        (("--card", "--language", "English please"), "no code of a language"),
        (("--card", "--name", " "), "--name: a name"),
        (("--plot", "curve.gif"), "ends in .png, .svg, .pdf"),
        (("--plto", "curve.png"), "No such option: --plto"),
    ],
)
def test_wrong_usage(trained, arguments, said):
    assert said in inside("info", trained, *arguments, status=2).said


def test_what_is_not_there(tmp_path):
    assert "no such model directory" in inside("info", tmp_path / "none", status=2).said
    assert "neither a model" in inside("info", tmp_path, status=2).said
    (tmp_path / "config.json").write_text('{"model_type": "bert"}')
    assert "attn convert" in inside("info", tmp_path, status=3).said


def test_without_validations_there_is_nothing_to_draw(tmp_path):
    place = write_translator(tmp_path / "model")
    run = inside("info", place, "--plot", tmp_path / "curve.png", status=3)
    assert "no validation" in run.said and not (tmp_path / "curve.png").exists()


def test_a_training_that_has_not_got_far(copied):
    (copied / "model.safetensors").unlink()
    config = json.loads((copied / "config.json").read_text())
    (copied / "config.json").write_text(json.dumps({**config, "finished": False}))
    with (copied / "train.jsonl").open("a") as log:
        log.write('{"step": 8, "ep')
    rows = told(copied)
    assert "none yet" in rows["parameters"] and "not finished" in rows["state"]
    assert "one more is being written" in rows["validations"]


def damaged(place: Path, name: str) -> None:
    file = place / name
    match name:
        case "model.safetensors" | "tokenizer.model":
            file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
        case _:
            file.write_text("[1, 2")


@pytest.mark.parametrize("name", ["config.json", "model.safetensors", "tokenizer.model"])
def test_damaged_files_are_named(copied, name):
    damaged(copied, name)
    run = inside("info", copied, status=3)
    assert name in run.said and run.out == b""


@pytest.mark.parametrize(
    ("section", "change", "said"),
    [
        ("training", {"max_steps": "many"}, "max_steps"),
        ("training", {"max_stepz": 3}, "did you mean max_steps"),
        ("tokenizer", {"type": ["bpe"]}, "type"),
    ],
)
def test_options_that_no_training_has_are_refused(copied, section, change, said):
    config = json.loads((copied / "config.json").read_text())
    config["options"][section] |= change
    (copied / "config.json").write_text(json.dumps(config))
    assert said in inside("info", copied, status=3).said


@pytest.mark.parametrize("line", ["oops", "[1]", '{"step": "2"}', '{"step": 2, "dev_loss": "a"}'])
def test_a_bad_line_of_the_log_takes_nothing_else_with_it(copied, line):
    log = copied / "train.jsonl"
    first, *others = log.read_text().splitlines()
    log.write_text("\n".join([first, line, *others]) + "\n")
    run = inside("info", copied, status=3)
    assert f"{log}:2: no validation" in run.said
    assert "validations\t3, the last at step 6" in run.out.decode()


def test_nothing_in_a_file_moves_the_cursor(copied):
    config = json.loads((copied / "config.json").read_text())
    config["arch"] = "\x1b[2J\nx"
    config["model"]["attention"] = "\x9b31m"
    (copied / "config.json").write_text(json.dumps(config))
    out = inside("info", copied).out.decode()
    assert not {"\x1b", "\x9b"} & {*out} and "\nx" not in out
    assert "\x1b" not in inside("info", copied, "--card").out.decode()


def test_a_reader_that_leaves_early_is_no_error(trained):
    command = " ".join([*COMMAND, "info", str(trained), "--json"])
    done = subprocess.run(
        ["bash", "-c", f"{command} | head -c 5; exit ${{PIPESTATUS[0]}}"],
        capture_output=True,
        env=ENVIRONMENT,
    )
    assert done.returncode in (0, 141) and b"Traceback" not in done.stderr


def test_the_environment_names_the_model(trained):
    environment = {**ENVIRONMENT, "ATTN_MODEL": str(trained)}
    done = subprocess.run([*COMMAND, "info"], capture_output=True, env=environment)
    assert done.stdout == attn("info", trained).out and done.returncode == 0


def test_it_starts_quickly_and_without_pytorch(trained):
    """On one processor; where others are at work a wall clock measures them."""
    code = (
        "import sys\nfrom attn_cli.cli import main\n"
        f"sys.argv = ['attn', 'info', {str(trained)!r}]\nmain()\n"
        "slow = {'torch', 'numpy', 'rich', 'pydantic', 'matplotlib'} & set(sys.modules)\n"
        "print(slow or '', file=sys.stderr, end='')\n"
    )
    spent = []
    for _ in range(3):
        before = os.times()
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, env=ENVIRONMENT)
        after = os.times()
        assert (done.returncode, done.stderr) == (0, b"")
        spent.append(sum(after[2:4]) - sum(before[2:4]))
    assert min(spent) < 0.5


def test_a_sparkline():
    assert sparkline([1.0, 2.0, 3.0]) == "▁▅█"
    assert sparkline([2.0, 2.0]) == "▁▁" and sparkline([]) == ""
    assert sparkline([0.0, float("nan"), 1.0]) == "▁ █"
    assert len(sparkline(list(range(1000)), 20)) == 20
    assert sparkline([0.0, 0.0, 1.0, 1.0], 2) == "▁█"


def test_the_plain_configuration_is_that_of_the_model(trained):
    plain, (config, _) = read_plain_config(trained), load_model(trained, torch.device("cpu"))
    assert plain["arch"] == config.arch and plain["options"] == config.options
