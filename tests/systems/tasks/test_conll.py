"""CoNLL files: what is a word, what is none, where a sentence ends, what is refused and how."""

from __future__ import annotations

import json

import pytest

from attn_cli.errors import DataError
from attn_cli.lines.columns import Columns
from attn_cli.lines.conll import (
    SENTENCE_LINES,
    ConllParser,
    are_text,
    conll_rows,
    sentence_parts,
)
from attn_cli.lines.reading import LineReader
from attn_cli.lines.unusable import BadLines
from attn_cli.systems.tasks.conll import flatten_conll, spans_as_bio


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
    parsed = list(ConllParser().parse(list(rows_of(tmp_path, "#hashtag\nof\n#"))))
    assert [line.fields for line in parsed] == [["#hashtag"], ["of"], ["#"]]
    parsed = list(ConllParser().parse(list(rows_of(tmp_path, "#hashtag of\n# = \n"))))
    assert [(line.fields, line.rest) for line in parsed] == [(["#hashtag"], ["of"]), (["#"], ["="])]


WORDS = [["a", "b"], ["X", "Y"]], [["c"], ["X"]]
CONLL_U = """# sent_id = 1
1	It	it	PRON	PRP	_	2	nsubj	_	_
2-3	doesn't	_	_	_	_	_	_	_	_
2	does	do	AUX	VBZ	_	0	root	_	_
3	n't	not	PART	RB	_	2	advmod	_	_
3.1	matter	matter	VERB	VB	_	_	_	2:x	_

"""


@pytest.mark.parametrize(
    "text",
    [
        "-DOCSTART- -X-\n\na X\nb Y\n\nc X\n",
        "-DOCSTART-\tO\na\tX\nb\tY\n-DOCSTART-\tO\nc\tX\n",
        "-DOCSTART-\na\tX\nb\tY\n\nc\tX\n",
        "#begin document (bc/0); part 000\na X\nb Y\n \nc X\n\n#end document\n",
        "# id 17\na X\nb Y\n\n# a comment of many words\nc X\n",
    ],
)
def test_lines_that_mark_documents_are_no_sentences(tmp_path, text):
    assert flatten(tmp_path, text) == (list(WORDS), [])


def test_ranges_and_empty_nodes_are_no_words(tmp_path):
    expected = [[["It", "does", "n't"], ["PRON", "AUX", "PART"]]]
    assert flatten(tmp_path, CONLL_U, "2,4") == (expected, [])
    narrow = "1\tIt\tPRON\n2-3\tdoesn't\t_\n2\tdoes\tAUX\n3\tn't\tPART\n"
    assert flatten(tmp_path, narrow, "2,3") == (expected, [])
    words = "in\tADP\n2-3\tNUM\n8.1\tNUM\n"  # where the number is the word, it is one
    assert flatten(tmp_path, words) == ([[["in", "2-3", "8.1"], ["ADP", "NUM", "NUM"]]], [])


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            "in X\nNew York X\n\nc X\n",
            "words.conll:2: 3 columns, where the lines before have 2 (a space in a word? part "
            "columns by tabs)",
        ),
        (
            "c X\n\nNew York X\n",
            "words.conll:3: 3 columns, where the lines before have 2 (a space in a word? part "
            "columns by tabs)",
        ),
        (
            "a\tX\nb\tc\tX\n\nc\tX\n",
            "words.conll:2: 3 columns, where the lines before have 2 (a tab in a word?)",
        ),
    ],
)
def test_a_line_of_other_columns_is_not_half_read(tmp_path, text, said):
    assert flatten(tmp_path, text, skip_bad=True) == ([[["c"], ["X"]]], [said])


def test_a_sentence_may_have_columns_of_its_own_behind_those_that_are_read(tmp_path):
    text = "a X p (A0*\nb Y q *\n\nc X p\n\na X p * *\nb Y q * *\n"
    assert flatten(tmp_path, text, "1,2") == ([*WORDS, WORDS[0]], [])


def test_a_header_parted_by_spaces(tmp_path):
    assert flatten(tmp_path, "word tag\na X\nb Y\n\nc X\n", "word,tag") == (list(WORDS), [])


@pytest.mark.parametrize(
    ("scheme", "tags", "converted"),
    [
        ("auto", "I-A I-A B-A O", "B-A I-A B-A O"),
        ("iob1", "O B-A I-A I-B", "O B-A I-A B-B"),
        ("bio", "I-A I-A B-A O", None),
        ("auto", "B-A I-A B-A O", None),
        ("auto", "NOUN VERB", None),
    ],
)
def test_iob1_is_learnt_as_bio(tmp_path, scheme, tags, converted):
    text = "".join(f"w\t{tag}\n" for tag in tags.split())
    (before,), _ = flatten(tmp_path, text)
    assert spans_as_bio(tmp_path / "rows.txt", scheme) == bool(converted)
    after = json.loads((tmp_path / "rows.txt").read_text("utf-8"))
    assert after == [before[0], (converted or tags).split()]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("I live in the USA\n", True),
        ("the man runs\nthe dog sleeps\n", True),
        ("a good film .\tpos\nso bad\tneg\n", True),
        ("\n \n# text = x\n", None),
        ("EU NNP B-NP B-ORG\n", False),
        ("The the DT O\ncats cat NNS O\n. . . O\n", False),
        ("The DT\ndog NN\n. .\n", False),
        ("der art\nHund nn\n", False),
        ("New York\tB-LOC\nis\tO\nbig\tO\n", False),
        ("word\nby\nword\n", False),
    ],
)
def test_text_is_told_from_conll(tmp_path, text, found):
    assert are_text(list(rows_of(tmp_path, text)), ["O", "art", "nn"]) is found
