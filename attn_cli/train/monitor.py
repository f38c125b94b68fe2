"""What a training says: a progress bar on a terminal, one line per validation, train.jsonl."""

from __future__ import annotations

import contextlib
import json
import math
import os
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from attn_cli.config.training import TrainingOptions
from attn_cli.errors import UsageError
from attn_cli.files import writing
from attn_cli.model_files import LOG as LOG
from attn_cli.train.pace import Pace, TimeLeft, clock
from attn_cli.train.progress import Progress

if TYPE_CHECKING:
    import rich.progress
    from torch.utils.tensorboard import SummaryWriter

_PAUSE = 1.0  # seconds between two validations that are said, where they come often


class Speaker(Protocol):
    """Where a training speaks: the command line's console."""

    def warn(self, text: str) -> None:
        """Says what a user must know."""

    def say(self, text: str) -> None:
        """Says what a user likes to know."""

    def progress(self) -> contextlib.AbstractContextManager[rich.progress.Progress | None]:
        """A rich progress bar on a terminal, None elsewhere."""


class Silence:
    """The speaker of all ranks but the first."""

    def warn(self, text: str) -> None:
        """Says nothing."""

    def say(self, text: str) -> None:
        """Says nothing."""

    def progress(self) -> contextlib.AbstractContextManager[rich.progress.Progress | None]:
        """Shows nothing."""
        return contextlib.nullcontext()


class Monitor:
    """Speaks and logs for rank 0; silent on the others.

    Args:
        speaker: says things on stderr.
        log: train.jsonl, one line per validation.
        tensorboard: a directory for TensorBoard's event files, or None.
        active: whether this is rank 0.

    Attributes:
        pace: how fast updates go.
    """

    def __init__(
        self, speaker: Speaker, log: Path, tensorboard: str | None, *, active: bool
    ) -> None:
        self._speaker = speaker
        self._log = log
        self._active = active
        self._board = _summary_writer(tensorboard) if tensorboard and active else None
        self._bar: rich.progress.Progress | None = None
        self._limits = TrainingOptions()
        self._left = TimeLeft()
        self.pace = Pace()
        self._said: set[str] = set()
        self._unwritten = b""  # lines of the log
        self._tokens = 0
        self._since = time.monotonic()

    def warn(self, text: str) -> None:
        """Says what a user must know."""
        if self._active:
            self._speaker.warn(text)

    def warn_once(self, text: str) -> None:
        """The same, at its first occasion."""
        if text not in self._said:
            self._said.add(text)
            self.warn(text)

    @contextlib.contextmanager
    def watching(
        self, progress: Progress, options: TrainingOptions, share_done: float
    ) -> Iterator[None]:
        """A context with a progress bar, if somebody watches.

        Args:
            progress: where the training stands.
            options: its limits and its metric.
            share_done: the share of the run that is done.
        """
        if not self._active:
            yield
            return
        self._limits = options
        with self._speaker.progress() as bar:
            self._bar = bar
            if bar:
                bar.add_task(f"{said_step(progress, options)}  first update", total=1.0)
            self._since = time.monotonic()
            self._left.start(share_done)
            self.pace.start()
            yield
        self._bar = None
        if self._board:
            self._board.close()

    def step(self, progress: Progress, share_done: float, n_tokens: int) -> None:
        """Moves the progress bar."""
        self._tokens += n_tokens
        self.pace.step(n_tokens)
        if self._bar is not None:
            words = [said_step(progress, self._limits)]
            if progress.token_sum:
                words.append(f"loss {progress.nll_sum / progress.token_sum:.3f}")
            if progress.best:
                words.append(f"best {progress.best[0].said(self._limits.metric)}")
            words.append(f"{self.pace.tokens_per_second:,.0f} tokens/s")
            left = self._left.at(share_done)
            words += [f"{clock(left)} left"] if math.isfinite(left) else []
            self._bar.update(
                self._bar.task_ids[0],
                completed=min(share_done, 1.0),
                description="  ".join(words),
            )

    def seconds_left(self, share_done: float) -> float:
        """How long the run goes on, about; NaN where nothing is known of it."""
        return self._left.at(share_done)

    def validating(self, progress: Progress) -> None:
        """Says on the progress bar that a validation goes on."""
        if self._bar is not None:
            words = f"{said_step(progress, self._limits)}  validating"
            self._bar.update(self._bar.task_ids[0], description=words)

    def resumed(self, progress: Progress) -> None:
        """Says where a training goes on, and cuts off what was logged after that point."""
        if not self._active:
            return
        self._speaker.say(f"continuing after step {progress.step:,}")
        self.cut_log(progress.log_bytes)

    def cut_log(self, size: int) -> None:
        """Cuts the log to its first `size` bytes: what comes after is trained and logged again."""
        if not self._active:
            return
        kept = self._log.read_bytes()[:size] if self._log.exists() else b""
        if len(kept) < size:
            self.warn(f"{self._log}: lines of earlier validations are missing; training goes on")
            kept = kept[: kept.rfind(b"\n") + 1]
        if self._log.exists():
            with writing(self._log):
                os.truncate(self._log, len(kept))  # written anew, it could be lost on the way

    def validation(
        self,
        progress: Progress,
        figures: Mapping[str, float],
        *,
        is_best: bool,
        often: bool = False,
    ) -> int:
        """Logs a validation and says it; where they come `often`, once a second: see `write_log`.

        Returns:
            The log's size in bytes afterwards.
        """
        tokens = progress.token_sum or math.nan  # none yet: weights to start from are validated
        entry = {
            "step": progress.step,
            "epoch": round(progress.epochs, 4),
            "minutes": round(progress.seconds / 60, 3),
            "train_loss": _or_none(progress.loss_sum / tokens),
            "train_nll": _or_none(progress.nll_sum / tokens),
            **{f"dev_{name}": _or_none(value) for name, value in figures.items()},
            "best": is_best,
            "skipped": progress.skipped,
        }
        self._unwritten += json.dumps(entry).encode() + b"\n"
        if not often or time.monotonic() - self._since >= _PAUSE:
            self.write_log()
            self._say_validation(progress, figures, progress.nll_sum / tokens, is_best=is_best)
        if self._board:
            for name, value in entry.items():
                self._board.add_scalar(
                    name, float("nan" if value is None else value), progress.step
                )
        self.pace.start()
        written = self._log.stat().st_size if self._log.exists() else 0
        return written + len(self._unwritten)

    def write_log(self) -> None:
        """Writes the lines of validations that came soon after one that was written."""
        if self._unwritten:
            with writing(self._log), self._log.open("ab") as file:
                file.write(self._unwritten)
                file.flush()
                os.fsync(file.fileno())
            self._unwritten = b""

    def _say_validation(
        self,
        progress: Progress,
        figures: Mapping[str, float],
        train_nll: float,
        *,
        is_best: bool,
    ) -> None:
        begun = math.isfinite(train_nll)
        speed = self._tokens / max(time.monotonic() - self._since, 1e-9)
        shown = "  ".join(
            f"{name} {_shown(name, value, figures)}" for name, value in figures.items()
        )
        self._speaker.say(
            f"step {progress.step:,}  epoch {progress.epochs:.1f}  {clock(progress.seconds)}  "
            f"{f'train {train_nll:.3f}  ' if begun else ''}dev: {shown}"
            f"{'  best yet' if is_best else ''}{f'  ({speed:,.0f} tokens/s)' if begun else ''}"
        )
        self._tokens, self._since = 0, time.monotonic()


def said_step(progress: Progress, limits: TrainingOptions) -> str:
    """Where a training stands on the way to its limits: `step 12/800`."""
    step = f"step {progress.step:,}"
    if limits.max_steps:
        return f"{step}/{limits.max_steps:,}"
    if limits.max_epochs:
        return f"{step}  epoch {progress.epochs:.1f}/{limits.max_epochs:g}"
    return f"{step}  {clock(progress.seconds)} of {limits.max_time}"


def _or_none(value: float) -> float | None:
    """JSON has no word for what is not a finite number."""
    return value if math.isfinite(value) else None


def _shown(name: str, value: float, figures: Mapping[str, float]) -> str:
    if name == "loss" and "perplexity" not in figures:  # which may be of a part of the loss
        return f"{value:.3f} (perplexity {math.exp(min(value, 50)):.2f})"
    return f"{value:.2f}" if abs(value) > 1 else f"{value:.4f}"  # a share needs its digits


def _summary_writer(folder: str) -> SummaryWriter:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise UsageError(
            "--tensorboard needs: pip install '.[tensorboard]' beside attn's pyproject.toml"
        ) from error
    return SummaryWriter(folder)
