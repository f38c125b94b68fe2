"""`attn finetune`: a classifier, tagger or question answerer from labelled examples."""

from __future__ import annotations

from typing import Annotated

import typer

from attn_cli.cli.console import Console
from attn_cli.cli.options import with_options
from attn_cli.config.finetuning import FinetuneOptions, FinetuneSizeOptions
from attn_cli.config.runtime import RuntimeOptions, SpeechOptions, StreamOptions
from attn_cli.config.tokenizing import TokenizerOptions
from attn_cli.config.training import FinetuneTrainingOptions, OutputOptions
from attn_cli.errors import UsageError


@with_options(
    FinetuneOptions,
    OutputOptions,
    FinetuneSizeOptions,
    TokenizerOptions,
    FinetuneTrainingOptions,
    StreamOptions,
    RuntimeOptions,
    SpeechOptions,
)
def finetune_command(
    data: Annotated[
        list[str] | None, typer.Argument(metavar="[DATA]...", show_default=False)
    ] = None,
    *,
    options: list,
) -> None:
    """attn finetune train.tsv --task classify && attn decode < new.txt

    Train a model on labelled examples, from a pretrained one (--init) or from random weights.
    Dev split, labels and schedule are chosen for you; run the same command again to continue
    after a stop. Prints the model directory.

    \b
    attn finetune train.tsv --task classify --init bert -o sentiment
    attn finetune pairs.tsv --task pair --dev dev.tsv --init bert
    attn finetune train.jsonl --task pair --columns premise,hypothesis,label --init bert
    attn finetune --task a=classify:a.tsv --task b=classify:b.tsv:0.5 --init bert
    """
    finetuning, output, size, tokenizer, training, stream, runtime, speech = options
    console = Console(speech)
    try:
        specs = finetuning.specs(data or [])
    except ValueError as error:
        raise UsageError(str(error)) from error

    from attn_cli.train.finetune import FinetuneRecipe, FinetuneSettings
    from attn_cli.train.run import RunOptions, run_training

    settings = FinetuneSettings(specs, finetuning, tokenizer, size.size, training)
    recipe = FinetuneRecipe(settings, stream, runtime, console)
    common = RunOptions(output, training, runtime, settings.saved(runtime))
    output = run_training(recipe, common, console)
    if output:
        print(output)
