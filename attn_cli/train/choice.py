"""`--processes auto`: threads of one process, or processes of a thread each, by what is faster.

A training begins in one process. Where it goes on for long enough, its first updates are timed;
then it goes back to where it began, others join it, and these updates are timed again. The choice
stands in the saved state, so that a training which continues does so in as many processes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from attn_cli.errors import AttnError
from attn_cli.memory import available_memory, used_memory
from attn_cli.train.exchange import LostProcessError
from attn_cli.train.monitor import Speaker
from attn_cli.train.processes import Processes
from attn_cli.train.progress import Progress
from attn_cli.train.team import Crew, Team
from attn_cli.wording import plural

_MOST = 8  # processes: with more, a batch has too few rows for each
_WORTHWHILE = 180.0  # seconds left, of which processes may save some and cost a dozen
_SKIPPED = 3  # updates of a trial, which are slower than the rest
_UPDATES, _SECONDS = 5, 6.0  # of a trial, both at least
_GAIN = 1.03  # what processes must gain to be worth their memory


@dataclass
class Trial:
    """Updates that are timed."""

    updates: int = 0
    tokens: int = 0
    seconds: float = 0.0

    def add(self, n_tokens: int, seconds: float) -> None:
        """Counts an update."""
        self.updates += 1
        if self.updates > _SKIPPED:
            self.tokens += n_tokens
            self.seconds += seconds

    @property
    def is_over(self) -> bool:
        """Whether enough is known."""
        return self.updates >= _SKIPPED + _UPDATES and self.seconds >= _SECONDS

    @property
    def rate(self) -> float:
        """Tokens a second."""
        return self.tokens / max(self.seconds, 1e-9)


class Chooser(Crew):
    """Rank 0's decision whether others are to train beside it.

    Args:
        threads: of this process, while it is alone.
        team: makes a team of so many processes.
        speaker: is told what was measured and chosen.
    """

    def __init__(self, threads: int, team: Callable[[int], Team], speaker: Speaker) -> None:
        self._threads = threads
        self._make = team
        self._speaker = speaker
        self._team: Team | None = None
        self._trial: Trial | None = None
        self._alone: Trial | None = None

    def assemble(self, processes: Processes, progress: Progress) -> Processes:
        """Takes up what was chosen before; where nothing was, the next updates are timed."""
        if progress.processes > 1:
            self._start(progress.processes)
        if not progress.processes and self._threads > 1:
            self._trial = Trial()
        if self._team is None:
            return processes
        try:
            return self._team.assemble(processes, progress)
        except AttnError as error:
            self._give_up(error)
            return processes.leave()

    def timed(self, n_tokens: int, seconds: float, seconds_left: float) -> None:
        """Is told of an update; starts others, or decides, when enough is known."""
        if self._trial is None:
            return
        self._trial.add(n_tokens, seconds)
        if not self._trial.is_over:
            return
        trial, self._trial = self._trial, None
        if self._alone is None:
            self._alone = trial
            size = min(self._threads, _MOST)
            if seconds_left > _WORTHWHILE and available_memory() > (size - 1) * used_memory():
                self._start(size)
        else:
            self._decide(self._alone.rate, trial.rate)

    @property
    def measures(self) -> bool:
        """Whether no choice was made."""
        return self._trial is not None

    @property
    def joins(self) -> bool:
        """Whether others are ready to join; those that fail to are given up."""
        if self._team is None or self._team.is_assembled:
            return False
        try:
            return self._team.is_ready
        except AttnError as error:
            self._give_up(error)
            return False

    def cause(self, lost: LostProcessError) -> Exception:
        """What the team says."""
        return lost if self._team is None else self._team.cause(lost)

    def close(self) -> None:
        """Ends the team."""
        if self._team is not None:
            self._team.close()
            self._team = None

    def _start(self, size: int) -> None:
        self._team = self._make(size)
        self._team.start()

    def _give_up(self, error: AttnError) -> None:
        self._speaker.warn(f"--processes auto: one process goes on: {error}")
        self._trial = None
        self.close()

    def _decide(self, alone: float, together: float) -> None:
        assert self._team is not None
        size = self._team.size
        self.verdict = size if together > _GAIN * alone else 1
        each = plural(max(1, self._threads // size), "thread")
        chosen = f"{size} processes" if self.verdict > 1 else "one process"
        self._speaker.say(
            f"--processes auto: {chosen}, as measured: one process of {self._threads} threads "
            f"{alone:,.0f} tokens/s, {size} of {each} {together:,.0f}"
        )
