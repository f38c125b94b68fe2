"""How fast updates go, and how long the rest of a run takes."""

from __future__ import annotations

import math
import time
from collections import deque

from attn_cli.config import parse_duration
from attn_cli.config.training import TrainingOptions
from attn_cli.train.progress import Progress
from attn_cli.wording import plural

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


def forecast(options: TrainingOptions, progress: Progress, pace: Pace) -> list[str]:
    """How many updates a run has and how long it takes, after the first few of them.

    Args:
        options: the limits of the run.
        progress: where those few have come.
        pace: how fast they went.
    """
    step = pace.seconds_per_step
    ends = [math.inf if options.max_steps is None else float(options.max_steps)]
    if options.max_epochs:
        ends.append(options.max_epochs * progress.step / max(progress.epochs, 1e-9))
    updates = min(ends)
    validations = "validations"
    if options.validate_every and math.isfinite(updates):
        validations = plural(math.ceil(updates / options.validate_every), "validation")
    elif not options.validate_every:
        validations = "up to 10 validations, which take a tenth of it at most"
    limit = parse_duration(options.max_time) if options.max_time else math.inf
    if limit < updates * step:
        updates, seconds = limit / step, limit
    else:
        seconds = updates * step
    if options.validate_every:
        one = progress.validation_seconds / max(progress.validations, 1)
        seconds = min(limit, seconds + one * updates / options.validate_every)
    elif seconds < limit:
        seconds = min(limit, seconds / 0.9)
    return [
        f"about {max(1, round(updates)):,} updates of {step:.2f} s ({pace.tokens_per_second:,.0f} "
        f"tokens/s): {clock(seconds)}, with {validations}"
    ]


def clock(seconds: float) -> str:
    """`3:07`, or `2:03:07`."""
    hours, rest = divmod(int(seconds), 3600)
    minutes, rest = divmod(rest, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
