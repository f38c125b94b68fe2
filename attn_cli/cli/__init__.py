"""The front desk: the Typer app, and `main`, which runs it."""

from __future__ import annotations

import signal

import typer
from typer.exceptions import TyperException

from attn_cli import __version__
from attn_cli.cli.front import SETTINGS, LateGroup
from attn_cli.cli.status import exit_status
from attn_cli.errors import EndedElsewhereError, UsageError
from attn_cli.threads import says_usage, wait_gently

# Command -> where its function, or its Typer app of subcommands, is, and what it does.
COMMANDS = {
    "tokenize": ("tokenize:app", "Make a tokenizer; turn text into pieces or ids and back."),
    "train-mt": (
        "train_mt:train_mt_command",
        "Train a translator of texts, images or speech on pairs of lines.",
    ),
    "pretrain": (
        "pretrain:pretrain_command",
        "Train an encoder or a language model on plain text.",
    ),
    "finetune": (
        "finetune:finetune_command",
        "Train a classifier, tagger or question answerer on examples.",
    ),
    "decode": (
        "decode:decode_command",
        "Translate, continue, label or answer lines with a model.",
    ),
    "score": (
        "score:score_command",
        "Score lines against references, or by a model's probability.",
    ),
    "check": ("check:check_command", "Look at data before training: leaks, duplicates, odd lines."),
    "attend": ("attend:attend_command", "Show what a model attends to while it reads a line."),
    "embed": ("embed:embed_command", "Write contextual vectors of lines, words or tokens."),
    "serve": ("serve:serve_command", "Answer programs over HTTP: translations, labels, vectors."),
    "convert": ("convert:convert_command", "Read or write Hugging Face models."),
    "info": ("info:info_command", "Say what is in a model directory; write its model card."),
}


class _Front(LateGroup):
    places = {name: f"attn_cli.cli.{place}" for name, (place, _) in COMMANDS.items()}


app = typer.Typer(
    name="attn",
    cls=_Front,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings=SETTINGS,
    help="""attn train-mt train.tsv && attn decode --beam 5 < test.tsv | attn score --bleu

    Train, run and measure attention models in pipes: one line in, one line out, in order.
    """,
    epilog="`attn COMMAND --help` tells of each, and begins with a pipe to copy.",
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


def _imported_when_called() -> None:
    pass


for _name, (_, _does) in COMMANDS.items():
    app.command(_name, short_help=_does)(_imported_when_called)


def main() -> int:
    """Runs the command line and returns the exit status of the stream contract."""
    wait_gently()
    return exit_status(_called if says_usage() else _called_beside)


def _called() -> None:
    app(prog_name="attn")


def _called_beside() -> None:
    """The same in a process that others stand beside, or stood before, called as wrongly as it.

    Raises:
        EndedElsewhereError: another has said what is wrong.
    """
    try:
        status = app(prog_name="attn", standalone_mode=False)
    except typer.Abort:
        raise SystemExit(128 + signal.SIGINT) from None
    except TyperException:
        raise EndedElsewhereError(UsageError.exit_code) from None
    raise SystemExit(status if isinstance(status, int) else 0)
