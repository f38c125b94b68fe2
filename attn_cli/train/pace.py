"""How fast updates go, and how long the rest of a run takes."""

from __future__ import annotations

import math
import time
from collections import deque

from attn_cli.config import parse_duration
from attn_cli.config.training import TrainingOptions
from attn_cli.train.progress import Progress
from attn_cli.wording import plural

VALIDATIONS = 10  # a run, where --validate-every does not say otherwise,
VALIDATIONS_SHARE = 0.1  # and no more than take this part of it
_RECENT = 50  # updates


class Pace:
    """The speed of the last updates, validations not counted."""

    def __init__(self) -> None:
        self._recent: deque[tuple[float, int]] = deque(maxlen=_RECENT)  # seconds, tokens
        self._since = time.monotonic()

    def start(self) -> None:
        """An update begins now."""
        self._since = time.monotonic()

    def step(self, n_tokens: int) -> None:
        """An update has ended, and the next one begins."""
        now = time.monotonic()
        self._recent.append((now - self._since, n_tokens))
        self._since = now

    @property
    def seconds_per_step(self) -> float:
        """Of the last updates; the first one, which is slower, counts where it is the only one."""
        steps = self._steps()
        return sum(seconds for seconds, _ in steps) / len(steps) if steps else math.nan

    @property
    def tokens_per_second(self) -> float:
        """Of the same updates."""
        steps = self._steps()
        seconds = sum(seconds for seconds, _ in steps)
        return sum(tokens for _, tokens in steps) / max(seconds, 1e-9) if steps else math.nan

    def _steps(self) -> list[tuple[float, int]]:
        steps = list(self._recent)
        return steps[1:] if 1 < len(steps) < _RECENT else steps


class TimeLeft:
    """How long a run goes on, from the share of it that was done since `start`."""

    def __init__(self) -> None:
        self._began: tuple[float, float] | None = None  # the time, and the share done by then

    def start(self, share_done: float) -> None:
        """The run goes on from here."""
        self._began = time.monotonic(), share_done

    def at(self, share_done: float) -> float:
        """Seconds left, validations included as they came so far; NaN before the first update."""
        if self._began is None or share_done <= self._began[1]:
            return math.nan
        since, share = self._began
        elapsed = time.monotonic() - since
        return max(0.0, elapsed * (1 - share_done) / (share_done - share))


def forecast(
    options: TrainingOptions, progress: Progress, pace: Pace, validation_epochs: float
) -> list[str]:
    """How many updates a run has and how long it takes, after the first few of them.

    Args:
        options: the limits of the run.
        progress: where those few have come, and how long the validation after them took.
        pace: how fast they went.
        validation_epochs: see `Training`; a validation of weights that have hardly learnt may take
            less than later ones, so that the longer one of estimate and measurement counts.
    """
    step = pace.seconds_per_step
    a_pass = progress.step / max(progress.epochs, 1e-9)
    ends = [math.inf if options.max_steps is None else float(options.max_steps)]
    if options.max_epochs:
        ends.append(options.max_epochs * a_pass)
    updates = min(ends)
    limit = parse_duration(options.max_time) if options.max_time else math.inf
    measured = progress.validation_seconds / max(progress.validations, 1)
    one = max(measured, validation_epochs * a_pass * step)
    if limit < updates * step:
        updates, seconds = limit / step, limit
        validations = f"validations of {one:.1f} s, which take a tenth of it at most"
    else:
        count = _validations(options, updates, updates / a_pass, validation_epochs)
        seconds = min(limit, updates * step + count * one)
        validations = f"{plural(count, 'validation')} of {one:.1f} s"
    if options.validate_every:
        count = math.ceil(updates / options.validate_every)
        validations = f"{plural(count, 'validation')} of {one:.1f} s"
    return [
        f"about {max(1, round(updates)):,} updates of {step:.2f} s ({pace.tokens_per_second:,.0f} "
        f"tokens/s): {clock(seconds)}, with {validations}"
    ]


def _validations(
    options: TrainingOptions, updates: float, epochs: float, validation_epochs: float
) -> int:
    """How many a run has that updates or passes end."""
    if options.validate_every:
        return math.ceil(updates / options.validate_every)
    return max(1, int(min(VALIDATIONS, VALIDATIONS_SHARE * epochs / max(validation_epochs, 1e-9))))


def clock(seconds: float) -> str:
    """`3:07`, or `2:03:07`."""
    hours, rest = divmod(int(seconds), 3600)
    minutes, rest = divmod(rest, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
