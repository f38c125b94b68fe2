"""One line in, one line out: the loop of the commands that answer each line by itself."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from attn_cli.cli.console import Console
from attn_cli.config.runtime import StreamOptions
from attn_cli.errors import DataError
from attn_cli.lines.columns import Columns
from attn_cli.lines.picking import begin
from attn_cli.lines.reading import Line, LineReader, windows
from attn_cli.lines.unusable import BadLines
from attn_cli.lines.writing import LineWriter, passed_through

Answer = Callable[[Sequence[str]], Sequence[str | DataError]]


def answer_lines(
    files: Sequence[str],
    answer: Answer,
    stream: StreamOptions,
    console: Console,
    *,
    window_size: int = 4096,
) -> None:
    """Answers the first picked column of every line; further columns pass through unchanged.

    Args:
        files: paths; `-`, or none at all, is standard input.
        answer: gives one answer for each of some texts: a line without its end, or the error that
            tells why the text can't be used.
        stream: the columns, and whether unusable lines are accepted.
        console: is told of unusable lines.
        window_size: the most lines that are answered together.

    Raises:
        DataError: a file can't be read, or lines were unusable and `--skip-bad` was not given.
    """
    bad = BadLines(console.warn, skip_bad=stream.skip_bad)
    columns = Columns.parse(stream.columns, 1)
    writer = LineWriter()
    for path in files or ["-"]:
        reader = LineReader(path)
        job = _FileAnswer(reader.name, answer, columns, bad, writer)
        for window in windows(reader, window_size):
            job.write(window)
        reader.close()
    bad.finish("answered with an empty result")


class _FileAnswer:
    """Answers the windows of one file."""

    def __init__(
        self, name: str, answer: Answer, columns: Columns, bad: BadLines, writer: LineWriter
    ) -> None:
        self._name = name
        self._answer = answer
        self._columns = columns
        self._bad = bad
        self._writer = writer

    def write(self, window: list[Line]) -> None:
        """Writes one line for each line of the window (none for a header), and flushes."""
        if window[0].number == 1:
            self._columns, is_header = begin(self._columns, window[0], self._name)
            window = window[1:] if is_header else window
        rows = [self._fields(line) for line in window]
        results = self._answer([fields[0] for fields in rows])
        for line, fields, result in zip(window, rows, results, strict=True):
            if isinstance(result, DataError):
                self._bad.add(self._name, line.number, str(result))
                result = ""
            self._writer.write(result, *map(passed_through, fields[1:]))
        self._writer.flush()

    def _fields(self, line: Line) -> list[str]:
        """The text to answer and the columns behind it; blank if the line can't be used."""
        if line.error:
            self._bad.add(self._name, line.number, line.error)
            return [""]
        if "\t" not in line.text and self._columns.indices == (0,):
            return [line.text]
        picked = self._columns.pick(line.text)
        if isinstance(picked, str):
            if line.text:  # a blank line is a blank line, however many columns are asked for
                self._bad.add(self._name, line.number, picked)
            return [""]
        return [*picked[0], *picked[1]]
