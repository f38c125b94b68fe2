"""Sentences of CoNLL files as rows of JSON, which a corpus can index; IOB1 as BIO."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from attn_cli.data.corpus import on_disk
from attn_cli.files import inside, writing
from attn_cli.lines.columns import Columns
from attn_cli.lines.conll import ConllParser, conll_rows, sentence_parts
from attn_cli.lines.reading import LineReader, display_name
from attn_cli.lines.rows import Row
from attn_cli.lines.unusable import BadLines
from attn_cli.metrics.spans import iob1_to_bio, scheme_of


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
            parser = ConllParser(ragged=bool(spec))
            with LineReader(str(on_disk(path, spool)), display_name(path)) as reader:
                for part, begins in sentence_parts(conll_rows(reader, columns, bad)):
                    words = _tagged(parser.parse(part, begins=begins))
                    if words:
                        row = [[word for word, _ in words], [tag for _, tag in words]]
                        file.write(json.dumps(row, ensure_ascii=False).encode("utf-8") + b"\n")
            spool.unlink(missing_ok=True)


def _tagged(rows: Iterable[Row]) -> list[tuple[str, str]]:
    """Words and tags of a sentence; none if one of its lines can't be used."""
    words, usable = [], True
    for row in rows:
        if row.error:
            row.refuse(row.error)
        elif row.fields:
            word, tag = row.fields[0], row.fields[1].strip()
            words.append((word, tag))
            if not tag:
                row = row.refuse("an empty tag")
            elif any(char.isspace() for char in tag):
                row = row.refuse(f"the tag {tag[:80]!r} holds white space")
        usable = usable and not row.error
    return words if usable else []


def spans_as_bio(rows: Path, scheme: str) -> bool:
    """Makes BIO of the tags in rows of `flatten_conll`, if they are IOB1.

    Args:
        rows: the file, which is written anew.
        scheme: the tags' scheme; `auto`: as they look.

    Returns:
        Whether they were IOB1.
    """
    found = scheme_of(tags for _, tags in _rows(rows)) if scheme == "auto" else scheme
    if found != "iob1":
        return False
    converted = rows.with_suffix(".bio.txt")
    with writing(converted), inside(rows.parent, converted.name).open("wb") as file:
        for words, tags in _rows(rows):
            row = json.dumps([words, iob1_to_bio(tags)], ensure_ascii=False)
            file.write(row.encode("utf-8") + b"\n")
    converted.replace(rows)
    return True


def _rows(path: Path) -> Iterator[tuple[list[str], list[str]]]:
    with path.open("rb") as file:
        for row in file:
            words, tags = json.loads(row)
            yield words, tags
