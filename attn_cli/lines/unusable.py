"""Lines that can't be used: named, counted, and never in the way of the others."""

from __future__ import annotations

from collections.abc import Callable

from attn_cli.errors import DataError
from attn_cli.wording import plural


class BadLines:
    """Names the lines that can't be used on stderr, the first few of them, and counts them all.

    Args:
        say: prints one line on stderr.
        skip_bad: whether the user accepts the loss (`--skip-bad`).
        shown: how many are named one by one.

    Attributes:
        count: how many there were.
        noun: what they are called.
        outcome: what becomes of one that a model was to answer.
        in_part: how many of them are answered all the same, with less than was asked for.
    """

    def __init__(self, say: Callable[[str], None], *, skip_bad: bool, shown: int = 10) -> None:
        self.count = 0
        self.in_part = 0
        self.noun = "line"
        self.outcome = "answered with an empty line"
        self._say = say
        self._skip_bad = skip_bad
        self._shown = shown

    @property
    def accepts(self) -> bool:
        """Whether lines that can't be used are accepted."""
        return self._skip_bad

    def add(self, name: str, number: int, cause: str) -> None:
        """Notes that line `number` of `name` can't be used because of `cause`."""
        self.add_at(f"{name}:{number}", cause)

    def add_at(self, where: str, cause: str) -> None:
        """Notes what can't be used at a place that is not a line: a question of a JSON file."""
        self.count += 1
        if self.count <= self._shown:
            self._say(f"{where}: {cause}")
        elif self.count == self._shown + 1:
            self._say(f"further unusable {self.noun}s are only counted")

    def add_in_part(self, where: str, cause: str) -> None:
        """Notes that what stands there is answered with less than was asked for."""
        self.add_at(where, cause)
        self.in_part += 1

    def finish(self, outcome: str, refusal: str = "") -> None:
        """Ends the stream: says the count, and refuses unless the loss was accepted.

        Args:
            outcome: what became of the lines, e.g. "answered with an empty line".
            refusal: what follows where the loss is not accepted, if that is something else.

        Raises:
            DataError: some lines were unusable and `--skip-bad` was not given.
        """
        if not self.count:
            return
        counted = plural(self.count, f"unusable {self.noun}")
        if self.in_part == self.count:
            outcome = "answered in part"
        elif self.in_part:
            outcome = f"{outcome}, {self.in_part:,} of them in part"
        if not self._skip_bad:
            remedy = "--skip-bad leaves them out" if refusal else "--skip-bad accepts this"
            raise DataError(f"{counted}: {refusal or outcome} ({remedy})")
        self._say(f"{counted}: {outcome}")


class HeldBadLines(BadLines):
    """The same, of a file that may be wrong as a whole: what is wrong with every line is said once.

    Names are held back while no line could be used and all have the same cause.

    Args:
        say: prints one line on stderr.
        remedy: the cause of every line -> what to do about it, if that is known.
        skip_bad: whether the user accepts the loss (`--skip-bad`).
        shown: how many are named one by one.
    """

    def __init__(
        self,
        say: Callable[[str], None],
        remedy: Callable[[str], str],
        *,
        skip_bad: bool,
        shown: int = 10,
    ) -> None:
        super().__init__(say, skip_bad=skip_bad, shown=shown)
        self._remedy = remedy
        self._holding = True
        self._held: list[str] = []  # where; as many as may be named, and one
        self._n_held = 0
        self._cause = ""

    @property
    def total(self) -> int:
        """How many there were, those held back too."""
        return self.count + (self._n_held if self._holding else 0)

    def add_at(self, where: str, cause: str) -> None:
        """Notes what can't be used at a place that is not a line: a question of a JSON file."""
        if self._holding and self._n_held and cause != self._cause:
            self.used()
        if not self._holding:
            super().add_at(where, cause)
            return
        self._cause = cause
        self._n_held += 1
        if len(self._held) <= self._shown:
            self._held.append(where)

    def used(self) -> None:
        """Notes that a line could be used: those that could not are named from now on."""
        if not self._holding:
            return
        self._holding = False
        for where in self._held:
            super().add_at(where, self._cause)
        self.count += self._n_held - len(self._held)

    def finish(self, outcome: str, refusal: str = "") -> None:
        """Ends the stream; see `BadLines.finish`.

        Raises:
            DataError: some lines were unusable and `--skip-bad` was not given.
        """
        remedy = self._remedy(self._cause)
        if self._holding and (self._n_held > 1 or (self._n_held and remedy)):
            said = f"{self._held[0]}: {self._cause}"
            if self._n_held > 1:
                said += f", in this and all other lines ({self._n_held:,})"
            self._holding, self.count = False, self._n_held
            if not self._skip_bad:
                raise DataError(f"{said}; {remedy}" if remedy else said)
            self._say(f"{said}; {remedy}" if remedy else said)
        self.used()
        super().finish(outcome, refusal)
