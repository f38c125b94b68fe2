"""The README's commands, run as they stand by a shell, on a corpus of the example grammar."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from pictures import write_shapes
from program import forked_python
from sounds import write_words

ROOT = Path(__file__).resolve().parents[2]
# The commands promise a translator; here it is enough that they run, so trainings are cut short.
SHORT = (
    "--max-steps 4 --d-model 16 --d-ff 16 --n-heads 2 --n-encoder-layers 1 --n-decoder-layers 1 "
    "--metric loss"
)
STEPS = "--max-steps 4 --threads 1"
STACK = "--d-model 16 --n-heads 2 --n-layers 1"
LIMITED_ATTN = f"""#!/bin/sh
case $1 in
  train-mt) set -- "$@" {SHORT} ;;
  pretrain) set -- "$@" {STEPS} {STACK} ;;
  finetune) set -- "$@" {STEPS} ;;
esac
exec {{python}} -m attn_cli "$@"
"""
LIMITED_TORCHRUN = f"""#!/bin/sh
exec "{sys.executable}" -m torch.distributed.run "$@" {SHORT}
"""


def readme_blocks() -> list[str]:
    """The ```sh blocks; what installs and tests is fenced as console, and not run."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    return re.findall(r"^```sh\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


def commands(*, torchrun: bool) -> list[str]:
    lines = [line for block in readme_blocks() for line in block.splitlines()]
    return [line for line in lines if line.startswith("torchrun") == torchrun]


def write_columns(folder: Path, name: str) -> None:
    lines = (folder / f"{name}.tsv").read_text(encoding="utf-8").splitlines()
    for column, language in enumerate(("en", "fr")):
        text = "".join(line.split("\t")[column] + "\n" for line in lines)
        (folder / f"{name}.{language}").write_text(text, encoding="utf-8")


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """A folder with the files that the README speaks of."""
    place = tmp_path_factory.mktemp("readme")
    grammar = [sys.executable, str(ROOT / "examples" / "grammar.py"), str(place)]
    subprocess.run([*grammar, "--train", "200", "--test", "6"], check=True)
    (place / "dev.tsv").write_bytes((place / "test.tsv").read_bytes())
    write_columns(place, "train")
    write_columns(place, "test")
    sentences = open_lines(place / "train.en")
    documents = ["\n".join(sentences[i : i + 5]) for i in range(0, len(sentences), 5)]
    (place / "text.txt").write_text("\n\n".join(documents) + "\n", encoding="utf-8")
    labelled = [f"{line}\t{'long' if len(line) > 40 else 'short'}\n" for line in sentences]
    (place / "labels.tsv").write_text("".join(labelled), encoding="utf-8")
    (place / "new.txt").write_text("The cat sleeps.\n\nShe sings.\n", encoding="utf-8")
    speeches = [f"ROMEO:\n{line}\nShe weeps.\n" for line in sentences]
    (place / "play.txt").write_text("\n".join(speeches), encoding="utf-8")
    write_shapes(place / "photos", 30, seed=1).rename(place / "photos" / "captions.tsv")
    write_words(place / "speech", 30, seed=1).rename(place / "speech" / "transcripts.tsv")
    programs = place / "bin"
    programs.mkdir()
    python = shlex.join(forked_python())
    attn, python = LIMITED_ATTN.format(python=python), f'#!/bin/sh\nexec {python} "$@"\n'
    scripts = (("attn", attn), ("torchrun", LIMITED_TORCHRUN), ("python3", python))
    for name, script in scripts:
        (programs / name).write_text(script, encoding="utf-8")
        (programs / name).chmod(0o755)
    return place


def run(command: str, folder: Path) -> str:
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    environment["PATH"] = f"{folder / 'bin'}{os.pathsep}{os.environ['PATH']}"
    environment["PYTHONPATH"] = str(ROOT)  # the program beside this README, whatever is installed
    environment.pop("ATTN_MODEL", None)
    done = subprocess.run(
        ["sh", "-e", "-c", command], cwd=folder, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, f"{command}\n{done.stderr}"
    # A pipe's status is its last command's; the others' failures are told on stderr.
    # Models of four steps do not know where to stop; new.txt has a blank line.
    said = [
        line
        for line in done.stderr.splitlines()
        if not re.search(r"output (that )?stops|blank line", line)
    ]
    assert not any("attn: " in line for line in said), f"{command}\n{done.stderr}"
    assert "Traceback" not in done.stderr, f"{command}\n{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def printed(folder) -> dict[str, str]:
    """What each command printed, in the README's order, which later ones build on."""
    return {command: run(command, folder) for command in commands(torchrun=False)}


def test_every_command_runs_and_prints_its_result(printed):
    assert len(printed) >= 15
    for command, out in printed.items():
        assert ("> " in command) != bool(out.strip()), command


def test_trainings_print_their_model(printed):
    models = [out for command, out in printed.items() if command.startswith("attn train-mt")]
    names = ("attn-model", "en-fr", "second", "fr-en", "adapted", "less-risk")
    names = (*names, "parallel-words", "captioner", "recognizer")
    assert models == [f"{name}\n" for name in names]


def test_one_line_out_for_each_line_in(printed, folder):
    assert (folder / "new.fr.txt").read_text(encoding="utf-8").split("\n")[1] == ""
    for name, count in (("new.fr.txt", 3), ("ensemble.tsv", 6), ("one.fr", 6)):
        assert (folder / name).read_bytes().count(b"\n") == count
    reference = [line.split("\t")[-1] for line in open_lines(folder / "ensemble.tsv")]
    assert reference == open_lines(folder / "test.fr")


def open_lines(path: Path) -> list[str]:
    return path.read_text(encoding="utf-8").split("\n")[:-1]


def test_scores_have_names(printed):
    promise = next(out for command, out in printed.items() if "| attn score --bleu" in command)
    assert re.fullmatch(r"BLEU\t\d+\.\d+\n", promise)


def test_tokenizing_there_and_back_changes_nothing(printed, folder):
    back = next(out for command, out in printed.items() if "| attn tokenize decode" in command)
    assert back == (folder / "new.txt").read_text(encoding="utf-8")


@pytest.mark.slow
def test_processes_side_by_side(folder):
    (command,) = commands(torchrun=True)
    assert run(command, folder) == "parallel\n"


def test_the_lines_of_python(printed, folder):
    """They use the models that the commands before have made."""
    (program,) = re.findall(
        r"^```python\n(.*?)^```$", (ROOT / "README.md").read_text("utf-8"), re.M | re.S
    )
    flags, values = SHORT.split()[::2], SHORT.split()[1::2]
    short = {
        flag.removeprefix("--").replace("-", "_"): int(value) if value.isdigit() else value
        for flag, value in zip(flags, values, strict=True)
    }
    assert 'max_time="30m"' in program
    script = folder / "from_python.py"
    script.write_text(program.replace('max_time="30m"', f"**{short!r}"), encoding="utf-8")
    out = run("python3 from_python.py", folder).split("\n")
    assert out[:3] == open_lines(folder / "new.fr.txt")
    assert float(out[3]) < 0
    assert re.fullmatch(r"\(2, \d+\)", out[4]) and out[5:] == [""]
    assert (folder / "from-python" / "model.safetensors").exists()


def test_commands_of_the_table_are_those_of_the_program():
    listed = re.findall(r"^\| `attn ([\w-]+)` \|", (ROOT / "README.md").read_text("utf-8"), re.M)
    help_text = subprocess.run(
        [sys.executable, "-m", "attn_cli", "--help"], capture_output=True, text=True, check=True
    ).stdout
    there = re.findall(r"^  ([a-z][\w-]+)  ", help_text.split("Commands:")[1], re.MULTILINE)
    assert sorted(listed) == sorted(there)
