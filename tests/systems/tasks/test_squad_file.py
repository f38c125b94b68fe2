"""SQuAD's JSON is read strictly: what can't be used is named, and never takes the rest with it."""

from __future__ import annotations

import gzip
import json

import pytest

from attn_cli.errors import DataError, UsageError
from attn_cli.lines import squad
from attn_cli.lines.reading import LineReader
from attn_cli.lines.squad import Question, SquadReader
from attn_cli.lines.unusable import BadLines
from attn_cli.systems.tasks.squad import flatten_squad

CONTEXT = "The cat sat on the mat. A dog did not."


def asked(name="q1", text="who sat?", answer="cat", start=4, **more):
    answers = [{"text": answer, "answer_start": start}] if answer else []
    return {"id": name, "question": text, "answers": answers, **more}


def document(*questions, context=CONTEXT):
    return {"version": "v2.0", "data": [{"paragraphs": [{"context": context, "qas": questions}]}]}


def read(tmp_path, value, *, answers=True):
    said: list[str] = []
    raw = value if isinstance(value, bytes) else json.dumps(value).encode()
    (tmp_path / "q.json").write_bytes(raw)
    reader = LineReader(str(tmp_path / "q.json"), "q.json")
    found = list(SquadReader(reader, BadLines(said.append, skip_bad=True), answers=answers))
    reader.close()
    return found, said


def test_both_versions_are_read(tmp_path):
    found, said = read(
        tmp_path,
        document(
            asked(),
            asked("q2", answer="", is_impossible=True, plausible_answers=[]),
            asked("q3", answer="mat", start=19, is_impossible=False),
        ),
    )
    assert said == []
    assert found == [
        Question("q1", "who sat?", CONTEXT, (("cat", 4),)),
        Question("q2", "who sat?", CONTEXT),
        Question("q3", "who sat?", CONTEXT, (("mat", 19),)),
    ]
    assert [Question.from_row(question.to_row()) for question in found] == found


def test_white_space_and_a_byte_order_mark_may_stand_before_it(tmp_path):
    raw = b"\xef\xbb\xbf\n  " + json.dumps(document(asked()), indent=1).encode()
    assert len(read(tmp_path, raw)[0]) == 1


PLACE = "q.json: article 1, paragraph 1"
ASKED = f"{PLACE}, question 'q1'"


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (document(asked(start=5)), f"{ASKED}: answer 'cat' is not at answer_start 5,"
         " where 'at ' is"),
        (document(asked(start=-1)), f"{ASKED}: answer_start is no number from 0"),
        (document(asked(start=True)), f"{ASKED}: answer_start is no number from 0"),
        (document(asked(start=4.0)), f"{ASKED}: answer_start is no number from 0"),
        (document(asked(start=10**400)), f"{ASKED}: answer 'cat' is not at"),
        (document(asked(name=7)), f"{PLACE}, question 1: id is no text"),
        (document(asked(name="")), f"{PLACE}, question '': an empty id"),
        (document(asked(text=None)), f"{ASKED}: no question"),
        (document(asked(text=" ")), f"{ASKED}: an empty question"),
        (document(asked(text="\ud800")), f"{ASKED}: question holds half a character"),
        (document(7), f"{PLACE}, question 1: not an object"),
        (document(asked(answer="")), f"{ASKED}: no answer, and not is_impossible"),
        (document(asked(is_impossible=True)), f"{ASKED}: answers, but is_impossible"),
        (document(asked(is_impossible="no")), f"{ASKED}: is_impossible is neither"),
        (document({**asked(), "answers": "cat"}), f"{ASKED}: no list of answers"),
        (document({**asked(), "answers": ["cat"]}), f"{ASKED}: no text of an answer"),
        (document(asked(), context=[]), f"{PLACE}: context is no text"),
        (document(asked(), context="\n"), f"{PLACE}: an empty context"),
        ({"data": [{"paragraphs": [{"context": "c", "qas": {}}]}]}, f"{PLACE}: no list of "),
        ({"data": [{"paragraphs": [[]]}]}, f"{PLACE}: no context"),
        ({"data": [{"paragraphs": 3}]}, "q.json: article 1: no list of paragraphs"),
        ({"data": ["article"]}, "q.json: article 1: no list of paragraphs"),
    ],
)  # fmt: skip
def test_what_cannot_be_used_is_named(tmp_path, value, said):
    good = document(asked("good"))["data"]
    found, told = read(tmp_path, {"data": value["data"] + good})
    assert [question.id for question in found] == ["good"]
    assert len(told) == 1
    assert told[0].startswith(said)


def test_of_two_questions_with_one_id_the_first_counts(tmp_path):
    found, said = read(tmp_path, document(asked(), asked(text="who else?")))
    assert [question.question for question in found] == ["who sat?"]
    assert said == [f"{ASKED}: another question has the same id"]


def test_answers_are_not_looked_at_where_none_are_needed(tmp_path):
    questions = [{"id": "a", "question": "?"}, asked("b", start=99)]
    found, said = read(tmp_path, document(*questions), answers=False)
    assert [question.id for question in found] == ["a", "b"]
    assert said == []


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"{",
        b"[" * 100_000,
        b'{"data": ' + b"[" * 100_000,
        b'{"data": 1}',
        b"[]",
        b'{"data": "\xff"}',
        b'{"data": ' + b"9" * 5000 + b"}",
    ],
)
def test_what_is_no_squad_at_all_is_refused(tmp_path, raw):
    with pytest.raises(DataError, match="^q.json: not "):
        read(tmp_path, raw)


def test_a_file_too_large_for_the_memory_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(squad, "SIZE_LIMIT", 1 << 20)
    with pytest.raises(DataError, match="larger than 1 MiB"):
        read(tmp_path, b" " * (1 << 21) + b"{}")
    bomb = tmp_path / "bomb.json.gz"
    bomb.write_bytes(gzip.compress(b" " * (8 << 20)))
    with pytest.raises(DataError, match="larger than 1 MiB"):
        SquadReader(LineReader(str(bomb)), BadLines(print, skip_bad=True), answers=True)


def test_columns_are_refused(tmp_path):
    with pytest.raises(UsageError, match="has no columns"):
        flatten_squad(["x.json"], "1,2", tmp_path / "rows.txt", BadLines(print, skip_bad=True))
