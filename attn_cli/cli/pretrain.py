"""`attn pretrain`: an encoder or a language model from plain text."""

from __future__ import annotations

from typing import Annotated

import typer

from attn_cli.cli.console import Console
from attn_cli.cli.options import with_options
from attn_cli.config.pretraining import PretrainCommand


@with_options(PretrainCommand)
def pretrain_command(
    files: Annotated[list[str] | None, typer.Argument(metavar="FILE", show_default=False)] = (None),
    *,
    options: PretrainCommand,
) -> None:
    """zcat novels.txt.gz | attn pretrain --max-time 20m

    Train an encoder on plain text: one sentence a line, a blank line between documents.
    Tokenizer, dev documents, size and schedule are chosen for you; run the same command again to
    continue after a stop. Prints the model directory.

    \b
    attn pretrain novels.txt.gz --size mini --max-time 20m -o mini
    attn pretrain --objective mlm --whole-word novels.txt
    attn pretrain --init mini more.txt -o mini-2
    torchrun --nproc-per-node 2 -m attn_cli pretrain novels.txt
    """  # noqa: D301, D403, D415 - help starts with a working pipe; \b keeps its lines
    from attn_cli.systems.training import train

    if output := train(files or [], options, Console(options.speech)):
        print(output)
