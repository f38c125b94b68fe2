"""What a training command asks for, whatever the system: its recipe, run to its end."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from attn_cli.config.finetuning import FinetuneCommand
from attn_cli.config.pretraining import PretrainCommand
from attn_cli.config.training import TrainingCommand
from attn_cli.config.translation import TrainMtCommand
from attn_cli.train.monitor import Speaker
from attn_cli.train.run import run_training


def train(files: list[str], options: TrainingCommand, speaker: Speaker) -> Path | None:
    """Trains what a command's options ask for; an unfinished run of the same options continues.

    Args:
        files: the data; standard input if there are none.
        options: of one of the commands that train.
        speaker: is told what was found and chosen, and how it goes.

    Returns:
        The model directory; None on all ranks but the first, and after a dry run.

    Raises:
        AttnError: data, options, devices or the output directory do not allow it.
    """
    if isinstance(options, TrainMtCommand):
        from attn_cli.systems.translation.recipe import TranslationRecipe

        return run_training(partial(TranslationRecipe, files, options), options, speaker)
    if isinstance(options, PretrainCommand):
        from attn_cli.systems.pretraining.recipe import PretrainRecipe

        return run_training(partial(PretrainRecipe, files, options), options, speaker)
    assert isinstance(options, FinetuneCommand)
    if options.labels_nodes:
        from attn_cli.systems.nodes.recipe import GraphRecipe

        return run_training(partial(GraphRecipe, files, options), options, speaker)
    if options.labels_recordings:
        from attn_cli.systems.recordings.recipe import RecordingRecipe

        return run_training(partial(RecordingRecipe, files, options), options, speaker)
    from attn_cli.systems.tasks.recipe import FinetuneRecipe

    return run_training(partial(FinetuneRecipe, files, options), options, speaker)
