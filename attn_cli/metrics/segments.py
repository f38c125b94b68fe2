"""From files to segments: TSV with references in it, or parallel files."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

from attn_cli.errors import UsageError
from attn_cli.lines.columns import Columns
from attn_cli.lines.conll import zip_conll
from attn_cli.lines.reading import LineReader
from attn_cli.lines.rows import Row, zip_rows
from attn_cli.lines.unusable import HeldBadLines
from attn_cli.metrics.base import Segment
from attn_cli.metrics.classification import NO_TAG


@dataclass(frozen=True)
class SegmentFiles:
    """The files that hypotheses, references and a baseline come from.

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
            as in CoNLL files: then it is None too, and no bad line.
        conll: whether columns are read as those of CoNLL files, whose further lines that are no
            words are left out, too; else one of a TSV's that begins with `#` and has no second
            column is None.
        spaces: whether spaces may part such columns: they are no part of the answers.

    Raises:
        UsageError: impossible columns, or standard input named twice.
        DataError: a file can't be read, a header lacks a column, or lengths differ.
    """

    def __init__(
        self,
        files: SegmentFiles,
        bad: HeldBadLines,
        problem: Callable[[Segment], str | None] = lambda segment: None,
        *,
        blank_ends: bool = False,
        conll: bool = False,
        spaces: bool = False,
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
        self._conll = conll and None not in self._columns
        self._spaces = spaces
        self._readers = [LineReader(path) for path in paths]

    def ready(self) -> bool:
        """Whether the next hypothesis can be read without waiting."""
        return self._readers[0].ready()

    def __iter__(self) -> Iterator[Segment | None]:
        for _, segment in self._segments():
            yield segment

    def words(self) -> Iterator[Segment | None]:
        """The usable segments; None where a sentence ends, which an unusable line does not do."""
        for is_usable, segment in self._segments():
            if is_usable:
                yield segment

    def _segments(self) -> Iterator[tuple[bool, Segment | None]]:
        """For each line: whether it can be used, and its segment, if it holds one."""
        for rows in self._rows():
            is_usable = not rows[-1].error
            segment = self._segment(rows) if is_usable and rows[0].fields else None
            cause = self._problem(segment) if segment else None
            if cause:
                rows[0].refuse(cause)
            elif segment:
                self._bad.used()
            yield (False, None) if cause else (is_usable, segment)

    def _rows(self) -> Iterator[list[Row]]:
        if not self._conll:
            return zip_rows(self._readers, self._columns, self._bad, self._ends_sentence)
        ragged = self._files.columns is not None
        return zip_conll(
            self._readers, self._columns, self._bad, spaces=self._spaces or ragged, ragged=ragged
        )

    def _ends_sentence(self, texts: Sequence[str]) -> bool:
        if not self._blank_ends:
            return False
        comment = texts[0].startswith("#") and "\t" not in texts[0]
        blank = not any(text.strip() for text in texts)
        return blank or (comment and not self._files.references)

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

    def _segment(self, rows: list[Row]) -> Segment:
        baseline = rows.pop().fields[0] if self._files.baseline is not None else ""
        hypothesis, *references = [field for row in rows for field in row.fields]
        if not self._files.columns and not self._files.references:
            references += rows[0].rest  # all further columns of the TSV
        return Segment(hypothesis, tuple(references), baseline, rows[0].number)


def sentences(words: Iterable[Segment | None]) -> list[Segment]:
    """Joins CoNLL rows, one tag each, into sentences of tags; None ends a sentence.

    Where any segment holds several tags, each is a sentence already, and none is joined.
    """
    rows = list(words)
    usable = [row for row in rows if row]
    if any(len(side.split()) > 1 for row in usable for side in (row.hypothesis, *row.references)):
        return usable
    groups: list[list[Segment]] = [[]]
    for row in rows:
        if row is None:
            groups.append([])
        else:
            groups[-1].append(row)
    return [_sentence(group) for group in groups if group]


def _sentence(words: Sequence[Segment]) -> Segment:
    """The tags of one sentence; a word without an answer keeps its place."""
    words = [word for word in words if word.references[0].strip()]
    return Segment(
        " ".join(word.hypothesis.strip() or NO_TAG for word in words),
        (" ".join(word.references[0].strip() for word in words),),
        " ".join(word.baseline.strip() or NO_TAG for word in words),
        words[0].number if words else 0,
    )
