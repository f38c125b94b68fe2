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
from dataclasses import dataclass
from pathlib import Path

from attn_cli.data.corpus import on_disk
from attn_cli.files import inside, writing
from attn_cli.lines.columns import Columns
from attn_cli.lines.reading import Line, LineReader, display_name
from attn_cli.lines.unusable import BadLines

# A longer run of lines is read in parts of so many: a file whose blank lines were lost must not
# become one sentence.
SENTENCE_LINES = 4096
_COMMENT = re.compile(r"#\s+(\S.*? = .*|newdoc|newpar)")
_SPACES = re.compile(" +")


@dataclass(frozen=True, slots=True)
class ConllLine:
    """One line of a sentence.

    Attributes:
        line: as it was read.
        fields: its picked columns, the word first; empty where it is no word.
        rest: the other columns.
        problem: why it can't be used, if it can't. With neither fields nor a problem it is a
            comment.
    """

    line: Line
    fields: Sequence[str] = ()
    rest: Sequence[str] = ()
    problem: str | None = None


class ConllParser:
    """Parses the lines of one file, sentence by sentence.

    Args:
        columns: which columns are read, the word's first.
    """

    def __init__(self, columns: Columns) -> None:
        self._columns = columns
        self._has_tabs = False

    def parse(self, lines: Sequence[Line], *, begins: bool = True) -> list[ConllLine]:
        """What the lines of a sentence are.

        Args:
            lines: none of them blank.
            begins: whether the sentence's first line is among them.
        """
        self._has_tabs = self._has_tabs or any("\t" in line.text for line in lines)
        parsed = []
        for line in lines:
            comment = begins and not line.error and self._is_comment(line.text)
            parsed.append(ConllLine(line) if comment else self._word(line))
            begins = comment
        return parsed

    def _is_comment(self, text: str) -> bool:
        if self._has_tabs:
            return text.startswith("#") and "\t" not in text
        return bool(_COMMENT.fullmatch(text))

    def _word(self, line: Line) -> ConllLine:
        if line.error:
            return ConllLine(line, problem=line.error)
        text = line.text if self._has_tabs else _SPACES.sub("\t", line.text.strip(" "))
        picked = self._columns.pick(text)
        if isinstance(picked, str):
            return ConllLine(line, problem=picked)
        if not picked[0][0].strip():
            return ConllLine(line, problem="an empty word")
        return ConllLine(line, *picked)


def is_blank(line: Line) -> bool:
    """Whether a line ends a sentence."""
    return not line.error and (not line.text or line.text.isspace())


def sentence_parts(lines: Iterable[Line]) -> Iterator[tuple[list[Line], bool]]:
    """The lines of each sentence, and whether they are its beginning.

    That is so but for the further parts of a sentence of more than `SENTENCE_LINES`.
    """
    part: list[Line] = []
    begins = True
    for line in lines:
        ends = is_blank(line)
        if part and (ends or len(part) == SENTENCE_LINES):
            yield part, begins
            part, begins = [], ends
        if ends:
            begins = True
        else:
            part.append(line)
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
    chosen = Columns.parse(spec, 2)
    with writing(out), inside(out.parent, out.name).open("wb") as file:
        for path in paths:
            spool = out.with_suffix(".source.txt")
            reader = LineReader(str(on_disk(path, spool)), display_name(path))
            lines, columns = iter(reader), chosen
            if columns.has_header and (header := next(lines, None)):
                columns = columns.read_header(header, reader.name)
            parser = ConllParser(columns)
            for part, begins in sentence_parts(lines):
                words = _tagged(parser.parse(part, begins=begins), reader.name, bad)
                if words:
                    row = [[word for word, _ in words], [tag for _, tag in words]]
                    file.write(json.dumps(row, ensure_ascii=False).encode("utf-8") + b"\n")
            reader.close()
            spool.unlink(missing_ok=True)


def _tagged(lines: Sequence[ConllLine], name: str, bad: BadLines) -> list[tuple[str, str]]:
    """Words and tags of a sentence; none if one of its lines can't be used."""
    words, usable = [], True
    for line in lines:
        problem = line.problem
        if line.fields:
            word, tag = line.fields[:2]
            words.append((word, tag.strip()))
            if not tag.strip():
                problem = "an empty tag"
            elif any(char.isspace() for char in tag.strip()):
                problem = f"the tag {tag.strip()[:80]!r} holds white space"
        if problem:
            bad.add(name, line.line.number, problem)
            usable = False
    return words if usable else []
