"""The front desk: the Typer app, and `main`, which runs it."""

from __future__ import annotations

import importlib
import sys

import typer

from attn_cli import __version__
from attn_cli.cli.status import exit_status

app = typer.Typer(
    name="attn",
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    help="""attn train-mt train.tsv && attn decode --beam 5 < test.tsv | attn score --bleu

    Train, run and measure attention models in pipes: one line in, one line out, in order.
    """,
)


def _version(wanted: bool) -> None:
    if wanted:
        print(f"attn {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: bool = typer.Option(
        False, "--version", callback=_version, is_eager=True, help="Print the version."
    ),
) -> None:
    pass


# Command -> where its function, or its Typer app of subcommands, is.
COMMANDS = {
    "tokenize": "tokenize:app",
    "train-mt": "train_mt:train_mt_command",
    "pretrain": "pretrain:pretrain_command",
    "finetune": "finetune:finetune_command",
    "decode": "decode:decode_command",
    "score": "score:score_command",
    "attend": "attend:attend_command",
    "embed": "embed:embed_command",
    "convert": "convert:convert_command",
}


def _register(arguments: list[str]) -> None:
    """Adds the command that `arguments` begin with, or all of them where it begins with none.

    Their modules import no torch, their bodies do; yet the options of four commands take longer to
    build than a short file to score.
    """
    app.registered_commands.clear()  # of an earlier call in the same process
    app.registered_groups.clear()
    wanted = [name for name in COMMANDS if name == (arguments or [""])[0]] or list(COMMANDS)
    for name in wanted:
        module, attribute = COMMANDS[name].split(":")
        target = getattr(importlib.import_module(f"attn_cli.cli.{module}"), attribute)
        if isinstance(target, typer.Typer):
            app.add_typer(target, name=name)
        else:
            app.command(name)(target)


def main() -> int:
    """Runs the command line and returns the exit status of the stream contract."""
    _register(sys.argv[1:])
    return exit_status(app)
