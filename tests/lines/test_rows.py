"""The one loop that reads lines: every rule of the stream contract, on real files and pipes."""

from __future__ import annotations

import gzip
import operator
import os

import pytest

from attn_cli.errors import DataError, NoSuchFileError, UsageError
from attn_cli.lines.columns import Columns
from attn_cli.lines.reading import LINE_LIMIT, LineReader
from attn_cli.lines.rows import Rows, is_blank, zip_rows
from attn_cli.lines.unusable import BadLines


def read(tmp_path, content: str | bytes, spec=None, need=1, name="in.tsv", **how):
    """The rows of a file as (number, fields, rest), and what was said about it."""
    said: list[str] = []
    file = tmp_path / name
    raw = content if isinstance(content, bytes) else content.encode()
    file.write_bytes(gzip.compress(raw) if name.endswith(".gz") else raw)
    bad = BadLines(said.append, skip_bad=False)
    rows = Rows(LineReader(str(file), name), Columns.parse(spec, need), bad, **how)
    return [(row.number, row.fields, row.rest) for row in rows], said


def test_a_line_is_the_columns_that_are_read_and_those_behind_them(tmp_path):
    rows, said = read(tmp_path, "a\tb\tc\nd\n", count=1)
    assert rows == [(1, ["a"], ["b", "c"]), (2, ["d"], [])]
    assert said == []


def test_picked_columns_that_are_not_read_pass_through_before_the_others(tmp_path):
    assert read(tmp_path, "a\tb\tc\td\n", "4,2", count=1)[0] == [(1, ["d"], ["b", "a", "c"])]
    assert read(tmp_path, "a\tb\tc\td\n", "4,2")[0] == [(1, ["d", "b"], ["a", "c"])]


@pytest.mark.parametrize("name", ["in.tsv", "in.tsv.gz"])
def test_byte_order_mark_line_ends_and_compression(tmp_path, name):
    text = "\ufeffa\r\nb\u2028c\r\r\n\rd\n\ne"
    rows, said = read(tmp_path, text, name=name)
    assert [number for number, *_ in rows] == [1, 2, 3, 4, 5]
    assert [fields for _, fields, _ in rows] == [["a"], ["b\u2028c\r"], ["\rd"], [], ["e"]]
    assert said == []


def test_a_blank_line_has_no_fields_and_is_not_bad(tmp_path):
    assert read(tmp_path, "\na\tb\n", need=2) == ([(1, [], []), (2, ["a", "b"], [])], [])
    rows, said = read(tmp_path, " \t\n", blank=lambda text: not text.strip())
    assert (rows, said) == ([(1, [], [""])], [])
    rows, said = read(tmp_path, "\n", need=2, blank=lambda text: False)
    assert (rows, said) == ([(1, [], [])], ["in.tsv:1: 1 column, but column 2 is needed"])


def test_what_cannot_be_used_keeps_its_place_and_is_named_in_order(tmp_path):
    content = b"a\tb\n\xff\tb\nc\n" + b"x" * (LINE_LIMIT + 1) + b"\nd\te\n"
    rows, said = read(tmp_path, content, need=2)
    assert rows == [(1, ["a", "b"], []), (2, [], []), (3, [], []), (4, [], []), (5, ["d", "e"], [])]
    assert said == [
        "in.tsv:2: not UTF-8 at byte 1",
        "in.tsv:3: 1 column, but column 2 is needed",
        "in.tsv:4: longer than 16 MiB",
    ]


def test_what_a_system_refuses(tmp_path):
    rows, said = read(
        tmp_path, "good\trest\nbad\trest\n", count=1, check=lambda f: "no" if f == ["bad"] else None
    )
    assert rows == [(1, ["good"], ["rest"]), (2, [], ["rest"])]
    assert said == ["in.tsv:2: no"]


def test_the_other_columns_of_an_unusable_line_pass_through(tmp_path):
    assert read(tmp_path, "a\tb\n", "4", count=1)[0] == [(1, [], ["a", "b"])]
    assert read(tmp_path, "a\tb\tc\n", "4,2", count=1)[0] == [(1, [], ["b", "a", "c"])]
    assert read(tmp_path, "a\tb\tc\n", "4,2")[0] == [(1, [], ["a", "c"])]


def test_of_a_line_that_is_not_utf8_the_columns_that_are_pass_through(tmp_path):
    rows, _ = read(tmp_path, b"\xff\tb\tc\xe9\td\r\n", count=1)
    assert rows == [(1, [], ["b", "", "d"])]
    assert read(tmp_path, b"a\tb\xff\tc\n", "3,1", count=1)[0] == [(1, [], ["a", ""])]
    assert read(tmp_path, b"a\xff\tb\n", "1,2", count=2)[0] == [(1, [], [])]
    assert read(tmp_path, b"a\tb\n\xffc\td\n", "a,b", count=1)[0] == [(2, [], ["d"])]
    long = b"x" * (LINE_LIMIT + 1) + b"\tb\n"
    assert read(tmp_path, long, count=1)[0] == [(1, [], [])]


def test_a_row_can_be_refused_later(tmp_path):
    said: list[str] = []
    (tmp_path / "in.tsv").write_text("a\tb\n")
    bad = BadLines(said.append, skip_bad=True)
    (row,) = Rows(LineReader(str(tmp_path / "in.tsv"), "in.tsv"), Columns.parse(None, 1), bad)
    refused = row.refuse("no such image")
    assert (refused.number, refused.fields, refused.rest) == (1, [], ["b"])
    assert refused.error == "no such image"
    bad.finish("answered with an empty line")
    assert said == ["in.tsv:1: no such image", "1 unusable line: answered with an empty line"]


def test_a_header_names_columns_and_is_no_row(tmp_path):
    rows, said = read(tmp_path, "id\ttext\n7\tx\n", "text", count=1)
    assert (rows, said) == ([(2, ["x"], ["7"])], [])
    with pytest.raises(DataError, match=r"in.tsv:1: no column 'body' in the header: id, text"):
        read(tmp_path, "id\ttext\n", "body")
    with pytest.raises(DataError, match=r"in.tsv:1: columns 1 and 3 are both called 'text'"):
        read(tmp_path, "text\tid\ttext\nx\t7\ty\n", "text", count=1)
    assert read(tmp_path, "id\ttext\tid\n7\tx\t8\n", "text", count=1)[0] == [(2, ["x"], ["7", "8"])]


def test_json_lines_are_picked_by_key(tmp_path):
    content = '{"text": "x", "label": 1}\n[]\n\n'
    rows, said = read(tmp_path, content, "text,label", need=2, name="in.jsonl")
    assert rows == [(1, ["x", "1"], []), (2, [], []), (3, [], [])]
    assert said == ["in.jsonl:2: no JSON object"]
    rows, said = read(tmp_path, '{"text": "x", "text": "y"}\n', "text", name="in.jsonl")
    assert (rows, said) == ([(1, [], [])], ["in.jsonl:1: key 'text' stands in an object twice"])
    with pytest.raises(UsageError, match="of JSON lines --columns picks keys"):
        read(tmp_path, content, name="in.jsonl")


def test_whole_lines(tmp_path):
    said: list[str] = []
    (tmp_path / "in.txt").write_text("a\tb\n")
    bad = BadLines(said.append, skip_bad=False)
    (row,) = Rows(LineReader(str(tmp_path / "in.txt")), None, bad)
    assert (row.fields, row.rest, row.where) == (["a\tb"], [], f"{tmp_path}/in.txt:1")
    rows, said = read(tmp_path, "id\ttext\n7\tx\n", "text", whole=True)
    assert (rows, said) == ([(2, ["7\tx"], [])], [])
    rows, said = read(tmp_path, b"\xff\n", whole=True)
    assert (rows, said) == ([(1, [], [])], [])  # for whoever parts the line to name


def test_windows_are_full_and_bounded_in_lines_and_characters(tmp_path):
    (tmp_path / "in.tsv").write_text("text\nab\n" * 5)
    bad = BadLines(print, skip_bad=False)

    def sizes(*bounds: int) -> list[int]:
        rows = Rows(LineReader(str(tmp_path / "in.tsv")), Columns.parse("text", 1), bad)
        return [len(window) for window in rows.windows(*bounds)]

    assert sizes(4) == [4, 4, 1]
    assert sizes(100) == [9]
    assert sizes(100, 5) == [2, 2, 2, 2, 1]


def test_a_window_ends_where_a_slow_producer_pauses():
    reading, writing = os.pipe()
    os.write(writing, b"header\na\nb\n")
    reader = LineReader(f"/dev/fd/{reading}")
    windows = Rows(reader, Columns.parse("header", 1), BadLines(print, skip_bad=False)).windows(99)
    assert [row.fields for row in next(windows)] == [["a"], ["b"]]
    os.write(writing, b"c\nd")  # a line, and the beginning of one
    assert [row.fields for row in next(windows)] == [["c"]]
    os.write(writing, b"e\n")
    os.close(writing)
    assert [row.fields for row in next(windows)] == [["de"]]
    assert list(windows) == []
    os.close(reading)


@pytest.mark.parametrize("size", [1, 7, 100, 1 << 20])
@pytest.mark.parametrize("spec", [None, "text"])
def test_blocks_hold_the_rows_of_the_stream(tmp_path, size, spec):
    lines = [b"\xef\xbb\xbftext\tid", b"a\tb", b"", b"\xff\tkept", b"c\r", b"x\ty\tz", b" ", b"end"]
    for content in (b"\n".join(lines), b"\n".join(lines) + b"\n", b"", b"text\n", b"text\n\n\n"):
        (tmp_path / "in.tsv").write_bytes(content)
        found, said = [], []
        for in_blocks in (False, True):
            bad = BadLines(said.append, skip_bad=False)
            reader = LineReader(str(tmp_path / "in.tsv"))
            rows = Rows(reader, Columns.parse(spec, 1), bad, count=1)
            if in_blocks:
                several = [row for block in rows.blocks(size) for row in rows.rows_of(block)]
            else:
                several = list(rows)
            found.append([(r.number, r.line, r.fields, r.rest, r.error) for r in several])
        assert found[0] == found[1]
        assert said[: len(said) // 2] == said[len(said) // 2 :]


def test_an_endless_line_is_bounded_in_a_block_too(tmp_path):
    content = b"a\nb\n" + b"x" * (LINE_LIMIT + (3 << 20)) + b"\nc\nd\n"
    (tmp_path / "in.tsv").write_bytes(content)
    blocks = list(LineReader(str(tmp_path / "in.tsv")).blocks(1 << 10))
    assert max(len(block.data) for block in blocks) <= 1 << 10
    lines = [line for block in blocks for line in block]
    assert [line.number for line in lines] == [1, 2, 3, 4, 5]
    assert [line.text for line in lines if not line.error] == ["a", "b", "c", "d"]
    assert [content[line.start : line.start + 1] for line in lines] == [
        b"a",
        b"b",
        b"x",
        b"c",
        b"d",
    ]


def test_a_block_ends_where_a_slow_producer_pauses():
    reading, writing = os.pipe()
    os.write(writing, b"a\nb\nc")
    blocks = LineReader(f"/dev/fd/{reading}").blocks(1 << 20)
    assert [line.text for line in next(blocks)] == ["a", "b"]
    os.write(writing, b"d\n")
    assert [line.text for line in next(blocks)] == ["cd"]
    os.close(writing)
    assert list(blocks) == []
    os.close(reading)


def test_the_count_decides_at_the_end(tmp_path):
    for skip_bad in (False, True):
        said: list[str] = []
        (tmp_path / "in.tsv").write_bytes(b"\xff\n" * 12 + b"x\n")
        bad = BadLines(said.append, skip_bad=skip_bad)
        rows = Rows(LineReader(str(tmp_path / "in.tsv"), "in.tsv"), Columns.parse(None, 1), bad)
        assert [row.fields for row in rows] == [[]] * 12 + [["x"]]
        assert len(said) == 11
        assert said[-1] == "further unusable lines are only counted"
        if skip_bad:
            bad.finish("left out")
            assert said[-1] == "12 unusable lines: left out"
        else:
            with pytest.raises(DataError, match="12 unusable lines: left out .--skip-bad accepts"):
                bad.finish("left out")


def parallel(tmp_path, *contents: str | bytes, columns=None, **how):
    """Rows of parallel files as lists of fields, and what was said about them."""
    said: list[str] = []
    readers = []
    for number, content in enumerate(contents):
        file = tmp_path / f"{number}.txt"
        file.write_bytes(content if isinstance(content, bytes) else content.encode())
        readers.append(LineReader(str(file), file.name))
    picked = [columns] * len(readers)
    found = zip_rows(readers, picked, BadLines(said.append, skip_bad=False), **how)
    return [[row.fields for row in rows] for rows in found], said


def test_parallel_files_side_by_side_up_to_the_first_that_cannot_be_used(tmp_path):
    rows, said = parallel(tmp_path, b"a\n\n\xff\n", b"1\tx\n2\n\xff\n")
    assert rows == [[["a"], ["1\tx"]], [[""], ["2"]], [[]]]
    assert said == ["0.txt:3: not UTF-8 at byte 1"]
    with pytest.raises(DataError, match="0.txt has 2 lines, 1.txt has 1 line"):
        parallel(tmp_path, "a\nb\n", "1\n")


def test_parallel_lines_are_blank_together(tmp_path):
    rows, said = parallel(tmp_path, "\n\n", "\nx\n", blank=lambda texts: not any(texts))
    assert (rows, said) == ([[[], []], [[""], ["x"]]], [])


def test_parallel_files_are_of_one_kind(tmp_path):
    text = Columns.parse("text", 1)
    rows, _ = parallel(tmp_path, "id\ttext\n1\ta\n", "text\nb\n", columns=text)
    assert rows == [[["a"], ["b"]]]
    with pytest.raises(DataError, match="some have a header, others are JSON lines"):
        parallel(tmp_path, "id\ttext\n1\ta\n", '{"text": "b"}\n{"text": "c"}\n', columns=text)


BLANK = ["", "  ", "\u00a0", "\u3000 ", "\u200b", "\u00ad", "\u2060 \ufeff"]


def test_white_space_and_invisible_characters_are_a_blank_line_everywhere(tmp_path):
    assert all(map(is_blank, BLANK))
    assert not any(map(is_blank, ["a", "\u200ba", "😀", "- ", "\u200b.\u200b"]))
    checked: list[list[str]] = []

    def check(fields: list[str]) -> str | None:
        checked.append(fields)
        return None

    content = "x\n" + "".join(f"{blank}\n" for blank in BLANK)
    rows, said = read(tmp_path, content, count=1, check=check)
    assert [fields for _, fields, _ in rows] == [["x"], *([] for _ in BLANK)]
    assert checked == [["x"]]
    assert said == []


def test_blank_columns_that_are_read_leave_those_behind_them(tmp_path):
    rows, said = read(tmp_path, "\u200b\t \tkept\na\t \tkept\n", "1,2", 2, count=2)
    assert rows == [(1, [], ["kept"]), (2, ["a", " "], ["kept"])]
    assert read(tmp_path, " \tkept\n", count=1) == ([(1, [], ["kept"])], [])
    assert said == []


def test_a_command_may_keep_every_space(tmp_path):
    rows, _ = read(tmp_path, " \n\n\u200b\tb\n", count=1, blank=operator.not_)
    assert rows == [(1, [" "], []), (2, [], []), (3, ["\u200b"], ["b"])]


@pytest.mark.parametrize(
    ("content", "spec", "hint"),
    [
        ("path\ttext\na.wav\tb\n", None, " (if line 1 is a header: --columns path,text)"),
        ("text\tfile_name\n", "2,1", " (if line 1 is a header: --columns file_name,text)"),
        ("path\ttext\npath\ttext\n", "path,text", ""),  # line 2 of a file whose header is told of
        ("path.wav\ttext\n", None, ""),
        ("speech/path\ttext\n", None, ""),
        ("17\ttext\n", None, ""),
        ("path\tsome words\n", None, ""),
        ('{"path": "path", "text": "text"}\n', "path,text", ""),
    ],
)
def test_a_first_line_that_names_no_file_may_be_a_header(tmp_path, content, spec, hint):
    said: list[str] = []
    (tmp_path / "in.tsv").write_text(content)
    bad = BadLines(said.append, skip_bad=False)
    rows = Rows(LineReader(str(tmp_path / "in.tsv"), "in"), Columns.parse(spec, 2), bad)
    row = next(iter(rows))
    assert row.refuse(NoSuchFileError("gone")).error == f"gone{hint}"
    row.refuse(DataError("no sound in it"))
    assert said == [f"{row.where}: gone{hint}", f"{row.where}: no sound in it"]
