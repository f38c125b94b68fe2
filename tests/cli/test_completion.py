"""A shell's Tab, by the protocol of the scripts that `--show-completion` prints."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys

import pytest
from program import ENVIRONMENT

PROGRAM = (
    "import sys\n"
    "from attn_cli.cli import main\n"
    "try:\n"
    "    main()\n"
    "finally:\n"
    "    slow = {'torch', 'numpy', 'rich', 'pydantic'} & set(sys.modules)\n"
    "    print(slow or '', file=sys.stderr, end='')\n"
)


def tab(line: str, shell: str = "bash") -> list[str]:
    """What is offered for the last word of a line."""
    words = line.split(" ")
    asked = {
        "_ATTN_COMPLETE": f"complete_{shell}",
        "COMP_WORDS": line,
        "COMP_CWORD": str(len(words) - 1),
        "_TYPER_COMPLETE_ARGS": line,
        "_TYPER_COMPLETE_FISH_ACTION": "get-args",
    }
    command = [sys.executable, "-c", PROGRAM]
    done = subprocess.run(command, capture_output=True, text=True, env={**ENVIRONMENT, **asked})
    assert (done.returncode, done.stderr) == (0, ""), done.stderr
    return done.stdout.split("\n")[:-1]


@pytest.mark.parametrize(
    ("line", "offered"),
    [
        ("attn t", ["tokenize", "train-mt"]),
        ("attn --v", ["--version"]),
        ("attn tokenize ", ["train", "encode", "decode"]),
        ("attn decode --be", ["--beam"]),
        ("attn decode -m model --divers", ["--diversity", "--diversity-groups"]),
        ("attn train-mt --arch ", ["transformer", "rnn", "cnn"]),
        ("attn train-mt --arch rnn --attention gen", ["general"]),
        ("attn tokenize encode --as p", ["pieces"]),
        ("attn decode some-fil", []),  # files are the shell's
    ],
)
def test_commands_flags_and_choices_are_offered(line, offered):
    found = tab(line)
    assert found == (offered or [""])


def test_every_shell_is_answered():
    assert tab("attn score --scheme b", "fish") == ["bio", "bioes"]
    assert tab("attn score --scheme b", "zsh") == ['_arguments \'*: :(("bio"', '"bioes"))\'']


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_script_of_a_shell_is_shown(shell):
    asked = {"_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION": "1"}
    command = [sys.executable, "-m", "attn_cli", "--show-completion", shell]
    done = subprocess.run(command, capture_output=True, text=True, env={**ENVIRONMENT, **asked})
    assert done.returncode == 0, done.stderr
    assert f"_ATTN_COMPLETE=complete_{shell}" in done.stdout
    if shell == "bash" and shutil.which("bash"):
        subprocess.run(["bash", "-n"], input=done.stdout, text=True, check=True)


def test_a_tab_takes_less_than_a_fifth_of_a_second():
    """On one processor; where others are at work a wall clock measures them."""
    spent = []
    for _ in range(3):
        before = os.times()
        assert tab("attn train-mt --arch r") == ["rnn"]
        after = os.times()
        spent.append(sum(after[2:4]) - sum(before[2:4]))
    assert min(spent) < 0.2
