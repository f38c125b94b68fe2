"""`attn pretrain`: an encoder or a language model from plain text."""

from __future__ import annotations

from typing import Annotated

import typer

from attn_cli.cli.console import Console
from attn_cli.cli.options import with_options
from attn_cli.config.pretraining import (
    MaskingOptions,
    ObjectiveOptions,
    PretrainTokenizerOptions,
    StackSizeOptions,
    StackVariantOptions,
)
from attn_cli.config.runtime import RuntimeOptions, SpeechOptions, StreamOptions
from attn_cli.config.training import OutputOptions, PretrainTrainingOptions


@with_options(
    ObjectiveOptions,
    OutputOptions,
    StackSizeOptions,
    StackVariantOptions,
    MaskingOptions,
    PretrainTokenizerOptions,
    PretrainTrainingOptions,
    StreamOptions,
    RuntimeOptions,
    SpeechOptions,
)
def pretrain_command(
    files: Annotated[list[str] | None, typer.Argument(metavar="[FILE]...", show_default=False)] = (
        None
    ),
    *,
    options: list,
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
    objective, output, size, variant, masking, tokenizer, training, stream, runtime, speech = (
        options
    )
    console = Console(speech)

    from attn_cli.systems.pretraining.objectives import PretrainOptions
    from attn_cli.systems.pretraining.recipe import PretrainRecipe
    from attn_cli.train.run import RunOptions, run_training

    decided = PretrainOptions(objective, masking, tokenizer, size, variant, training)
    recipe = PretrainRecipe(files or [], decided, stream, runtime, console)
    common = RunOptions(output, training, runtime, decided.saved(runtime), objective.init)
    written = run_training(recipe, common, console)
    if written:
        print(written)
