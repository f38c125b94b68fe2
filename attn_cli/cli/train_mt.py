"""`attn train-mt`: a translator, or any other line-to-line model, from pairs of lines."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import typer

from attn_cli.cli.console import Console
from attn_cli.cli.options import with_options
from attn_cli.config.criterion import CriterionOptions
from attn_cli.config.image import SourceOptions
from attn_cli.config.runtime import RuntimeOptions, SpeechOptions, StreamOptions
from attn_cli.config.seq2seq import (
    ArchOptions,
    LearningOptions,
    Seq2SeqVariantOptions,
)
from attn_cli.config.tokenizing import TokenizerOptions
from attn_cli.config.training import (
    ContinuedTrainingOptions,
    OutputOptions,
    SampledTrainingOptions,
    TranslatorTrainingOptions,
)
from attn_cli.config.transformer import SizeOptions
from attn_cli.config.translation import CorpusOptions, LossOptions


def _instead(given: Mapping[str, Any]) -> Mapping[type, type]:
    """A trained model learns on with smaller steps."""
    if not given.get("init"):
        return {}
    samples = given.get("criterion", "likelihood") != "likelihood"
    smaller = SampledTrainingOptions if samples else ContinuedTrainingOptions
    return {TranslatorTrainingOptions: smaller}


@with_options(
    CorpusOptions,
    SourceOptions,
    OutputOptions,
    ArchOptions,
    SizeOptions,
    Seq2SeqVariantOptions,
    TokenizerOptions,
    LossOptions,
    LearningOptions,
    CriterionOptions,
    TranslatorTrainingOptions,
    StreamOptions,
    RuntimeOptions,
    SpeechOptions,
    instead=_instead,
)
def train_mt_command(
    corpus: Annotated[
        list[str] | None, typer.Argument(metavar="[CORPUS.tsv]...", show_default=False)
    ] = None,
    *,
    options: list,
) -> None:
    """attn train-mt train.tsv && attn decode < new.txt

    Train sequence to sequence on source<TAB>target lines; a source is a text, or the path of an
    image. Tokenizer, dev split, size and
    schedule are chosen for you; run the same command again to continue after a stop. Prints the
    model directory.

    \b
    attn train-mt train.tsv --dev dev.tsv --max-time 30m -o en-de
    attn train-mt --arch rnn --attention additive train.tsv
    attn train-mt --src train.en --tgt train.de
    attn train-mt --columns 2,1 train.tsv -o de-en
    attn train-mt --source image image-caption.tsv
    attn train-mt --init en-de --criterion risk train.tsv -o en-de-risk
    torchrun --nproc-per-node 2 -m attn_cli train-mt train.tsv
    """  # noqa: D301, D403, D415 - help starts with a working pipe; \b keeps its lines
    pairs, source, output, arch, size, variant, tokenizer, *rest = options
    objective, learning, criterion, training, stream, runtime, speech = rest
    console = Console(speech)

    from attn_cli.systems.translation.recipe import TranslationOptions, TranslationRecipe
    from attn_cli.train.run import RunOptions, run_training

    decided = TranslationOptions(
        arch, pairs, source, tokenizer, size, variant, objective, learning, criterion, training
    )
    recipe = TranslationRecipe(corpus or [], decided, stream, runtime, console)
    common = RunOptions(output, training, runtime, decided.saved(runtime), arch.init)
    output = run_training(recipe, common, console)
    if output:
        print(output)
