"""The trainings: what `attn train-mt`, `pretrain` and `finetune` do."""

from __future__ import annotations

import os

from attn_cli.api.model import Model
from attn_cli.api.speaking import Say, Voice
from attn_cli.config.command import CommandT
from attn_cli.config.finetuning import FinetuneCommand
from attn_cli.config.keywords import Keywords, StrPath, Value
from attn_cli.config.pretraining import PretrainCommand
from attn_cli.config.training import TrainingCommand
from attn_cli.config.translation import TrainMtCommand
from attn_cli.errors import UsageError

# A dry run leaves no model, and a program says with `say` what it wants to hear.
_NOT = frozenset({"dry_run", "quiet"})
_TRAIN_MT = Keywords(TrainMtCommand, _NOT)
_PRETRAIN = Keywords(PretrainCommand, _NOT)
_FINETUNE = Keywords(FinetuneCommand, _NOT)


@_TRAIN_MT.documented
def train_mt(
    *corpus: StrPath,
    options: TrainMtCommand | None = None,
    config: StrPath | None = None,
    say: Say | None = None,
    **keywords: Value,
) -> Model:
    """Trains sequence to sequence on files of source<TAB>target lines, as `attn train-mt` does.

    The same call continues a training that was stopped, and finds one that has finished.

    >>> model = attn_cli.train_mt("train.tsv", output="en-fr", max_steps=4)
    >>> len(model.decode(["The cat sleeps.", "She sings."]))
    2

    Args:
        corpus: files; none where `src` and `tgt` name parallel ones.
        options: all options as the command's dataclass, instead of keywords.
        config: a TOML file of options, as `--config` takes it; keywords win.
        say: is told what the command says: what was chosen, and each validation. None: warnings
            are Python's, the rest is not said.
        keywords: the options.

    Returns:
        The model, not read yet; its `path` is the directory.

    Raises:
        UsageError: unknown or impossible options; the message names the nearest right one.
        DataError: the data can't be used.
        InterruptedTrainingError: a signal stopped it; its state is saved.
    """
    return _trained(corpus, _options(_TRAIN_MT, options, config, keywords), say)


@_PRETRAIN.documented
def pretrain(
    *files: StrPath,
    options: PretrainCommand | None = None,
    config: StrPath | None = None,
    say: Say | None = None,
    **keywords: Value,
) -> Model:
    """Trains an encoder or a language model on plain text, as `attn pretrain` does.

    >>> encoder = attn_cli.pretrain("text.txt", output="encoder", size="tiny", max_steps=2)
    >>> encoder.embed(["The cat sleeps.", "She sings."]).shape[0]
    2

    Args:
        files: a sentence a line, a blank line between documents.
        options: all options as the command's dataclass, instead of keywords.
        config: a TOML file of options; keywords win.
        say: is told what the command says; see `train_mt`.
        keywords: the options.

    Returns:
        The model, not read yet; its `path` is the directory.

    Raises:
        UsageError: unknown or impossible options; the message names the nearest right one.
        DataError: the data can't be used.
        InterruptedTrainingError: a signal stopped it; its state is saved.
    """
    return _trained(files, _options(_PRETRAIN, options, config, keywords), say)


@_FINETUNE.documented
def finetune(
    *data: StrPath,
    options: FinetuneCommand | None = None,
    config: StrPath | None = None,
    say: Say | None = None,
    **keywords: Value,
) -> Model:
    """Trains a classifier, tagger or question answerer on examples, as `attn finetune` does.

    >>> moods = attn_cli.finetune("labels.tsv", task="classify", output="moods", max_steps=2)
    >>> moods.decode(["The cat sleeps."])[0] in ("long", "short")
    True

    Args:
        data: files of examples; none where each task names its own.
        options: all options as the command's dataclass, instead of keywords.
        config: a TOML file of options; keywords win.
        say: is told what the command says; see `train_mt`.
        keywords: the options.

    Returns:
        The model, not read yet; its `path` is the directory.

    Raises:
        UsageError: unknown or impossible options; the message names the nearest right one.
        DataError: the data can't be used.
        InterruptedTrainingError: a signal stopped it; its state is saved.
    """
    return _trained(data, _options(_FINETUNE, options, config, keywords), say)


def _options(
    known: Keywords[CommandT],
    options: CommandT | None,
    config: StrPath | None,
    keywords: dict[str, Value],
) -> CommandT:
    if options is None:
        return known.resolve(keywords, config=config)
    if keywords or config is not None:
        also = ", ".join(keywords) or "config"
        raise UsageError(f"options and {also}: give all options as one or as the other")
    return options


def _trained(files: tuple[StrPath, ...], options: TrainingCommand, say: Say | None) -> Model:
    from attn_cli.systems.training import train

    if options.output.dry_run:
        raise UsageError("dry_run: would leave no model to return; see attn --dry-run")
    train([os.fspath(file) for file in files], options, Voice(say))
    return Model(options.output.path, device=options.runtime.device, say=say)
