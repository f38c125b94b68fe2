"""`--processes auto`: threads of one process, or processes of a thread each, by what is faster.

A training begins in one process. Where it goes on for long enough, some updates are timed; then
others join it, for as many; then it is alone again, as many a processor slows down in its first
minute of work, which would speak for whoever is timed first. Before each change but that one, and
before what is chosen begins, the training goes back to where it began, so that the choice alone
decides what is learnt. It stands in the saved state: a training which continues does so in as many
processes.
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
_WORTHWHILE = 300.0  # seconds left, of which processes may save some and cost a score
_SKIPPED = 3  # updates of a trial, which are slower than the rest
_UPDATES, _SECONDS = 5, 6.0  # of a trial, both at least
_GAIN = 1.03  # what processes must gain to be worth their memory


@dataclass
class Trial:
    """Updates that are timed.

    Attributes:
        processes: that make them.
    """

    processes: int
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
        self._done: list[Trial] = []
        self._chosen = 0
        self._waits = False

    def assemble(self, processes: Processes, progress: Progress) -> Processes:
        """Takes up what was chosen; where nothing was, the next updates are timed."""
        if progress.processes > 1:
            self._start(progress.processes)
        self._waits = False
        if self._team is not None:
            try:
                processes = self._team.assemble(processes, progress)
            except AttnError as error:
                self._give_up(error)
                return processes.leave()
        if not (progress.processes or self._chosen) and self._threads > 1:
            self._trial = Trial(processes.world)
        self.verdict = self._chosen
        return processes

    def part(self) -> None:
        """Times this process alone once more."""
        self.verdict, self._trial = 0, Trial(1)

    def timed(self, n_tokens: int, seconds: float, seconds_left: float) -> None:
        """Is told of an update; starts others, or decides, when enough is known."""
        if self._trial is None:
            return
        self._trial.add(n_tokens, seconds)
        if not self._trial.is_over:
            return
        self._done.append(self._trial)
        self._trial = None
        if len(self._done) == 1:
            size = min(self._threads, _MOST)
            if seconds_left > _WORTHWHILE and available_memory() > (size - 1) * used_memory():
                self._start(size)
        elif len(self._done) == 2:
            self.verdict = 1  # for now
        else:
            self._decide()

    @property
    def measures(self) -> bool:
        """Whether no choice was made."""
        return self._trial is not None

    @property
    def joins(self) -> bool:
        """Whether what is to begin can: others that are to join are ready, or given up."""
        try:
            return self._waits and (self._team is None or self._team.is_ready)
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
        self._waits = True

    def _give_up(self, error: AttnError) -> None:
        self._speaker.warn(f"--processes auto: one process goes on: {error}")
        self._trial, self._waits = None, False
        self.close()

    def _decide(self) -> None:
        assert self._team is not None
        size = self._team.size
        alone, together = self._rate(1), self._rate(size)
        several = together > _GAIN * alone
        each = plural(max(1, self._threads // size), "thread")
        chosen = f"{size} processes" if several else "one process"
        self._speaker.say(
            f"--processes auto: {chosen}, as measured: one process of {self._threads} threads "
            f"{alone:,.0f} tokens/s, {size} of {each} {together:,.0f}"
        )
        self._chosen, self._waits = size if several else 1, True
        if not several:
            self.close()

    def _rate(self, processes: int) -> float:
        """Tokens a second."""
        trials = [trial for trial in self._done if trial.processes == processes]
        seconds = sum(trial.seconds for trial in trials)
        return sum(trial.tokens for trial in trials) / max(seconds, 1e-9)
