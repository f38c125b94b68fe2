"""The weights to use: on disk at once, or within a second where better ones come often."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

from torch import Tensor

_PAUSE = 1.0  # seconds between two writes, where better weights come often

Write = Callable[[Mapping[str, Tensor], Mapping[str, object]], None]


class KeptWeights:
    """Writes the best weights so far; a copy of them waits in memory where they come often.

    Writing them safely takes longer than an update of a small model.

    Args:
        write: puts weights, and what is told of them, into the model directory.
        often: whether better ones may come at every update.
    """

    def __init__(self, write: Write, *, often: bool) -> None:
        self._write = write
        self._often = often
        self._waiting: tuple[Mapping[str, Tensor], Mapping[str, object]] | None = None
        self._written_at = time.monotonic()

    def keep(self, weights: Mapping[str, Tensor], meta: Mapping[str, object]) -> None:
        """Takes weights that are better than all before."""
        if not self._often:
            self._write(weights, meta)
            return
        copies = {name: weight.detach().clone() for name, weight in weights.items()}
        self._waiting = copies, meta

    def write_in_time(self) -> None:
        """Writes what has waited long enough; to be called after every validation."""
        if self._waiting and time.monotonic() - self._written_at >= _PAUSE:
            self.write()

    def write(self) -> None:
        """Writes what waits."""
        if self._waiting:
            waiting, self._waiting = self._waiting, None
            self._write(*waiting)
            self._written_at = time.monotonic()
