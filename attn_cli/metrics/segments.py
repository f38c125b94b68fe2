"""From files to segments: TSV with references in it, or parallel files."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from attn_cli.errors import UsageError
from attn_cli.metrics.base import Segment
from attn_cli.text import BadLines, Columns, Line, LineReader, zip_lines


@dataclass(frozen=True)
class SegmentFiles:
    """Where hypotheses, references and a baseline come from.

    Without reference files the hypothesis file is TSV: hypothesis, reference(s). With them, all
    files are parallel, and a line is a text as it stands. The baseline is read as the hypothesis
    is: from the same column.

    Attributes:
        hypothesis: a path, or `-`.
        references: paths of reference files, if any.
        baseline: path of another system's hypotheses, if any.
        columns: hypothesis and reference columns of the TSV; with reference files the one column
            that is the text in every file.
    """

    hypothesis: str
    references: tuple[str, ...] = ()
    baseline: str | None = None
    columns: str | None = None


class SegmentReader:
    """Iterates over the segments of `SegmentFiles`, one for each line; None for an unusable line.

    Raises:
        UsageError: impossible columns, or standard input named twice.
        DataError: a file can't be read, a header lacks a column, or lengths differ.
    """

    def __init__(self, files: SegmentFiles, bad: BadLines) -> None:
        paths = [files.hypothesis, *files.references]
        paths += [files.baseline] if files.baseline is not None else []
        if paths.count("-") > 1:
            raise UsageError("standard input can be only one of hypothesis, reference and baseline")
        self._files = files
        self._bad = bad
        self._columns = self._plan(len(paths))
        self._readers = [LineReader(path) for path in paths]

    def ready(self) -> bool:
        """Whether the next hypothesis can be read without waiting."""
        return self._readers[0].ready()

    def __iter__(self) -> Iterator[Segment | None]:
        columns = self._columns
        for row in zip_lines(self._readers):
            if row[0].number == 1 and any(picked and picked.has_header for picked in columns):
                columns = self._read_headers(row)
            else:
                yield self._segment(row, columns)

    def _plan(self, n_files: int) -> list[Columns | None]:
        """The columns of each file; None where a whole line is the text."""
        files = self._files
        if files.references:
            columns = Columns.parse(files.columns, 1) if files.columns else None
            if columns and len(columns.indices or columns.names) > 1:
                raise UsageError(
                    f"--columns {files.columns}: with --ref one column is the text in every file"
                )
            return [columns] * n_files
        both = Columns.parse(files.columns, 2)
        plan: list[Columns | None] = [both, Columns(both.indices[:1], both.names[:1])]
        return plan[:n_files]

    def _read_headers(self, row: Sequence[Line]) -> list[Columns | None]:
        return [
            columns and columns.read_header(line, reader.name)
            for columns, line, reader in zip(self._columns, row, self._readers, strict=True)
        ]

    def _segment(self, row: Sequence[Line], columns: list[Columns | None]) -> Segment | None:
        """The lines of one row as a segment; None, and a word on stderr, if one is unusable."""
        texts: list[list[str]] = []
        for line, reader, picked in zip(row, self._readers, columns, strict=True):
            fields = self._fields(line, picked, first=not texts)
            if isinstance(fields, str):
                self._bad.add(reader.name, line.number, fields)
                return None
            texts.append(fields)
        has_baseline = self._files.baseline is not None
        baseline = texts.pop()[0] if has_baseline else ""
        hypothesis, *references = [field for fields in texts for field in fields]
        return Segment(hypothesis, tuple(references), baseline)

    def _fields(self, line: Line, columns: Columns | None, *, first: bool) -> list[str] | str:
        """The wanted texts of one file's line, or what is wrong with it."""
        if line.error:
            return line.error
        if columns is None:
            return [line.text]
        fields = columns.pick(line.text)
        if isinstance(fields, str):
            return fields
        picked, others = fields
        # Without --columns all further columns of the TSV are references.
        every = first and not self._files.columns and not self._files.references
        return picked + others if every else picked
