"""`attn finetune`: a classifier, tagger or question answerer from labelled examples."""

from __future__ import annotations

from typing import Annotated

import typer

from attn_cli.cli.console import Console
from attn_cli.cli.options import with_options
from attn_cli.config.finetuning import FinetuneCommand


@with_options(FinetuneCommand)
def finetune_command(
    data: Annotated[list[str] | None, typer.Argument(metavar="DATA", show_default=False)] = None,
    *,
    options: FinetuneCommand,
) -> None:
    """attn finetune train.tsv --task classify && attn decode < new.txt

    Train a model on labelled examples, from a pretrained one (--init) or from random weights.
    Dev split, labels and schedule are chosen for you; run the same command again to continue
    after a stop. Prints the model directory.

    \b
    attn finetune train.tsv --task classify --init bert -o sentiment
    attn finetune pairs.tsv --task pair --dev dev.tsv --init bert
    attn finetune train.jsonl --task pair --columns premise,hypothesis,label --init bert
    attn finetune train.conll --task tag --init bert -o tagger
    attn finetune train-v2.0.json --task qa --dev dev-v2.0.json --init bert -o reader
    attn finetune --task a=classify:a.tsv --task b=classify:b.tsv:0.5 --init bert
    attn finetune docs.jsonl --task classify --arch han --columns sentences,label
    attn finetune graph --task nodes -o topics && attn decode graph -m topics
    """
    from attn_cli.systems.training import train

    if output := train(data or [], options, Console(options.speech)):
        print(output)
