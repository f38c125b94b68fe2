"""CoNLL files: what is a word, what a comment, where a sentence ends, what is refused and how."""

from __future__ import annotations

import json

import pytest

from attn_cli.errors import DataError
from attn_cli.lines.columns import Columns
from attn_cli.lines.reading import LineReader
from attn_cli.lines.unusable import BadLines
from attn_cli.systems.tasks.conll import (
    SENTENCE_LINES,
    ConllParser,
    conll_rows,
    flatten_conll,
    sentence_parts,
)


def rows_of(tmp_path, text: str):
    file = tmp_path / "words.conll"
    file.write_text(text, "utf-8")
    columns = Columns.parse(None, 1)
    return conll_rows(LineReader(str(file)), columns, BadLines(print, skip_bad=False))


def flatten(tmp_path, text: bytes | str, spec=None, *, skip_bad=False):
    """The rows of a file, and what was said about it."""
    said: list[str] = []
    bad = BadLines(said.append, skip_bad=skip_bad)
    file = tmp_path / "words.conll"
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    flatten_conll([str(file)], spec, tmp_path / "rows.txt", bad)
    rows = (tmp_path / "rows.txt").read_text("utf-8").split("\n")[:-1]
    return [json.loads(row) for row in rows], [text.replace(f"{tmp_path}/", "") for text in said]


@pytest.mark.parametrize(
    "text",
    [
        "a\tX\nb\tY\n\nc\tX\n",
        "a\tX\r\nb\tY\r\n\r\nc\tX\r\n",
        "\ufeffa\tX\nb\tY\n\n\n \t \nc\tX",
        "a X\nb    Y\n\n c  X \n",
        "# newdoc id = 7\n# text = a b\na\tX\t1\nb\tY\t2\n\n# any comment\nc\tX\t3\n",
        "# newdoc\n# sent_id = 7\na X\nb Y\n\n# newpar\nc X\n",
    ],
)
def test_the_same_sentences_however_they_are_written(tmp_path, text):
    rows, said = flatten(tmp_path, text)
    assert rows == [[["a", "b"], ["X", "Y"]], [["c"], ["X"]]]
    assert said == []


def test_a_number_sign_can_be_a_word(tmp_path):
    rows, said = flatten(tmp_path, "#\tSYM\nnewdoc\tX\n\n#tag\tX\n#\tSYM\n")
    assert rows == [[["#", "newdoc"], ["SYM", "X"]], [["#tag", "#"], ["X", "SYM"]]]
    rows, _ = flatten(tmp_path, "# SYM\n#tag X\n\na X\n# newdoc\n")
    assert rows == [[["#", "#tag"], ["SYM", "X"]], [["a", "#"], ["X", "newdoc"]]]
    assert said == []


def test_spaces_are_parts_of_words_once_a_file_has_tabs(tmp_path):
    rows, _ = flatten(tmp_path, "New York\tLOC\n10 000\tNUM\n\nin\tX\n")
    assert rows[0] == [["New York", "10 000"], ["LOC", "NUM"]]


def test_columns_by_number_and_by_name(tmp_path):
    text = "id\tform\ttag\n1\tthe\tDET\n2\tcat\tNOUN\n"
    assert flatten(tmp_path, text, "form,tag")[0] == [[["the", "cat"], ["DET", "NOUN"]]]
    assert flatten(tmp_path, text[text.index("\n") + 1 :], "2,3")[0] == [
        [["the", "cat"], ["DET", "NOUN"]]
    ]
    with pytest.raises(DataError, match="no column 'pos' in the header"):
        flatten(tmp_path, text, "form,pos")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (b"a\tX\nb\n\nc\tX\n", "words.conll:2: 1 column, but column 2 is needed"),
        (b"a\tX\n\tX\n\nc\tX\n", "words.conll:2: an empty word"),
        (b"a\t \n\nc\tX\n", "words.conll:1: an empty tag"),
        (b"a\tX Y\n\nc\tX\n", "words.conll:1: the tag 'X Y' holds white space"),
        (b"a\tX\n\xff\tX\n\nc\tX\n", "words.conll:2: not UTF-8 at byte 1"),
        (b"a\tX\n# a late comment\n\nc\tX\n", "words.conll:2: 1 column, but column 2 is needed"),
    ],
)
def test_a_bad_line_is_named_and_its_sentence_left_out(tmp_path, text, said):
    rows, found = flatten(tmp_path, text, skip_bad=True)
    assert found == [said]
    assert rows == [[["c"], ["X"]]]


def test_a_file_without_blank_lines_is_read_in_parts(tmp_path):
    parts = list(sentence_parts(rows_of(tmp_path, "w\n" * (2 * SENTENCE_LINES + 2) + "\nv\n")))
    assert [(len(part), begins) for part, begins in parts] == [
        (SENTENCE_LINES, True),
        (SENTENCE_LINES, False),
        (2, False),
        (1, True),
    ]


def test_a_word_is_all_that_a_line_to_be_answered_needs(tmp_path):
    parsed = list(ConllParser().parse(list(rows_of(tmp_path, "#hashtag\nof\n# = x"))))
    assert [line.fields for line in parsed] == [["#hashtag"], ["of"], ["#"]]
    assert parsed[2].rest == ["=", "x"]
