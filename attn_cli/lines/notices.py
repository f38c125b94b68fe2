"""What is said about lines, held back until its place in the stream has come.

Lines are read ahead and answered by several processes; what a user reads is in order all the same.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import TypeVar

from attn_cli.errors import AttnError
from attn_cli.lines.remarks import Remarks
from attn_cli.lines.unusable import BadLines
from attn_cli.workers import Crew, Feed, in_order

_T = TypeVar("_T")
_R = TypeVar("_R")


class _About(Enum):
    UNUSABLE = 1
    IN_PART = 2
    REMARK = 3
    ALL = 4


@dataclass(frozen=True, slots=True)
class Notice:
    """Something to be said: what it is about, where that stands, and the words."""

    about: _About
    where: str
    text: str
    kind: str = ""
    shown: int | None = None


class Notices(BadLines):
    """Names lines that can't be used, and tells of others, at once or when their turn has come.

    Args:
        say: prints one line on stderr.
        skip_bad: whether the user accepts the loss (`--skip-bad`).
        alone: whether this process answers all lines, whoever could help it.
    """

    def __init__(self, say: Callable[[str], None], *, skip_bad: bool, alone: bool = False) -> None:
        super().__init__(say, skip_bad=skip_bad)
        self._alone = alone
        self._print = say
        self._remarks = Remarks(say)
        self._said: set[str] = set()
        self._held: list[Notice] | None = None

    def add_at(self, where: str, cause: str) -> None:
        """See `BadLines.add_at`."""
        self._note(Notice(_About.UNUSABLE, where, cause))

    def add_in_part(self, where: str, cause: str) -> None:
        """See `BadLines.add_in_part`."""
        self._note(Notice(_About.IN_PART, where, cause))

    def remark(self, kind: str, where: str, text: str, *, shown: int | None = None) -> None:
        """Says something about a line that is answered; see `Remarks.add`."""
        self._note(Notice(_About.REMARK, where, text, kind, shown))

    def say(self, text: str) -> None:
        """Says something once, however many workers find it."""
        self._note(Notice(_About.ALL, "", text))

    def _note(self, notice: Notice) -> None:
        if self._held is None:
            self.tell([notice])
        else:
            self._held.append(notice)

    def tell(self, notices: Iterable[Notice]) -> None:
        """Says what was held."""
        for notice in notices:
            if notice.about is _About.REMARK:
                self._remarks.add(notice.kind, notice.where, notice.text, shown=notice.shown)
            elif notice.about is not _About.ALL:
                super().add_at(notice.where, notice.text)
                self.in_part += notice.about is _About.IN_PART
            elif notice.text not in self._said:
                self._said.add(notice.text)
                self._print(notice.text)

    def _take(self) -> list[Notice]:
        held, self._held = self._held or [], []
        return held

    def answered(
        self,
        items: Iterable[_T | None],
        answer: Callable[[_T], _R],
        feed: Feed,
        crew: Crew,
        shared: Sequence[object] = (),
    ) -> Iterator[_R]:
        """The answers to parts of a stream, in order, each after what is said of its lines.

        Args:
            items: the parts; what is noted while one is read is of it. None: see `in_order`.
            answer: what is noted in it is of its part.
            feed: what they are read from.
            crew: who answers.
            shared: what they hold, and all who answer have; see `in_order`.
        """
        left: list[Notice] = []  # of a part that could not be read to its end

        def noted() -> Iterator[tuple[_T, list[Notice]] | None]:
            try:
                for item in items:
                    yield None if item is None else (item, self._take())
            except Exception:
                left.extend(self._take())
                raise

        def work(part: tuple[_T, list[Notice]]) -> tuple[_R | AttnError, list[Notice]]:
            item, before = part
            try:
                result: _R | AttnError = answer(item)
            except AttnError as error:
                result = error
            return result, before + self._take()

        self._held = []
        try:
            crew = Crew() if self._alone else crew
            for result, notices in in_order(work, noted(), crew, feed, shared):
                self.tell(notices)
                if isinstance(result, AttnError):
                    raise result
                yield result
        finally:
            self._held = None
            self.tell(left)
        self._remarks.finish()
