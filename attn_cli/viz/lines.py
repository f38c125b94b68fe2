"""Lines -> maps: the loop that the sources of texts share."""

from __future__ import annotations

import dataclasses
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from attn_cli.lines.columns import Columns
from attn_cli.lines.picking import begin
from attn_cli.lines.reading import Line, LineReader, windows
from attn_cli.viz.job import AttendJob
from attn_cli.viz.maps import AttentionMap, LineMaps

MOST_PARTS = 16  # of a long line that are drawn
_LONGEST = 50_000  # characters
_WINDOW = 256  # lines


@dataclass(frozen=True)
class Example:
    """A line's columns.

    Attributes:
        number: the line's.
        fields: the columns that are read; none of a blank or unusable line.
        name: the file's.
        folder: where relative names of files in it start.
    """

    number: int
    fields: list[str]
    name: str
    folder: str


class LineSource(ABC):
    """Answers each line by itself; a `maps.MapSource`.

    Attributes:
        heads: see `maps.MapSource`.
        n_fields: columns that are read; 0: all of them.
        by_sentence: whether a list in a JSON line is the sentences of a document.
    """

    heads: Mapping[str, Sequence[int]]
    n_fields: int
    by_sentence: bool = False

    def __init__(self, job: AttendJob) -> None:
        self.job = job

    @abstractmethod
    def answers(
        self, examples: Sequence[Example]
    ) -> Iterator[tuple[tuple[str, ...], list[AttentionMap]]]:
        """The texts and the maps of each example, in order; none of one that can't be drawn."""

    def problem(self, fields: list[str]) -> str | None:
        """What is wrong with a line's columns, if anything is."""
        return None

    def refuse(self, example: Example, cause: str) -> None:
        """Says why a line can't be drawn."""
        self.job.bad.add(example.name, example.number, cause)

    def say_parts(self, example: Example, count: int) -> None:
        """Says that a line is drawn in parts, and if some are left out."""
        if count > 1:
            drawn = f"in {count} parts" if count <= MOST_PARTS else f"{MOST_PARTS} of {count} parts"
            self.job.say(f"{example.name}:{example.number}: long line, drawn {drawn}")

    def lines(self, path: str) -> Iterator[list[LineMaps]]:
        """See `maps.MapSource`."""
        reader = LineReader(path)
        columns = Columns.parse(self.job.stream.columns, self.n_fields)
        columns = dataclasses.replace(columns, spread=not self.n_fields, apart=self.by_sentence)
        for window in windows(reader, _WINDOW):
            if window[0].number == 1:
                columns, is_header = begin(columns, window[0], reader.name)
                window = window[1:] if is_header else window
            examples = [self._example(line, columns, reader) for line in window]
            found = self.answers([example for example in examples if example.fields])
            for example in examples:
                texts, maps = next(found) if example.fields else ((), [])
                yield [LineMaps(example.number, texts, tuple(maps))]

    def _example(self, line: Line, columns: Columns, reader: LineReader) -> Example:
        blank = Example(line.number, [], reader.name, reader.folder)
        if not line.error and not line.text.strip():
            return blank
        picked = line.error or columns.pick(line.text)
        if not isinstance(picked, str):
            fields = picked[0][: self.n_fields or None]
            longest = max(map(len, fields))
            problem = self.problem(fields)
            if longest > _LONGEST:
                problem = f"longer than {_LONGEST:,} characters: too much to draw"
            if not problem:
                return dataclasses.replace(blank, fields=fields if any(fields) else [])
            picked = problem
        self.refuse(blank, picked)
        return blank
