"""From files to segments: TSV with references in it, or parallel files."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

from attn_cli.errors import DataError, UsageError
from attn_cli.lines.columns import Columns
from attn_cli.lines.picking import begin
from attn_cli.lines.reading import Line, LineReader, zip_lines
from attn_cli.lines.unusable import BadLines
from attn_cli.metrics.base import Segment
from attn_cli.metrics.labels import NO_TAG


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

    Args:
        files: where the lines are.
        bad: told of each line that can't be used.
        problem: why a segment can't be scored, if it can't (`Metric.problem`).
        blank_ends: whether a row that is blank in every file is no item but the end of a sentence,
            as in CoNLL files: then it is None too, and no bad line. So is a comment of a TSV: a
            line that begins with `#` and has no second column.

    Raises:
        UsageError: impossible columns, or standard input named twice.
        DataError: a file can't be read, a header lacks a column, or lengths differ.
    """

    def __init__(
        self,
        files: SegmentFiles,
        bad: BadLines,
        problem: Callable[[Segment], str | None] = lambda segment: None,
        *,
        blank_ends: bool = False,
    ) -> None:
        paths = [files.hypothesis, *files.references]
        paths += [files.baseline] if files.baseline is not None else []
        if paths.count("-") > 1:
            raise UsageError("standard input can be only one of hypothesis, reference and baseline")
        self._files = files
        self._bad = bad
        self._problem = problem
        self._blank_ends = blank_ends
        self._columns = self._plan(len(paths))
        self._readers = [LineReader(path) for path in paths]

    def ready(self) -> bool:
        """Whether the next hypothesis can be read without waiting."""
        return self._readers[0].ready()

    def __iter__(self) -> Iterator[Segment | None]:
        columns = self._columns
        for row in zip_lines(self._readers):
            if row[0].number == 1:
                columns, is_header = self._begin(row)
                if is_header:
                    continue
            if self._blank_ends and self._ends_sentence(row):
                yield None
            else:
                yield self._checked(row, columns)

    def _ends_sentence(self, row: Sequence[Line]) -> bool:
        if any(line.error for line in row):
            return False
        if not any(line.text for line in row):
            return True
        comment = row[0].text.startswith("#") and "\t" not in row[0].text
        return comment and not self._files.references

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

    def _begin(self, row: Sequence[Line]) -> tuple[list[Columns | None], bool]:
        """What is picked of each file, given the first lines; whether these are headers.

        Raises:
            DataError: some of the files have a header, and others JSON lines.
        """
        columns: list[Columns | None] = []
        headers: set[bool] = set()
        for picked, line, reader in zip(self._columns, row, self._readers, strict=True):
            if picked:
                picked, is_header = begin(picked, line, reader.name)
                headers.add(is_header)
            columns.append(picked)
        if len(headers) > 1:
            names = ", ".join(reader.name for reader in self._readers)
            raise DataError(f"{names}: some have a header, others are JSON lines; take one kind")
        return columns, True in headers

    def _checked(self, row: Sequence[Line], columns: list[Columns | None]) -> Segment | None:
        segment = self._segment(row, columns)
        cause = self._problem(segment) if segment else None
        if cause:
            self._bad.add(self._readers[0].name, row[0].number, cause)
        return None if cause else segment

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


def sentences(words: Iterable[Segment | None]) -> list[Segment]:
    """Joins CoNLL rows, one tag each, into sentences of tags; None ends a sentence.

    Where any segment holds several tags, each is a sentence already, and none is joined.
    """
    rows = list(words)
    usable = [row for row in rows if row]
    if any(len(side.split()) > 1 for row in usable for side in (row.hypothesis, *row.references)):
        return usable
    found: list[list[Segment]] = [[]]
    for row in rows:
        if row is None:
            found.append([])
        else:
            found[-1].append(row)
    return [_sentence(group) for group in found if group]


def _sentence(words: Sequence[Segment]) -> Segment:
    """The tags of one sentence; a word without an answer keeps its place."""
    words = [word for word in words if word.references[0].strip()]
    return Segment(
        " ".join(word.hypothesis.strip() or NO_TAG for word in words),
        (" ".join(word.references[0].strip() for word in words),),
        " ".join(word.baseline.strip() or NO_TAG for word in words),
    )
