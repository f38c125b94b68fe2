r"""CoNLL files: one word a line with its columns, a blank line behind each sentence.

All commands that take such files read them here. Columns are parted by tabs or, where no tab is in
the file, by runs of spaces. Some lines are no words: blank ones, also of white space; those that
mark documents (`-DOCSTART-`, `#begin document`); the ranges `2-3` and empty nodes `8.1` of
CoNLL-U; and comments. A comment stands before a sentence's first word and begins with `#`. In a
file with tabs it has none; in one without, it is what CoNLL-U has there (`# key = value`,
`# newdoc`, `# newpar`), or has not as many columns as the words behind it. Standard library only.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Sequence

from attn_cli.lines.columns import Columns
from attn_cli.lines.items import ItemLine
from attn_cli.lines.reading import LineReader, legible
from attn_cli.lines.rows import Row, Rows, zip_rows
from attn_cli.lines.unusable import BadLines
from attn_cli.wording import plural

# A longer run of lines is read in parts of so many: a file whose blank lines were lost must not
# become one sentence.
SENTENCE_LINES = 4096
_COMMENT = re.compile(r"#\s+(\S.*? = .*|newdoc|newpar)")
_DOCUMENT = re.compile(r"-DOCSTART-(\s.*)?|#(begin|end) document\b.*")
_NO_WORD = re.compile(r"[0-9]+(-[0-9]+|\.[0-9]+)")  # the numbers of ranges and empty nodes
_NUMBER = re.compile(r"[0-9]+")
_SPACES = re.compile(" +")
_TAG = re.compile(r"[A-Z][A-Z0-9$:_-]*|_|-X-|[BIESLU]-\S+|[0-9]+")  # as columns of CoNLL hold
_U_COLUMNS, _U_HEAD, _U_RELATION = 10, 6, 7  # of CoNLL-U


def conll_rows(reader: LineReader, columns: Columns, bad: BadLines) -> Rows:
    """The lines of a CoNLL file, whole."""
    return Rows(reader, columns, bad, blank=_is_space, whole=True)


class ConllParser:
    """Parses the lines of one file, sentence by sentence.

    Args:
        words: whether the first picked column is the word, which can't be empty.
        spaces: whether runs of spaces part the columns of a file without tabs.
        ragged: whether the columns of a file with tabs may be more on some lines than on others,
            because it was said which are picked, or because the word's column is picked alone.
    """

    def __init__(self, *, words: bool = True, spaces: bool = True, ragged: bool = False) -> None:
        self._words = words
        self._spaces = spaces
        self._ragged = ragged
        self._has_tabs = False
        self._width = 0  # columns of the file's first word

    def parse(self, rows: Sequence[Row], *, begins: bool = True) -> Iterator[Row]:
        """What the lines of a sentence are, by columns.

        A line without columns is no word, or can't be used: then it has an error of which nobody
        was told yet. All columns of a line with an empty word pass through, and those of one that
        is not UTF-8 that can be read, in their order.

        Args:
            rows: the lines, whole; none of them ends a sentence.
            begins: whether the sentence's first line is among them.
        """
        self._has_tabs = self._has_tabs or any("\t" in row.line.text for row in rows)
        split = [self._split(row) for row in rows]
        n_comments = self._n_comments(rows, split) if begins else 0
        columns = next((row.stream.columns for row in rows), None) or Columns(())
        no_words = _no_words(split[n_comments:], columns)
        words = [
            fields for i, fields in enumerate(split[n_comments:]) if fields and i not in no_words
        ]
        widths = [len(fields) for fields in words]
        self._width = self._width or next(iter(widths), 0)
        for i, (row, fields) in enumerate(zip(rows, split, strict=True), -n_comments):
            if row.error:
                rest = self._legible(row, columns)
                yield Row(row.number, row.line, row.stream, [], rest, row.error)
            elif i < 0 or i in no_words:
                yield Row(row.number, row.line, row.stream, [], [])
            else:
                yield self._word(row, fields, columns, widths)

    def _split(self, row: Row) -> list[str]:
        return [] if row.error else self._parted(row.line.text)

    def _parted(self, text: str) -> list[str]:
        if self._has_tabs or not self._spaces:
            return text.split("\t")
        return _SPACES.split(text.strip(" "))

    def _legible(self, row: Row, columns: Columns) -> list[str]:
        """The columns of a line that is not UTF-8, the picked ones first; bad ones are empty."""
        fields = legible(self._parted(row.line.escaped))
        picked = columns.pick("\t".join(fields))
        return fields if isinstance(picked, str) else [*picked[0], *picked[1]]

    def _n_comments(self, rows: Sequence[Row], split: Sequence[Sequence[str]]) -> int:
        """How many comments stand before the first word."""
        first = next((len(fields) for fields in split if fields and fields[0][:1] != "#"), 0)
        width = self._width or first
        for number, (row, fields) in enumerate(zip(rows, split, strict=True)):
            text = row.line.text
            if self._has_tabs:
                comment = text.startswith("#") and "\t" not in text
            else:
                other_width = self._spaces and width and len(fields) != width
                comment = bool(_COMMENT.fullmatch(text)) or bool(
                    fields[:1] == ["#"] and other_width
                )
            if not comment:
                return number
        return len(rows)

    def _word(self, row: Row, fields: list[str], columns: Columns, widths: Sequence[int]) -> Row:
        picked = columns.pick("\t".join(fields))
        read, rest = ([], []) if isinstance(picked, str) else picked
        cause = picked if isinstance(picked, str) else None
        if not cause and (self._spaces and not self._has_tabs or not self._ragged):
            cause = self._width_problem(len(fields), widths, columns)
            rest = [] if cause else rest
        if not cause and self._words and not read[0].strip():
            cause, rest = "an empty word", [*read, *rest]
        return Row(row.number, row.line, row.stream, [] if cause else read, rest, cause)

    def _width_problem(self, width: int, widths: Sequence[int], columns: Columns) -> str | None:
        """What is wrong with the number of columns of a line, if anything is.

        Where a sentence has columns of its own (one for each predicate), all its lines have them,
        behind those that are picked.
        """
        if width == self._width:
            return None
        own = len(set(widths)) == 1 and (len(widths) > 1 or width < self._width)
        if own and min(width, self._width) > max(columns.indices, default=0) + 1:
            return None
        remedy = "a tab in a word?" if self._has_tabs else "a space in a word? part columns by tabs"
        return f"{plural(width, 'column')}, where the lines before have {self._width} ({remedy})"


def _is_space(text: str) -> bool:
    return not text.strip()


def _no_words(split: Sequence[Sequence[str]], columns: Columns) -> set[int]:
    """Which lines of a sentence are ranges or empty nodes of CoNLL-U.

    They are known by their numbers, and by what else they are: CoNLL-U's own line without head and
    relation, a line between others that begin with numbers where these are no words, or a line
    with fewer columns than words have behind which a tagger has put its answer.
    """
    found = {
        i for i, fields in enumerate(split) if len(fields) > 2 and _NO_WORD.fullmatch(fields[0])
    }
    if not found:
        return found
    others = [fields for i, fields in enumerate(split) if i not in found and fields]
    numbered = 0 not in columns.indices and all(_NUMBER.fullmatch(f[0]) for f in others)
    width = max(map(len, others), default=0)
    return {
        i
        for i in found
        if numbered
        or len(split[i]) < width
        or (len(split[i]) == _U_COLUMNS and split[i][_U_HEAD] == split[i][_U_RELATION] == "_")
    }


def ends_sentence(row: Row) -> bool:
    """Whether a line stands between sentences: a blank one, or one that marks a document."""
    return not row.error and (_is_space(row.line.text) or bool(_DOCUMENT.fullmatch(row.line.text)))


def are_text(rows: Sequence[Row], labels: Collection[str]) -> bool | None:
    """Whether lines are sentences, not words with their columns.

    They are where most of them are several words: parted by spaces, most of which look like no
    tags, or in the first picked column of a line with tabs. What a program gives always is.

    Args:
        rows: the first lines of a stream, whole.
        labels: tags that are known.

    Returns:
        None if no line tells.
    """
    if are_items(rows):
        return True
    told = [
        row
        for row in rows
        if not (row.error or ends_sentence(row) or row.line.text.startswith("#"))
    ]
    if not told:
        return None
    return 2 * sum(_is_text(row, labels) for row in told) > len(told)


def are_items(rows: Sequence[Row]) -> bool:
    """Whether lines are what a program gives."""
    return any(isinstance(row.line, ItemLine) for row in rows[:1])


def _is_text(row: Row, labels: Collection[str]) -> bool:
    text = row.line.text
    if "\t" in text:
        picked = (row.stream.columns or Columns(())).pick(text)
        return not isinstance(picked, str) and len(picked[0][0].split()) > 1
    _, *others = text.split()
    n_tags = sum(word in labels or bool(_TAG.fullmatch(word)) for word in others)
    return 2 * n_tags < len(others)


def sentence_parts(rows: Iterable[Row]) -> Iterator[tuple[list[Row], bool]]:
    """The lines of each sentence, and whether they are its beginning.

    That is so but for the further parts of a sentence of more than `SENTENCE_LINES`.
    """
    part: list[Row] = []
    begins = True
    for row in rows:
        ends = ends_sentence(row)
        if part and (ends or len(part) == SENTENCE_LINES):
            yield part, begins
            part, begins = [], ends
        if ends:
            begins = True
        else:
            part.append(row)
    if part:
        yield part, begins


def zip_conll(
    readers: Sequence[LineReader],
    columns: Sequence[Columns | None],
    bad: BadLines,
    *,
    spaces: bool,
    ragged: bool,
) -> Iterator[list[Row]]:
    """Words of parallel CoNLL files, and what ends a sentence, side by side; no other lines.

    Side by side are rows up to the first that can't be used. What ends a sentence has no columns.

    Args:
        readers: the files.
        columns: which columns of each are picked.
        bad: is told of the first line of those side by side that can't be used.
        spaces: see `ConllParser`; so is `ragged`.
        ragged: whether lines may have more columns than others.

    Raises:
        DataError: the files have different numbers of lines, a header lacks a column, or some of
            the files have a header and others JSON lines.
    """
    parsers = [ConllParser(words=False, spaces=spaces, ragged=ragged) for _ in readers]
    waiting: list[list[Row]] = []
    begins = True

    def parsed() -> Iterator[list[Row]]:
        sides = [
            parser.parse([rows[i] for rows in waiting], begins=begins)
            for i, parser in enumerate(parsers)
        ]
        for rows in zip(*sides, strict=True):
            usable = next((i for i, row in enumerate(rows) if row.error), len(rows))
            if usable < len(rows):
                yield [*rows[:usable], rows[usable].refuse(rows[usable].error or "")]
            elif any(row.fields for row in rows):
                yield _agreed(rows)

    for rows in zip_rows(readers, columns, bad, whole=True):
        ends = all(ends_sentence(row) for row in rows)
        if waiting and (ends or len(waiting) == SENTENCE_LINES):
            yield from parsed()
            waiting, begins = [], ends
        if ends:
            begins = True
            yield [Row(row.number, row.line, row.stream, [], []) for row in rows]
        else:
            waiting.append(rows)
    if waiting:
        yield from parsed()


def _agreed(rows: Sequence[Row]) -> list[Row]:
    """The same rows, the first one refused where one file has a word and another one has none."""
    if len({bool(row.fields) for row in rows}) == 1:
        return list(rows)
    return [rows[0].refuse("a word in one of the files, and none in another")]
