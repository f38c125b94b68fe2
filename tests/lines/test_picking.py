from __future__ import annotations

import gzip
import json

import numpy as np
import pytest

from attn_cli.data.corpus import Corpus, build_corpus
from attn_cli.data.entries import CorpusFiles
from attn_cli.errors import DataError, UsageError
from attn_cli.lines.columns import Columns
from attn_cli.lines.picking import begin
from attn_cli.lines.reading import parse_line
from attn_cli.lines.unusable import BadLines


def keys(spec, *, spread=False, name="data.jsonl"):
    columns = Columns((), tuple(spec.split(",")), spread)
    picked, is_header = begin(columns, parse_line(b"{}", 1), name)
    assert not is_header
    return picked


@pytest.mark.parametrize(
    ("spec", "entry", "fields"),
    [
        ("text,label", '{"label": "yes", "text": "a b"}', ["a b", "yes"]),
        ("text,label", '{"text": "a", "label": 1}', ["a", "1"]),
        ("text,label", '{"text": "a", "label": true}', ["a", "true"]),
        ("score,text", '{"text": "a", "score": 3.50}', ["3.50", "a"]),
        ("n", '{"n": 123456789012345678901234567890}', ["123456789012345678901234567890"]),
        ("passage.text", '{"passage": {"text": "deep"}}', ["deep"]),
        ("a.b", '{"a.b": "flat", "a": {"b": "deep"}}', ["flat"]),
        ("word+s1,s2", '{"word": "w", "s1": "x y", "s2": "z"}', ["w x y", "z"]),
        ("sentences", '{"sentences": ["One.", "Two."]}', ["One. Two."]),
        ("text", '{"text": "tab\\tline\\nend"}', ["tab\tline\nend"]),
        ("text", '{"text": ""}', [""]),
        ("source.0,target.1", '{"source": ["a", "b"], "target": ["c", "d"]}', ["a", "d"]),
        ("a.1.text", '{"a": [{"text": "b"}, {"text": "c"}]}', ["c"]),
        ("source,target.each", '{"source": ["a", "b"], "target": ["c", "d"]}', ["a b", "c", "d"]),
        ("target.each", '{"target": "c"}', ["c"]),
        ("t.0.each", '{"t": [["a", "b"], ["c"]]}', ["a", "b"]),
        ("t.each", '{"t.each": ["a", "b"]}', ["a b"]),
    ],
)
def test_keys_of_a_line_are_texts(spec, entry, fields):
    assert keys(spec).pick(entry) == (fields, [])


def test_a_list_may_be_several_columns():
    entry = '{"ctx": "c", "endings": ["a", "b", "c"], "label": 2}'
    assert keys("ctx,endings,label", spread=True).pick(entry) == (["c", "a", "b", "c", "2"], [])


@pytest.mark.parametrize(
    ("spec", "entry", "cause"),
    [
        ("t.2", '{"t": ["a", "b"]}', "no key 't.2': the list holds 2 items"),
        ("t.0", '{"t": []}', "the list holds 0 items"),
        ("t.00", '{"t": ["a"]}', "the list holds 1 item"),
        ("t." + "9" * 5000, '{"t": ["a"]}', "the list holds 1 item"),
        ("t.x", '{"t": ["a"]}', "no key 't.x' among"),
        ("t.each", '{"t": []}', "key 't' holds an empty list"),
        ("t.each", '{"u": ["a"]}', "no key 't' among u"),
        ("t.each", '{"t": [["a"]]}', "lists in a list"),
    ],
)
def test_places_that_a_list_does_not_have_are_named(spec, entry, cause):
    found = keys(spec).pick(entry)
    assert isinstance(found, str) and cause in found
    assert len(found) < 400


@pytest.mark.parametrize(
    ("entry", "cause"),
    [
        ("", "no JSON"),
        ("text", "no JSON"),
        ('{"text": "a"', "no JSON"),
        ('["text"]', "no JSON object"),
        ('"text"', "no JSON object"),
        ('{"other": "a"}', "no key 'text' among other"),
        ('{"text": null}', "key 'text' holds null"),
        ('{"text": {"a": 1}}', "key 'text' holds an object"),
        ('{"text": [["a"]]}', "key 'text' holds lists in a list"),
        ('{"text": "\\ud800"}', "surrogate"),
        ('{"text": ' + "[" * 100_000, "no JSON"),
    ],
)
def test_lines_without_the_key_say_so_and_raise_nothing(entry, cause):
    found = keys("text").pick(entry)
    assert isinstance(found, str) and cause in found
    assert len(found) < 400


def test_the_first_line_tells_columns_from_keys():
    named = Columns((), ("text", "label"))
    header, is_header = begin(named, parse_line(b"label\ttext", 1), "a.tsv")
    assert is_header and header.pick("x\ty") == (["y", "x"], [])
    content, is_header = begin(named, parse_line(b' {"text": 1}', 1), "standard input")
    assert not is_header and content.pick('{"text": "a", "label": "b"}') == (["a", "b"], [])
    numbered = Columns((1, 0))
    assert begin(numbered, parse_line(b"{", 1), "a.tsv") == (numbered, False)
    with pytest.raises(UsageError, match="--columns picks keys"):
        begin(numbered, parse_line(b'{"text": "a"}', 1), "a.jsonl.gz")
    with pytest.raises(DataError, match="no column 'text'"):
        begin(named, parse_line(b"a\tb", 1), "a.tsv")


def test_a_corpus_may_mix_kinds_of_files_and_is_read_where_it_lies(tmp_path):
    entries = [{"text": "one", "label": "a"}, {"label": "b", "text": "zwei\tdrei\n"}]
    lines = "".join(json.dumps(entry) + "\n" for entry in entries)
    (tmp_path / "a.jsonl.gz").write_bytes(gzip.compress(lines.encode()))
    (tmp_path / "b.tsv").write_text("label\ttext\nc\tthree\n")
    paths = (str(tmp_path / "a.jsonl.gz"), str(tmp_path / "b.tsv"))
    files = CorpusFiles(paths, Columns.parse("text,label", 2))
    bad = BadLines(print, skip_bad=False)
    build_corpus(files, tmp_path / "work", "train", bad, lambda fields: None)
    corpus = Corpus(tmp_path / "work", "train")
    assert corpus.read(np.array([2, 1, 0])) == [
        ["three", "c"],
        ["zwei\tdrei\n", "b"],
        ["one", "a"],
    ]


def test_unusable_json_lines_are_named(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_text('{"text": "a", "label": "x"}\n{"text": "b"}\n\n')
    said: list[str] = []
    files = CorpusFiles((str(path),), Columns.parse("text,label", 2))
    bad = BadLines(said.append, skip_bad=False)
    with pytest.raises(DataError, match="2 unusable lines"):
        build_corpus(files, tmp_path / "work", "train", bad, lambda fields: None)
    assert said[0] == f"{path}:2: no key 'label' among text"
    assert said[1].startswith(f"{path}:3: no JSON")
