"""What the program says of itself: its commands, their options, and how quickly."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest
from program import ENVIRONMENT, inside

from attn_cli.cli import COMMANDS

LONG = ("train-mt", "pretrain", "finetune", "decode")


def helped(*arguments: str) -> str:
    return inside(*arguments).out.decode()


def flags(text: str) -> set[str]:
    """The long flags that a help has lines of."""
    lines = re.findall(r"^  (?=-)(.*?)(?:  |$)", text, re.M)
    return {flag for line in lines for flag in re.findall(r"--[a-z][\w+-]*", line)}


def test_commands_are_listed_with_what_they_do():
    text = helped("--help")
    assert "attn COMMAND --help" in text
    for name, (_, does) in COMMANDS.items():
        assert re.search(rf"^  {name} +{re.escape(does)}$", text, re.M), name
    bare = inside(status=2)
    assert bare.out.decode() + bare.said == text


@pytest.mark.parametrize("command", [*COMMANDS, "tokenize train", "tokenize encode"])
def test_the_help_of_a_command_begins_with_a_pipe(command):
    usage, _, first, *_ = helped(*command.split(), "--help").split("\n")
    assert usage.startswith(f"Usage: attn {command} ")
    assert re.match(r"  .*\battn " + command.split()[0], first) or "|" in first


@pytest.mark.parametrize("command", LONG)
def test_rare_options_wait_for_help_all(command):
    text, everything = helped(command, "--help"), helped(command, "--help-all")
    n_rare = int(re.search(rf"^(\d+) rarer options: attn {command} --help-all$", text, re.M)[1])
    assert "rarer options:" not in everything
    assert flags(text) < flags(everything)
    assert len(flags(everything) - flags(text)) >= n_rare
    assert text.count("\n") < 110


def test_options_stand_under_headings_everyday_ones_first():
    for command, first in (("train-mt", "Corpus"), ("pretrain", "Objective"), ("finetune", "Task")):
        headings = re.findall(r"^(\w[\w ]*):$", helped(command, "--help"), re.M)
        assert headings[0] == first and headings[-1] == "Running"
    text = helped("train-mt", "--help")
    training = text.split("\nTraining:\n")[1].split("\n\n")[0]
    assert "--max-time" in training and "--matrix-factor" not in training


def test_defaults_of_a_mode_are_said_with_the_usual_one():
    text = " ".join(helped("train-mt", "--help-all").split())
    assert "[0.004; with --init 0.0005; with --init and risk or reinforce 0.0004]" in text
    text = " ".join(helped("finetune", "--help-all").split())
    assert "by number and length of the examples; han 16384; nodes 1048576]" in text
    assert "[transformer: scaled-dot; rnn: general; cnn: scaled-dot]" in " ".join(
        helped("train-mt", "--help").split()
    )


@pytest.mark.parametrize("arguments", [["--help"], ["train-mt", "--help-all"]])
def test_help_imports_neither_torch_nor_what_is_slow_besides(arguments):
    code = (
        "import sys, attn_cli.cli\n"
        f"sys.argv = ['attn', *{arguments}]\n"
        "status = attn_cli.cli.main()\n"
        "slow = {'torch', 'numpy', 'rich', 'pydantic'} & set(sys.modules)\n"
        "sys.exit(f'imported: {slow}' if slow else status)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, env=ENVIRONMENT)
    assert done.returncode == 0, done.stderr.decode()


def test_a_command_that_is_misspelt_is_guessed():
    run = inside("decodr", status=2)
    assert "No such command 'decodr'. Did you mean 'decode'?" in run.said
