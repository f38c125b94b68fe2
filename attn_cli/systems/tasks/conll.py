r"""CoNLL files: one word a line with its columns, a blank line behind each sentence.

Columns are parted by tabs or, where no tab is in the file, by runs of spaces. A comment is a line
that can't be a word: it stands before a sentence's first word, begins with `#` and has no tab,
though the file has some; or, in a file without tabs, it is what CoNLL-U has there: `# key = value`,
`# newdoc`, `# newpar`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from attn_cli.data.corpus import on_disk
from attn_cli.files import inside, writing
from attn_cli.lines.columns import Columns
from attn_cli.lines.reading import LineReader, display_name
from attn_cli.lines.rows import Row, Rows
from attn_cli.lines.unusable import BadLines

# A longer run of lines is read in parts of so many: a file whose blank lines were lost must not
# become one sentence.
SENTENCE_LINES = 4096
_COMMENT = re.compile(r"#\s+(\S.*? = .*|newdoc|newpar)")
_SPACES = re.compile(" +")


def conll_rows(reader: LineReader, columns: Columns, bad: BadLines) -> Rows:
    """The lines of a CoNLL file, whole."""
    return Rows(reader, columns, bad, blank=lambda text: not text.strip(), whole=True)


class ConllParser:
    """Parses the lines of one file, sentence by sentence."""

    def __init__(self) -> None:
        self._has_tabs = False

    def parse(self, rows: Sequence[Row], *, begins: bool = True) -> Iterator[Row]:
        """What the lines of a sentence are, by columns, the word first.

        A line without columns is a comment, or can't be used.

        Args:
            rows: the lines, whole; none of them blank.
            begins: whether the sentence's first line is among them.
        """
        self._has_tabs = self._has_tabs or any("\t" in row.line.text for row in rows)
        for row in rows:
            comment = begins and not row.error and self._is_comment(row.line.text)
            begins = comment
            if comment:
                yield Row(row.number, row.line, row.stream, [], [])
            else:
                yield row.refuse(row.error) if row.error else self._word(row)

    def _is_comment(self, text: str) -> bool:
        if self._has_tabs:
            return text.startswith("#") and "\t" not in text
        return bool(_COMMENT.fullmatch(text))

    def _word(self, row: Row) -> Row:
        text = row.line.text
        columns = row.stream.columns or Columns(())
        picked = columns.pick(text if self._has_tabs else _SPACES.sub("\t", text.strip(" ")))
        if isinstance(picked, str):
            return row.refuse(picked)
        if not picked[0][0].strip():
            return row.refuse("an empty word")
        return Row(row.number, row.line, row.stream, *picked)


def is_blank(row: Row) -> bool:
    """Whether a line ends a sentence."""
    return not (row.error or row.fields)


def sentence_parts(rows: Iterable[Row]) -> Iterator[tuple[list[Row], bool]]:
    """The lines of each sentence, and whether they are its beginning.

    That is so but for the further parts of a sentence of more than `SENTENCE_LINES`.
    """
    part: list[Row] = []
    begins = True
    for row in rows:
        ends = is_blank(row)
        if part and (ends or len(part) == SENTENCE_LINES):
            yield part, begins
            part, begins = [], ends
        if ends:
            begins = True
        else:
            part.append(row)
    if part:
        yield part, begins


def flatten_conll(paths: Sequence[str], spec: str | None, out: Path, bad: BadLines) -> None:
    """Writes the sentences of CoNLL files as rows of JSON, `[[word, …], [tag, …]]`, one a line.

    Args:
        paths: the files, one after the other; `-` is standard input.
        spec: `--columns`: where word and tag stand; the first two columns without it.
        out: the file to write.
        bad: is told of every line that can't be used; its sentence is left out.

    Raises:
        DataError: a file can't be read, or a header lacks a column.
    """
    columns = Columns.parse(spec, 2)
    with writing(out), inside(out.parent, out.name).open("wb") as file:
        for path in paths:
            spool = out.with_suffix(".source.txt")
            reader = LineReader(str(on_disk(path, spool)), display_name(path))
            parser = ConllParser()
            for part, begins in sentence_parts(conll_rows(reader, columns, bad)):
                words = _tagged(parser.parse(part, begins=begins))
                if words:
                    row = [[word for word, _ in words], [tag for _, tag in words]]
                    file.write(json.dumps(row, ensure_ascii=False).encode("utf-8") + b"\n")
            reader.close()
            spool.unlink(missing_ok=True)


def _tagged(rows: Iterable[Row]) -> list[tuple[str, str]]:
    """Words and tags of a sentence; none if one of its lines can't be used."""
    words, usable = [], True
    for row in rows:
        if row.fields:
            word, tag = row.fields[0], row.fields[1].strip()
            words.append((word, tag))
            if not tag:
                row = row.refuse("an empty tag")
            elif any(char.isspace() for char in tag):
                row = row.refuse(f"the tag {tag[:80]!r} holds white space")
        usable = usable and not row.error
    return words if usable else []
