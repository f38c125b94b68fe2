"""The tab-separated columns of a line that a command works on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from attn_cli.config import nearest
from attn_cli.errors import DataError, UsageError
from attn_cli.lines.reading import Line
from attn_cli.wording import plural

SENTENCE_MARK = "\x1e"  # ends each text of a list, where a column's texts stay apart


@dataclass(frozen=True)
class Columns:
    """Which tab-separated columns a command works on, and in which order.

    Attributes:
        indices: the picked columns, from 0; empty until `read_header` where they are names; all
            columns where both are empty.
        names: their names, if they were given by name: then line 1 is a header.
        spread: whether a list in a JSON line is as many columns (see `picking`).
        apart: whether the texts of a list in a JSON line stay apart: the sentences of a document,
            each with `SENTENCE_MARK` behind it.
    """

    indices: tuple[int, ...]
    names: tuple[str, ...] = ()
    spread: bool = False
    apart: bool = False

    @classmethod
    def parse(cls, spec: str | None, count: int) -> Columns:
        """Reads `2,1` or `text,label`; without a spec the first `count` columns in order, 0: all.

        Raises:
            UsageError: fewer columns than the command needs, a repeated one, or column 0.
        """
        if not spec:
            return cls(tuple(range(count)))
        parts = tuple(part.strip() for part in spec.split(","))
        if len(parts) < count:
            raise UsageError(f"--columns {spec}: {count} columns are needed, {len(parts)} given")
        if len(set(parts)) < len(parts) or "" in parts:
            raise UsageError(f"--columns {spec}: name each column once")
        if not all(part.isascii() and part.isdigit() for part in parts):
            return cls((), parts)
        if "0" in parts:
            raise UsageError(f"--columns {spec}: columns are counted from 1")
        return cls(tuple(int(part) - 1 for part in parts))

    @property
    def has_header(self) -> bool:
        """Whether line 1 names the columns."""
        return bool(self.names)

    def read_header(self, line: Line, name: str) -> Columns:
        """The same columns by number, looked up in the header line of file `name`.

        Raises:
            DataError: a column is not in the header, or stands there twice.
        """
        header = line.text.split("\t")
        where = f"{name}:{line.number}"
        return Columns(tuple(place_in(header, wanted, where) for wanted in self.names), self.names)

    def pick(self, text: str) -> tuple[list[str], list[str]] | str:
        """Splits a line into the picked columns and the others; or says why it can't."""
        if self.indices == (0,) and "\t" not in text:
            return [text], []
        fields = text.split("\t")
        if not self.indices:
            return fields, []
        if max(self.indices) >= len(fields):
            return f"{plural(len(fields), 'column')}, but column {max(self.indices) + 1} is needed"
        picked = [fields[index] for index in self.indices]
        return picked, [field for i, field in enumerate(fields) if i not in self.indices]

    def others(self, text: str, count: int) -> list[str]:
        """What of a line passes through where a picked column is missing, or can't be read.

        Args:
            text: the line.
            count: how many of the picked columns are read, from the first; 0: all of them.
        """
        fields = text.split("\t")
        if not self.indices:
            return fields[count:] if count else []
        unread = [i for i in self.indices[count:] if i < len(fields)] if count else []
        behind = [i for i in range(len(fields)) if i not in self.indices]
        return [fields[i] for i in (*unread, *behind)]


def place_in(header: Sequence[str], name: str, where: str) -> int:
    """Which column of a header has a name, from 0.

    Args:
        header: the names.
        name: the one that is wanted.
        where: what messages call the header's line.

    Raises:
        DataError: none has it, or several have.
    """
    places = [place for place, known in enumerate(header) if known == name]
    if not places:
        known = ", ".join(header)
        raise DataError(
            f"{where}: no column {name!r}{nearest(name, header)} in the header: {known}"
        )
    if len(places) > 1:
        numbers = " and ".join(str(place + 1) for place in places)
        raise DataError(
            f"{where}: columns {numbers} are both called {name!r}; give each a name of its own"
        )
    return places[0]
