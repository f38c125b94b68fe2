"""A training from the command line to the finished model directory, whatever is trained.

A recipe prepares files on rank 0 and then opens a plan on every rank; this module keeps the output
directory: its lock, its configuration, what an earlier run left there, and how a run ends.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import shutil
import tempfile
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Generic

import torch

from attn_cli.config.command import saved
from attn_cli.config.training import TrainingCommand, TrainingOptions
from attn_cli.data.batching import B
from attn_cli.errors import AttnError, UsageError
from attn_cli.files import inside, remove_leftovers
from attn_cli.model_files import DATA, EXAMPLES
from attn_cli.models.directory import (
    CONFIG,
    WEIGHTS,
    ModelConfig,
    note_of,
    read_config,
    write_config,
    write_weights,
)
from attn_cli.tokenizers.tokenizer_files import remove_tokenizers
from attn_cli.train.arrangement import arrange
from attn_cli.train.checkpoints import Checkpoints, locked
from attn_cli.train.choice import Chooser
from attn_cli.train.exchange import LostProcessError
from attn_cli.train.loop import Trainer, Training
from attn_cli.train.monitor import LOG, Monitor, Silence, Speaker
from attn_cli.train.pace import VALIDATIONS_SHARE, forecast
from attn_cli.train.processes import Processes
from attn_cli.train.progress import Progress
from attn_cli.train.team import Crew, Seat, Team, runs_no_script_again
from attn_cli.wording import plural

_CHECKPOINTS = "checkpoints"
_DRY_STEPS = 5  # updates of a dry run, whose speed is that of the rest
_LIMITS = ("max_steps", "max_epochs", "max_time")


@dataclass(frozen=True)
class Plan(Generic[B]):
    """A training that is ready to run.

    Attributes:
        training: what is trained.
        options: how, every limit decided.
        config: what config.json will say.
        summary: lines that tell the user what was chosen, and why.
        report: lines about the finished model, made after its last weights are written.
    """

    training: Training[B]
    options: TrainingOptions
    config: ModelConfig
    summary: list[str]
    report: Callable[[], Iterable[str]] = tuple


class Recipe(ABC, Generic[B]):
    """What a training command adds to the common run.

    Attributes:
        speaker: is told what was found and chosen.
    """

    speaker: Speaker

    @abstractmethod
    def require_inputs(self) -> None:
        """On rank 0, before anything is asked of the output: raises if what it names is missing."""

    @abstractmethod
    def prepare(self, output: Path, work: Path) -> None:
        """On rank 0: checks and indexes the data into `work`, puts tokenizers into `output`."""

    @abstractmethod
    def open(self, output: Path, work: Path, processes: Processes) -> Plan[B]:
        """On every rank: the model, its data and its validation."""


def run_training(
    recipe_of: Callable[[Speaker], Recipe[B]], options: TrainingCommand, speaker: Speaker
) -> Path | None:
    """Trains a recipe to its end; an unfinished run of the same options continues.

    Args:
        recipe_of: makes the recipe, given who is told what was found and chosen.
        options: of the command.
        speaker: is told it on the first of all ranks.

    Returns:
        The model directory; None on all ranks but the first, and after a dry run.

    Raises:
        AttnError: data, options, devices or the output directory do not allow it.
    """
    processes = Processes.join(options.runtime)
    if not processes.is_main:
        speaker = Silence()
    output = Path(options.output.path)
    before: ModelConfig | None = None
    with contextlib.ExitStack() as stack:
        if options.output.dry_run:
            output = Path(stack.enter_context(_scratch(processes)))
        stack.callback(processes.leave)  # its threads must not outlive the interpreter
        work = output / _CHECKPOINTS
        with processes.together():
            recipe = recipe_of(speaker)
            crew = _crew(recipe, options, output, processes, speaker)
        stack.callback(crew.close)
        stack.callback(processes.leave)  # first: members that wait for this one then end
        with processes.together():
            if processes.is_main:
                recipe.require_inputs()
                stack.enter_context(_nothing_left_unless_begun(output))
                stack.enter_context(locked(work))
                remove_leftovers(work)
                remove_leftovers(output)
                before = _earlier(output, options, speaker.say)
                recipe.prepare(output, work)
        crew.start()
        with processes.together():
            plan = recipe.open(output, work, processes)
            done = processes.is_main and _is_finished(before, plan, output)
        if processes.agree(done)[0]:
            if processes.is_main:
                Checkpoints(work).clear_states()
                speaker.say(f"{output}: this training has finished; --overwrite starts it afresh")
        else:
            try:
                _train(plan, options, output, processes, speaker, crew)
            except LostProcessError as lost:
                raise crew.cause(lost) from None
    return output if processes.is_main and not options.output.dry_run else None


def _crew(
    recipe: Recipe[B],
    options: TrainingCommand,
    output: Path,
    processes: Processes,
    speaker: Speaker,
) -> Crew:
    """The processes that are to train beside this one.

    Raises:
        UsageError: there can't be as many.
    """

    def team(size: int) -> Team:
        return Team(processes, size, options.runtime, _train_beside, recipe, options, output)

    size, kind = options.runtime.n_processes, processes.device.type
    if size is None:
        is_choice = processes.world == 1 and kind == "cpu" and runs_no_script_again()
        is_choice = is_choice and not (options.output.dry_run or options.runtime.shard)
        return Chooser(processes.threads, team, speaker) if is_choice else Crew()
    if size == 1:
        return Crew()
    if processes.world > 1:
        raise UsageError(
            f"--processes {size}: torchrun has started {processes.world} processes already; leave "
            "--processes out"
        )
    if kind == "mps" or kind == "cuda" and size > torch.cuda.device_count():
        there = "one GPU" if kind == "mps" else plural(torch.cuda.device_count(), "GPU")
        raise UsageError(f"--processes {size}: each needs a GPU, and here is {there}")
    return team(size)


def _train_beside(seat: Seat, recipe: Recipe[B], options: TrainingCommand, output: Path) -> None:
    """Trains in a process that rank 0 started."""
    recipe.speaker = silence = Silence()
    plan = recipe.open(output, output / _CHECKPOINTS, seat.processes)
    try:
        _train(plan, options, output, seat.processes, silence, seat)
    finally:
        seat.processes.leave()


def _train(
    plan: Plan[B],
    options: TrainingCommand,
    output: Path,
    processes: Processes,
    speaker: Speaker,
    crew: Crew,
) -> None:
    torch.manual_seed(options.runtime.seed + processes.rank)  # ranks drop out differently
    checkpoints = Checkpoints(output / _CHECKPOINTS)
    board = options.output.tensorboard
    monitor = Monitor(speaker, inside(output, LOG), board, active=processes.is_main)
    training_options = plan.options
    if options.output.dry_run:
        training_options = dataclasses.replace(
            training_options,
            max_steps=_DRY_STEPS,
            max_epochs=None,
            max_time=None,
            average=1,
            keep_best=1,
        )
    objective = plan.training.objective
    processes, crew, said = arrange(objective, training_options, options.runtime, processes, crew)
    if processes.is_main:
        write_config(output, plan.config)
        for line in [*plan.summary, *said]:
            speaker.say(line)
        if not options.output.dry_run:
            speaker.say(_said_weights(training_options))
    trainer = Trainer(
        plan.training,
        training_options,
        processes,
        checkpoints,
        monitor,
        save=partial(write_weights, output),
        crew=crew,
    )
    progress = trainer.fit()
    if not processes.is_main:
        return
    if options.output.dry_run:
        cost = plan.training.validation_epochs
        for line in forecast(plan.options, progress, monitor.pace, cost):
            speaker.say(line)
        speaker.say(f"dry run: {plural(progress.step, 'step')} trained and validated, nothing kept")
        return
    if not (output / WEIGHTS).exists():
        raise AttnError(
            f"{output / WEIGHTS}: gone, and no later validation was better; train again with "
            "--overwrite"
        )
    for line in plan.report():
        speaker.say(line)
    write_config(output, dataclasses.replace(plan.config, finished=True))
    checkpoints.clear_states()
    best = progress.best[0]
    speaker.say(
        f"finished after {plural(progress.step, 'step')} ({progress.finished}): best dev "
        f"{best.said(training_options.metric)} at step {best.step:,}"
    )
    if not training_options.validate_every and (line := said_slow_validations(progress)):
        speaker.say(line)
    if note := note_of(output):
        speaker.warn(f"{output}: {note}")


def said_slow_validations(progress: Progress) -> str:
    """What validations took, as measured, where it is more than was planned by an estimate."""
    spent, count = progress.validation_seconds, progress.validations
    share = spent / max(progress.seconds + spent / max(count, 1), 1e-9)  # the last is not in it
    if count < 2 or share <= VALIDATIONS_SHARE:
        return ""
    return (
        f"{count:,} validations took {share:.0%} of the time; --validate-every makes them rarer, "
        "a smaller --dev shorter"
    )


def _said_weights(training: TrainingOptions) -> str:
    """Which weights are kept, in words."""
    kept = "the best validation"
    if training.average > 1:
        kept = f"the mean of the {training.average} best validations, at the end"
    by = f"dev {training.metric}"
    averaged = ", averaged over the last updates (--ema)" if training.ema else ""
    return f"{WEIGHTS} holds the weights of {kept}, by {by}{averaged}"


def _earlier(
    output: Path, options: TrainingCommand, say: Callable[[str], None]
) -> ModelConfig | None:
    """What an earlier run of the same options left there; clears what may be replaced.

    An unfinished training may go on to other limits than it began with.

    Raises:
        UsageError: another training's model is there, or the one to start from.
    """
    if options.init and output.resolve() == Path(options.init).resolve():
        raise UsageError(f"{output}: is what --init names; choose another -o")
    if options.output.overwrite:
        _remove_training(output)
        return None
    if not (output / CONFIG).exists():
        if (output / WEIGHTS).exists():
            raise UsageError(f"{output}: holds weights without a config.json; choose another -o")
        return None
    before = read_config(output)
    now = {**saved(options), DATA: before.options.get(DATA)}
    if EXAMPLES in before.options:  # follows from the data
        now[EXAMPLES] = before.options[EXAMPLES]
    if before.options.keys() != now.keys():
        raise UsageError(
            f"{output}: holds a model that another command or version of attn made; choose another "
            "-o, or --overwrite"
        )
    changes = _differences(before.options, now)
    if changes and all(change.split(":")[0] in _LIMITS for change in changes):
        if before.finished:
            raise UsageError(
                f"{output}: this training has finished; to train on, start from it: --init "
                f"{output} and another -o (or --overwrite starts it afresh, with the other limit)"
            )
        say(f"{output}: continues to other limits ({'; '.join(changes)})")
        return dataclasses.replace(before, options=now)
    if changes:
        raise UsageError(
            f"{output}: holds a training with other options ({'; '.join(changes[:5])}); choose "
            "another -o, or --overwrite"
        )
    return before


def _is_finished(before: ModelConfig | None, plan: Plan[B], output: Path) -> bool:
    """Whether the same training, on the same data, has ended there.

    Raises:
        UsageError: it was trained on other data.
        AttnError: it has ended, but its weights are gone.
    """
    if before is None:
        return False
    if before.options.get(DATA) != plan.config.options[DATA]:
        raise UsageError(
            f"{output}: holds a training on other data; choose another -o, or --overwrite"
        )
    if before.finished and not (output / WEIGHTS).exists():
        raise AttnError(
            f"{output / WEIGHTS}: missing, though this training has finished; --overwrite trains "
            "it again"
        )
    return before.finished


def _differences(before: Mapping[str, object], now: Mapping[str, object]) -> list[str]:
    changes = []
    for section in sorted({*before, *now}):
        old, new = before.get(section), now.get(section)
        if isinstance(old, dict) and isinstance(new, dict):
            changes += _differences(old, new)
        elif old != new:
            changes.append(f"{section}: {old} there, {new} now")
    return changes


def _remove_training(output: Path) -> None:
    """Removes what a training writes, and nothing else."""
    remove_tokenizers(output)
    labels = [path.name for path in output.glob("labels*.txt")]
    for name in (CONFIG, WEIGHTS, LOG, *labels):
        (output / name).unlink(missing_ok=True)
    for path in (output / _CHECKPOINTS).glob("*"):
        if path.name != "lock" and not path.is_dir():
            path.unlink()
    Checkpoints(output / _CHECKPOINTS).clear_states()


@contextlib.contextmanager
def _nothing_left_unless_begun(output: Path) -> Iterator[None]:
    """Removes a directory that this run made if it ends before the training begins.

    As data or options are refused, or somebody stops it while it waits for them.
    """
    is_new = not output.exists()
    try:
        yield
    except BaseException:
        if is_new and not (output / CONFIG).exists():
            _remove_training(output)
            with contextlib.suppress(OSError):  # somebody else's files are not ours to remove
                (output / _CHECKPOINTS / "lock").unlink(missing_ok=True)
                (output / _CHECKPOINTS).rmdir()
                output.rmdir()
        raise


@contextlib.contextmanager
def _scratch(processes: Processes) -> Iterator[str]:
    """A directory that all ranks share and that vanishes; its name follows from rank 0's."""
    number = int(processes.agree(int.from_bytes(os.urandom(4), "big"))[0])
    folder = Path(tempfile.gettempdir()) / f"attn-dry-run-{number:08x}"
    folder.mkdir(exist_ok=True)
    try:
        yield str(folder)
    finally:
        if processes.is_main:
            shutil.rmtree(folder, ignore_errors=True)
