"""Everything said goes to stderr; a progress bar only where stderr is a terminal."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from attn_cli.config.runtime import SpeechOptions
from attn_cli.threads import rank

if TYPE_CHECKING:
    from rich.progress import Progress


_WORDS = 80  # columns that a training's words may take
_SHORTEST = 5  # columns of a bar that is worth drawing


class Console:
    """Speaks on stderr as `--quiet` asks."""

    def __init__(self, speech: SpeechOptions) -> None:
        self._speech = speech

    @property
    def is_terminal(self) -> bool:
        """Whether somebody watches: a progress bar makes sense."""
        return sys.stderr is not None and sys.stderr.isatty() and not self._speech.quiet

    def warn(self, text: str) -> None:
        """Says what a user must know, even with `--quiet`."""
        _print(f"attn: {text}")

    def say(self, text: str) -> None:
        """Says what a user likes to know."""
        if not self._speech.quiet:
            _print(text)

    @contextmanager
    def progress(self) -> Iterator[Progress | None]:
        """A rich progress bar on a terminal, None elsewhere."""
        if not self.is_terminal:
            yield None
            return
        from rich.console import Console as RichConsole
        from rich.progress import BarColumn, Progress, TextColumn

        console = RichConsole(stderr=True)
        words = TextColumn("{task.description}", markup=False)
        room = console.width - _WORDS  # what is said goes before what is drawn
        columns = (words, BarColumn(min(room, 40))) if room >= _SHORTEST else (words,)
        with Progress(*columns, console=console, transient=True) as bar:
            yield bar


def _print(text: str) -> None:
    """Says a line; a reader of stderr that has gone away must not end a night's training."""
    if rank():  # what it finds, rank 0 says
        return
    with suppress(OSError, ValueError):
        print(text, file=sys.stderr, flush=True)
