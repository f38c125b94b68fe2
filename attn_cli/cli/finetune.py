"""`attn finetune`: a classifier, tagger or question answerer from labelled examples."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import typer

from attn_cli.cli.console import Console
from attn_cli.cli.options import with_options
from attn_cli.config import changed
from attn_cli.config.finetuning import FinetuneOptions, FinetuneSizeOptions
from attn_cli.config.graph import GatOptions, GraphOptions
from attn_cli.config.han import HanTokenizerOptions, HanTrainingOptions, is_han
from attn_cli.config.runtime import RuntimeOptions, SpeechOptions, StreamOptions
from attn_cli.config.tokenizing import TokenizerOptions
from attn_cli.config.training import FinetuneTrainingOptions, NodesTrainingOptions, OutputOptions
from attn_cli.errors import UsageError


def _instead(given: Mapping[str, Any]) -> Mapping[type, type]:
    """Nodes are trained with the defaults of graph attention, documents with their own."""
    if list(given.get("task", ())) == ["nodes"]:
        return {FinetuneTrainingOptions: NodesTrainingOptions}
    if is_han(given):
        return {
            FinetuneTrainingOptions: HanTrainingOptions,
            TokenizerOptions: HanTokenizerOptions,
        }
    return {}


@with_options(
    FinetuneOptions,
    OutputOptions,
    FinetuneSizeOptions,
    TokenizerOptions,
    FinetuneTrainingOptions,
    GatOptions,
    GraphOptions,
    StreamOptions,
    RuntimeOptions,
    SpeechOptions,
    instead=_instead,
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
    attn finetune train.conll --task tag --init bert -o tagger
    attn finetune train-v2.0.json --task qa --dev dev-v2.0.json --init bert -o reader
    attn finetune --task a=classify:a.tsv --task b=classify:b.tsv:0.5 --init bert
    attn finetune docs.jsonl --task classify --arch han --columns sentences,label
    attn finetune graph --task nodes -o topics && attn decode graph -m topics
    """
    finetuning, output, size, tokenizer, training, gat, graph, stream, runtime, speech = options
    console = Console(speech)
    if finetuning.task == ("nodes",):
        _finetune_nodes(data or [], options, console)
        return
    _refuse([gat, graph], f"--task {' '.join(finetuning.task)}")
    if finetuning.arch == "gat":
        raise UsageError("--arch gat reads a graph: it needs --task nodes")
    try:
        specs = finetuning.specs(data or [])
    except ValueError as error:
        raise UsageError(str(error)) from error

    from attn_cli.systems.tasks.recipe import FinetuneRecipe, FinetuneSettings
    from attn_cli.train.run import RunOptions, run_training

    settings = FinetuneSettings(specs, finetuning, tokenizer, size.size, training)
    recipe = FinetuneRecipe(settings, stream, runtime, console)
    common = RunOptions(output, training, runtime, settings.saved(runtime), finetuning.init)
    output = run_training(recipe, common, console)
    if output:
        print(output)


def _finetune_nodes(data: list[str], options: list, console: Console) -> None:
    """The same for the nodes of a graph directory."""
    finetuning, output, size, tokenizer, training, gat, graph, stream, runtime, _ = options
    if len(data) != 1:
        raise UsageError("--task nodes needs one graph: a directory of nodes.tsv and edges.tsv")
    if finetuning.arch not in (None, "gat"):
        raise UsageError(f"--arch {finetuning.arch} reads texts; --task nodes is learnt by gat")
    _refuse([finetuning, size, tokenizer], "--task nodes", "--task", "--arch", "--dropout")
    if stream.columns:
        raise UsageError("--columns: the headers of a graph's files name their columns")

    from attn_cli.systems.nodes.recipe import GraphRecipe, GraphSettings
    from attn_cli.train.run import RunOptions, run_training

    settings = GraphSettings(data[0], gat, graph, training, finetuning.dropout)
    recipe = GraphRecipe(settings, stream.skip_bad, runtime, console)
    common = RunOptions(output, training, runtime, settings.saved(runtime))
    output = run_training(recipe, common, console)
    if output:
        print(output)


def _refuse(groups: list, what: str, *allowed: str) -> None:
    """Raises UsageError for options that `what` would not read."""
    flags = [flag for group in groups for flag in changed(group) if flag not in allowed]
    if flags:
        raise UsageError(f"{what} does not read {', '.join(flags)}")
