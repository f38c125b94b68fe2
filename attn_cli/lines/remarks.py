"""What is said about lines that are answered: each by its place at first, then only counted."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

from attn_cli.wording import plural


class Remarks:
    """Names the first lines of each kind on stderr; `finish` tells how many more there were.

    Args:
        say: prints one line on stderr.
        shown: how many lines of a kind are named one by one.
    """

    def __init__(self, say: Callable[[str], None], *, shown: int = 10) -> None:
        self._say = say
        self._shown = shown
        self._counts: Counter[str] = Counter()
        self._hidden: set[str] = set()  # kinds of which some lines were not named

    def add(self, kind: str, where: str, text: str, *, shown: int | None = None) -> None:
        """Remarks something about a line.

        Args:
            kind: what holds for lines of this kind, in words that follow their number.
            where: the line's file and number.
            text: what is said about it.
            shown: how many of this kind are named; None: the usual number.
        """
        self._counts[kind] += 1
        if self._counts[kind] <= (self._shown if shown is None else shown):
            self._say(f"{where}: {text}")
            return
        self._hidden.add(kind)

    def finish(self) -> None:
        """Says how many lines of a kind there were, where not all of them were named."""
        for kind in self._counts:
            if kind in self._hidden:
                self._say(f"{plural(self._counts[kind], 'line')} {kind}")
