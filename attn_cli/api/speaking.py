"""What a command would say on standard error, said to a program."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeAlias

from attn_cli.errors import DataError
from attn_cli.lines.notices import Notices
from attn_cli.lines.unusable import BadLines

if TYPE_CHECKING:
    import rich.progress

Say: TypeAlias = Callable[[str], None]


class AttnWarning(UserWarning):
    """What a user should know: a line that can't be used, or is long; an odd corpus; a note."""


class Voice:
    """Speaks to a program; a `train.monitor.Speaker`.

    Args:
        say: is told everything. None: warnings are Python's, and nothing else is said.

    Attributes:
        said: what holds for every call, and need not be said again.
    """

    def __init__(self, say: Say | None) -> None:
        self._say = say
        self.said: set[str] = set()

    def __reduce__(self) -> tuple[type[Voice], tuple[None]]:
        """To another process no function of the program goes along."""
        return Voice, (None,)

    def warn(self, text: str) -> None:
        """Says what a user must know."""
        if self._say is None:
            warnings.warn(text, AttnWarning, stacklevel=2)
        else:
            self._say(text)

    def say(self, text: str) -> None:
        """Says what a user likes to know."""
        if self._say is not None:
            self._say(text)

    def progress(self) -> contextlib.AbstractContextManager[rich.progress.Progress | None]:
        """No bar: nobody watches a program."""
        return contextlib.nullcontext()


class CallNotices(Notices):
    """What is said of the lines of a call; those that can't be used are answered by nothing.

    Args:
        voice: says it.
        alone: whether the lines are answered in this process, and by no others.
    """

    def __init__(self, voice: Voice, *, alone: bool) -> None:
        super().__init__(voice.warn, skip_bad=True, alone=alone)
        self.outcome = "answered with nothing"
        self._said = voice.said


class Refusal(BadLines):
    """Refuses the one line that is asked about where it can't be used."""

    def __init__(self, voice: Voice) -> None:
        super().__init__(voice.warn, skip_bad=False)

    def add_at(self, where: str, cause: str) -> None:
        """Raises DataError with the cause."""
        raise DataError(cause)
