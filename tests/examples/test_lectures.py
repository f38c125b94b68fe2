"""The tour of examples/lectures: its formulas, its commands, its data; and (slow) all of it."""

from __future__ import annotations

import ast
import importlib
import importlib.util
import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from program import inside

ROOT = Path(__file__).resolve().parents[2]
TOUR = ROOT / "examples" / "lectures"
PAGE = (TOUR / "README.md").read_text("utf-8")
# | `formula` | [`Class`](../../attn_cli/file.py) |
FORMULAS = re.findall(r"^\| `(.+?)` \| \[`(\w+)`\]\(\.\./\.\./(attn_cli/\S+\.py)\)", PAGE, re.M)
BLOCKS = re.findall(r"^```sh\n(.*?)^```$", PAGE, re.M | re.S)
COMMANDS = [line for block in BLOCKS for line in block.splitlines()]
TRAININGS = ("train-mt", "pretrain", "finetune")


def attn_calls(line: str) -> list[list[str]]:
    """The arguments of each `attn` in a pipe."""
    words = shlex.shlex(line, posix=True, punctuation_chars="|>")
    words.whitespace_split = True
    calls: list[list[str]] = [[]]
    for word in words:
        if word == "|":
            calls.append([])
        elif word == ">":
            break
        else:
            calls[-1].append(word)
    return [call[1:] for call in calls if call[0] == "attn"]


CALLS = [call for line in COMMANDS for call in attn_calls(line)]


@pytest.mark.parametrize(("formula", "name", "file"), FORMULAS)
def test_a_formula_is_that_of_a_docstring(formula, name, file):
    tree = ast.parse((ROOT / file).read_text("utf-8"))
    kinds = (ast.ClassDef, ast.FunctionDef)
    (found,) = (n for n in tree.body if isinstance(n, kinds) and n.name == name)
    documented = [node for node in ast.walk(found) if isinstance(node, kinds)]
    said = " ".join(" ".join(ast.get_docstring(node) or "" for node in documented).split())
    assert formula.replace("\\|", "|") in said


def test_the_tour_has_formulas_and_commands_in_every_section():
    sections = re.split(r"^## \d+\. ", PAGE, flags=re.M)[1:]
    assert len(sections) == 14 and len(FORMULAS) > 30
    for section in sections[1:]:
        assert "| formula | class |" in section and "\nattn " in section


@pytest.mark.parametrize("call", [c for c in CALLS if c[0] not in TRAININGS], ids=" ".join)
def test_a_command_has_the_options_that_the_tour_gives_it(call):
    assert inside(*call, "--help").out.startswith(b"Usage: attn")


@pytest.mark.parametrize("call", [c for c in CALLS if c[0] in TRAININGS], ids=" ".join)
def test_a_training_takes_the_options_that_the_tour_gives_it(call, monkeypatch):
    import attn_cli.train.run

    taken = []
    monkeypatch.chdir(ROOT)  # where the files of --config are
    if importlib.util.find_spec("attn_cli.systems.training"):
        importlib.import_module("attn_cli.systems.training")
    loaded = [module for name, module in sys.modules.items() if name.startswith("attn_cli.")]
    for module in (attn_cli.train.run, *loaded):  # wherever it is called from
        if hasattr(module, "run_training"):
            monkeypatch.setattr(module, "run_training", lambda *given: taken.append(given))
    if "--init" in call:  # a model that is not there yet
        place = call.index("--init")
        call = [*call[:place], *call[place + 2 :]]
    inside(*call)
    ((_, options, _),) = taken
    assert options.output.output == call[-1]


def test_what_is_named_has_been_written_before():
    text = "\n".join(COMMANDS)
    for call in CALLS:
        if "-m" in call or "--init" in call:
            model = call[call.index("-m" if "-m" in call else "--init") + 1]
            made, used = text.index(f"-o {model}\n"), text.index(shlex.join(call))
            assert made < used, model


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    """A folder with the examples in it, and a program `attn` that only notes what it is asked."""
    folder = tmp_path_factory.mktemp("tour")
    (folder / "examples").symlink_to(ROOT / "examples")
    programs = folder / "bin"
    programs.mkdir()
    shapes = "mkdir -p tour/drawn; printf 'image\\tcaption\\n' > tour/drawn/dev.tsv"
    noted = 'printf "%s\\n" "$*" >> "$CALLS"; cat > /dev/null'
    scripts = {
        "attn": f'{noted}; case "$*" in $FAILS) echo no luck >&2; exit 3 ;; esac',
        "python3": f'case $1 in *shapes.py) {shapes} ;; *) exec "{sys.executable}" "$@" ;; esac',
    }
    for name, script in scripts.items():
        (programs / name).write_text(f"#!/bin/sh\n{script}\n")
        (programs / name).chmod(0o755)
    return folder


def toured(place: Path, *arguments: str, fails: str = "") -> subprocess.CompletedProcess[str]:
    calls = place / "calls"
    calls.write_text("")
    path = f"{place / 'bin'}{os.pathsep}{os.environ['PATH']}"
    environment = {**os.environ, "PATH": path, "CALLS": str(calls), "FAILS": fails or "nothing"}
    return subprocess.run(
        ["sh", "examples/lectures/run.sh", *arguments],
        cwd=place,
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
    )


@pytest.fixture(scope="module")
def data(place) -> Path:
    done = toured(place)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("tour/sections/") == len(BLOCKS_OF_SECTIONS)
    return place / "tour"


BLOCKS_OF_SECTIONS = [s for s in re.split(r"^## ", PAGE, flags=re.M)[1:] if "```sh" in s]


def test_every_command_is_run(data):
    called = (data.parent / "calls").read_text().splitlines()
    assert sorted(called) == sorted(" ".join(call) for call in CALLS)


def test_a_command_that_fails_ends_the_tour(place, data):
    done = toured(place, fails="train-mt*tour/additive")
    assert done.returncode != 0
    assert "no luck" in done.stderr and "+ attn train-mt" in done.stderr
    assert "attend -m tour/additive" not in (place / "calls").read_text()


def test_it_is_run_from_the_root_and_takes_nothing(place, tmp_path):
    done = toured(place, "elsewhere")
    assert done.returncode == 2 and done.stderr.startswith("sh examples/lectures/run.sh\n")


def rows(path: Path) -> list[list[str]]:
    return [line.split("\t") for line in path.read_text("utf-8").splitlines()]


def test_pairs_are_distinct_and_a_word_is_a_token(data):
    files = [rows(data / f"{name}.tsv") for name in ("train", "dev", "test", "few")]
    sources = [row[0] for file in files for row in file]
    assert len(set(sources)) == len(sources) == sum(map(len, files))
    assert [len(row) for file in files for row in file] == [2] * len(sources)
    words = {word for file in files for row in file for side in row for word in side.split(" ")}
    assert "" not in words and not [w for w in words if re.search(r"\w[.?]$|'.+", w) and w != "'s"]
    learnt = {word for row in files[0] for side in row for word in side.split(" ")}
    assert {word for row in files[3] for side in row for word in side.split(" ")} <= learnt


def test_nouns_of_one_file_of_persons_and_animals_are_not_in_the_other(data):
    living = {}
    for part in ("train", "dev"):
        found = rows(data / f"who-{part}.tsv")
        assert {label for _, label in found} == {"person", "animal"}
        living[part] = {word for text, _ in found for word in text.split(" ")}
    nouns = {"king", "kings", "cat", "cats", "owl", "owls", "queen", "queens", "boy", "boys"}
    assert not nouns & living["train"] & living["dev"]
    assert nouns & living["train"] and nouns & living["dev"]


def test_a_document_denies_if_one_of_its_sentences_does(data):
    for part in ("train", "dev"):
        labels = []
        for line in (data / f"documents-{part}.jsonl").read_text("utf-8").splitlines():
            entry = json.loads(line)
            denials = [s for s in entry["sentences"] if re.search(r"\b(not|never)\b", s)]
            assert len(denials) == (entry["label"] == "denies")
            labels.append(entry["label"])
        assert abs(labels.count("denies") - labels.count("affirms")) <= 1


def test_a_text_has_documents_about_one_thing(data):
    spec = importlib.util.spec_from_file_location("lexicon", ROOT / "examples" / "lexicon.py")
    lexicon = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = lexicon  # dataclasses look their module up
    spec.loader.exec_module(lexicon)
    documents = (data / "text.txt").read_text("utf-8").strip().split("\n\n")
    assert {document.count("\n") for document in documents} == {4}
    for document in documents:
        lines = [set(line.split(" ")) for line in document.split("\n")]
        assert any(all(set(noun.english) & words for words in lines) for noun in lexicon.NOUNS)


def test_a_graph_joins_nouns_to_their_company_alone(data):
    header, *nodes = rows(data / "graph" / "nodes.tsv")
    labels = {row[0]: row[1] for row in nodes}
    splits = {row[0]: row[2] for row in nodes}
    assert header == ["node", "label", "split", "features"]
    assert {split == "none" for w, split in splits.items() if not labels[w]} == {True}
    assert set(splits.values()) == {"none", "train", "val", "test"}
    assert splits["cat"] == splits["cats"] and labels["cat"] == labels["cats"] == "animal"
    for noun, word in rows(data / "graph" / "edges.tsv")[1:]:
        assert labels[noun] and not labels[word]
    eaten = {noun for noun, word in rows(data / "graph" / "edges.tsv")[1:] if word == "eats"}
    assert {labels[noun] for noun in eaten} == {"food"}


def test_the_same_bytes_are_written_again(data, tmp_path):
    subprocess.run([sys.executable, TOUR / "data.py", tmp_path], check=True)
    for name in (
        "train.tsv",
        "text.txt",
        "who-dev.tsv",
        "documents-train.jsonl",
        "graph/edges.tsv",
    ):
        assert (tmp_path / name).read_bytes() == (data / name).read_bytes(), name


@pytest.mark.slow
def test_the_tour_shows_what_it_says(tmp_path):
    for extra in ("matplotlib", "sklearn", "PIL"):
        pytest.importorskip(extra)
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    programs = tmp_path / "bin"
    programs.mkdir()
    for name, module in (("attn", "-m attn_cli"), ("python3", "")):
        (programs / name).write_text(f'#!/bin/sh\nexec "{sys.executable}" {module} "$@"\n')
        (programs / name).chmod(0o755)
    root = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    path = f"{programs}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        ["sh", "examples/lectures/run.sh"],
        cwd=tmp_path,
        env={**os.environ, "PATH": path, "PYTHONPATH": root},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    scores = {
        int(number): [float(x) for x in re.findall(r"^(?:BLEU|ACCURACY)\t(\S+)$", said, re.M)]
        for number, said in re.findall(
            r"^tour/sections/(\d+)\.sh\.log\n(.*?)(?=^tour/sections/|\Z)", done.stdout, re.M | re.S
        )
    }
    none, additive, mean = scores[2][0], scores[3][0], scores[4][1]
    assert additive > none + 5 and additive > mean + 5
    assert scores[7][0] > scores[8][0] + 5  # with positions, and without
    assert scores[12][0] > 0.9
    pictures = {path.name for path in (tmp_path / "tour").glob("*.png")}
    wanted = set(re.findall(r"-o tour/([\w-]+)\.(png)", PAGE))
    for name, _ in wanted:
        assert any(picture.startswith(name) for picture in pictures), name
