"""`attn train-mt`: a translator, or any other line-to-line model, from pairs of lines."""

from __future__ import annotations

from typing import Annotated

import typer

from attn_cli.cli.console import Console
from attn_cli.cli.options import with_options
from attn_cli.config.translation import TrainMtCommand


@with_options(TrainMtCommand)
def train_mt_command(
    corpus: Annotated[
        list[str] | None, typer.Argument(metavar="CORPUS.tsv", show_default=False)
    ] = None,
    *,
    options: TrainMtCommand,
) -> None:
    """attn train-mt train.tsv && attn decode < new.txt

    Train sequence to sequence on source<TAB>target lines (of FILE:3 three times a pass); a source
    is a text, or the path of an image or a recording. Tokenizer, dev split, size and schedule are
    chosen for you; run the same command again to continue after a stop. Prints the directory.

    \b
    attn train-mt train.tsv --dev dev.tsv --max-time 30m -o en-de
    attn train-mt --arch rnn --attention additive train.tsv
    attn train-mt --src train.en --tgt train.de
    attn train-mt --columns 2,1 own.tsv:3 crawled.tsv.gz -o de-en
    attn train-mt --source image image-caption.tsv
    attn train-mt --init en-de --criterion risk train.tsv -o en-de-risk
    torchrun --nproc-per-node 2 -m attn_cli train-mt train.tsv
    """  # noqa: D301, D403, D415 - help starts with a working pipe; \b keeps its lines
    from attn_cli.systems.training import train

    if output := train(corpus or [], options, Console(options.speech)):
        print(output)
