"""Lines -> maps: the loop that the sources of texts share."""

from __future__ import annotations

import dataclasses
from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence

from attn_cli.lines.columns import Columns
from attn_cli.lines.reading import LineReader
from attn_cli.lines.rows import Row, Rows
from attn_cli.viz.job import AttendJob, MapSource
from attn_cli.viz.maps import AttentionMap, LineMaps

MOST_PARTS = 16  # of a long line that are drawn
_LONGEST = 50_000  # characters
WINDOW = 256  # lines
MISSED = 0.05  # of a probability, by which attributions may miss its change and none is told
Drawn = tuple[tuple[str, ...], list[AttentionMap]]  # the texts and the maps of a line


class LineSource(MapSource):
    """Answers each line by itself.

    Attributes:
        heads: see `MapSource`.
        n_fields: columns that are read; 0: all of them.
        by_sentence: whether a list in a JSON line is the sentences of a document.
    """

    heads: Mapping[str, Sequence[int]]
    n_fields: int
    by_sentence: bool = False

    def __init__(self, job: AttendJob) -> None:
        self.job = job

    @abstractmethod
    def answers(self, rows: Sequence[Row]) -> Iterator[Drawn]:
        """The texts and the maps of each row, in order; none of one that can't be drawn."""

    def problem(self, fields: list[str]) -> str | None:
        """What is wrong with a line's columns, if anything is."""
        return None

    def say_parts(self, row: Row, count: int) -> None:
        """Says that a line is drawn in parts, and if some are left out."""
        if count > 1:
            drawn = f"in {count} parts" if count <= MOST_PARTS else f"{MOST_PARTS} of {count} parts"
            self.job.say(f"{row.where}: long line, drawn {drawn} (--max-input)")

    def say_missed(self, row: Row, gap: float) -> None:
        """Says if attributions do not sum to what the text changes, by how much."""
        if gap > MISSED:
            self.job.say(
                f"{row.where}: attributions miss the change that they should sum to by {gap:.2f}: "
                "on the way from an empty text to this one the probability turns too sharply"
            )

    @property
    def reads(self) -> tuple[object, ...]:
        """Equal for sources that can answer the same rows."""
        return self.n_fields, self.by_sentence

    def read(self, path: str) -> Iterator[list[Row]]:
        """The rows of an input that are drawn, some at a time.

        Raises:
            DataError: the input can't be read.
        """
        return self._rows_of(LineReader(path))

    def _rows_of(self, reader: LineReader) -> Iterator[list[Row]]:
        columns = Columns.parse(self.job.stream.columns, self.n_fields)
        columns = dataclasses.replace(columns, spread=not self.n_fields, apart=self.by_sentence)
        return self.windows(self.rows(reader, columns))

    def lines(self, path: str) -> Iterator[list[LineMaps]]:
        """See `MapSource`."""
        yield from self.lines_of(LineReader(path))

    def lines_of(self, reader: LineReader) -> Iterator[list[LineMaps]]:
        """The maps of every line of a reader."""
        for window in self._rows_of(reader):
            answers = self.answers([row for row in window if any(row.fields)])
            for row in window:
                texts, maps = next(answers) if any(row.fields) else ((), [])
                yield [LineMaps(row.number, texts, tuple(maps))]

    def rows(self, reader: LineReader, columns: Columns) -> Rows:
        """The rows of an input."""
        return Rows(
            reader,
            columns,
            self.job.bad,
            count=self.n_fields,
            check=self.check,
        )

    def windows(self, rows: Rows) -> Iterator[list[Row]]:
        """The rows that are drawn, some at a time."""
        return rows.windows(WINDOW)

    def check(self, fields: list[str]) -> str | None:
        """What is wrong with a line's columns, or too much to draw, if anything is."""
        if max(map(len, fields), default=0) > _LONGEST:
            return f"longer than {_LONGEST:,} characters: too much to draw"
        return self.problem(fields)
