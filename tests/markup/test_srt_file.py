"""Subtitles: what is said is found and put back, and nothing else of a file changes."""

from __future__ import annotations

import itertools
import re
from collections import Counter

import pytest
from documents import TRANSLATORS, identity, loud, reverse, texts, translated
from hypothesis import given, settings
from hypothesis import strategies as st

from attn_cli.markup.passages import Fixed
from attn_cli.markup.srt_file import read_srt, spread

FILE = """1
00:00:01,000 --> 00:00:02,500
{\\an8}<i>Hello there,
my friend.</i>

2
00:00:03,000 --> 00:00:04,000  X1:40
- Who are you?
- <b>Nobody</b>.

3
00:00:05,000 --> 00:00:06,000
I only wanted to say

4
00:00:06,100 --> 00:00:07,000
that it is late.


5
00:00:09,000 --> 00:00:10,000
♪♪

6
0:00:11.0 --> 0:00:12.5
The <font color="#ff0000">end</font>.
"""


def times(document: str) -> list[str]:
    return re.findall(r"^.*-->.*$", document, re.MULTILINE)


def styles(document: str) -> Counter[str]:
    return Counter(re.findall(r"<[^>]*>|\{[^}]*\}", document))


def test_what_is_said():
    assert texts(read_srt(FILE)) == [
        "Hello there, my friend.",
        "Who are you?",
        "Nobody.",
        "I only wanted to say that it is late.",
        "The end.",
    ]


@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("last", ["", "\n", " \n\n"])
def test_a_file_that_is_translated_to_itself_does_not_change(end, last):
    document = FILE.rstrip("\n").replace("\n", end) + last
    assert translated(read_srt(document), identity) == document


def test_a_file_in_capitals():
    out = translated(read_srt(FILE), loud)
    styled = re.sub(r"(<[^>]*>|\{[^}]*\})", lambda match: match[0].lower(), FILE.upper())
    assert out == styled


def test_line_ends_of_other_systems_stay():
    document = FILE.replace("\n", "\r\n")
    out = translated(read_srt(document), reverse)
    assert out.count("\n") == out.count("\r\n")


def test_a_sentence_over_cues_is_translated_at_once_and_spread_again():
    document = FILE[FILE.index("3\n") : FILE.index("5\n00")]
    out = translated(read_srt(document), loud)
    assert out == document.upper()
    out = translated(read_srt(document), reverse)
    assert times(out) == times(document)
    said = [line for line in out.split("\n") if line.isupper()]
    assert " ".join(said) == "LATE. IS IT THAT SAY TO WANTED ONLY I"


@pytest.mark.parametrize(
    ("first", "second", "gap", "runs"),
    [
        ("he went", "home again", 100, True),
        ("he went", "Paris again", 100, True),  # the file has full stops
        ("he went.", "Home again", 100, False),
        ("he went...", "home again", 100, False),
        ("he went", "home again", 2500, False),
        ("he went", "- home again", 100, False),
        ("CHAPTER ONE", "He went", 100, False),
        ("[a door]", "He went", 100, False),
    ],
)
def test_where_a_sentence_goes_on(first, second, gap, runs):
    begin = f"00:00:0{1 + (1000 + gap) // 1000},{gap % 1000:03}"
    document = (
        f"1\n00:00:01,000 --> 00:00:02,000\n{first}\n\n"
        f"2\n{begin} --> 00:00:09,000\n{second}\n\n3\n00:01:00,000 --> 00:01:01,000\nEnd.\n"
    )
    assert len(texts(read_srt(document))) == (2 if runs else 3)
    without = document.replace("End.", "End").replace(".", "")
    if "." not in first:
        is_small = second[0].islower()
        assert len(texts(read_srt(without))) == (2 if runs and is_small else 3)


def test_lines_are_as_many_as_fit():
    halves = ["one two three four five six", "seven eight nine ten eleven twelve"]
    document = f"1\n00:00:01,000 --> 00:00:02,000\n{halves[0]}\n{halves[1]}\n"
    lines = translated(read_srt(document), loud).split("\n")[2:-1]
    assert " ".join(lines) == " ".join(halves).upper()
    assert len(lines) == 2
    assert max(map(len, lines)) <= 42


@pytest.mark.parametrize(
    ("document", "named"),
    [
        ("1\nno time\n\n2\n00:00:01,000 --> 00:00:02,000\nyes\n", [1]),
        ("1\n00:00:01,000 --> 00:00:02,000\nyes\n\nno\nno\n", [5]),
        ("WEBVTT\n\n00:01.000 --> 00:02.000\nyes\n", [1]),
        ("7\n", [1]),
        ("1\n00:00:01,000 --> 00:00:02,000\nyes\n2\n00:00:03,000 --> 00:00:04,000\nYes.\n", []),
        ("1\n00:00:01,000 --> 00:00:02,000\n\n", []),
        ("00:00:01,000 --> 00:00:02,000", []),
        ("", []),
        ("\n \n", []),
    ],
)
def test_cues_without_a_time_code_are_passed_through_and_named(document, named):
    pieces = read_srt(document)
    broken = [piece for piece in pieces if isinstance(piece, Fixed) and piece.cause]
    assert [piece.line for piece in broken] == named
    assert all("no time code" in piece.cause for piece in broken)
    assert translated(pieces, loud) == document.replace("yes", "YES").replace("Yes", "YES")


CUES = st.lists(
    st.sampled_from(
        ["one two ", "three. ", "Four ", "- five", "<i>", "</i>", "{\\an8}", "\n", "x", "?", "<b>"]
    ),
    max_size=8,
).map(lambda parts: "".join(parts) + "\n")
FILES = st.lists(
    st.sampled_from(["1\n", "00:00:01,000 --> 00:00:02,000\n", "\n", "\n\n"]) | CUES, max_size=14
).map("".join)


@settings(max_examples=400, deadline=None)
@given(FILES, st.sampled_from(sorted(TRANSLATORS)))
def test_any_file_keeps_its_times_styles_and_words(document, name):
    pieces = read_srt(document)
    assert "".join(piece.raw for piece in pieces) == document
    out = translated(pieces, TRANSLATORS[name])
    assert times(out) == times(document)
    assert styles(out) == styles(document)
    if name != "silent":
        plain = [re.sub(r"<[^>]*>|\{[^}]*\}", "", each).lower() for each in (out, document)]
        assert Counter("".join(plain[0].split())) == Counter("".join(plain[1].split()))
    if name == "identity":
        assert out == document


@settings(max_examples=200, deadline=None)
@given(
    st.lists(st.integers(1, 4), min_size=2, max_size=2),
    st.integers(2, 8),
    st.lists(st.tuples(st.integers(0, 7), st.integers(0, 7)), max_size=10),
)
def test_two_cues_are_cut_where_fewest_links_cross(sizes, n_words, links):
    links = [(i, j) for i, j in links if i < sum(sizes) and j < n_words]

    def crossing(cut: int) -> int:
        return sum((i < sizes[0]) != (j < cut) for i, j in links)

    begin, cut, end = spread(sizes, n_words, links)
    assert (begin, end) == (0, n_words)
    assert crossing(cut) == min(map(crossing, range(1, n_words)))


@pytest.mark.parametrize("n_words", range(12))
def test_every_cue_has_a_word_where_there_are_as_many(n_words):
    cuts = spread([1, 5, 2, 1], n_words, [(i, i) for i in range(9)])
    assert cuts == sorted(cuts)
    sizes = [after - before for before, after in itertools.pairwise(cuts)]
    assert sum(sizes) == n_words
    assert n_words < 4 or min(sizes) > 0
    assert n_words != 9 or sizes == [1, 5, 2, 1]
