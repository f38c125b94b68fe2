"""Marks go where the alignment puts the words that they belong to."""

from __future__ import annotations

import re

import pytest
from documents import reverse
from hypothesis import given, settings
from hypothesis import strategies as st

from attn_cli.markup.passages import Passage, PassageBuilder
from attn_cli.markup.projection import project

TOKEN = re.compile(r"<[^>]*>|[^<]+")


def passage(text: str) -> Passage:
    """A passage of a text with tags; what stands in <k> is kept."""
    builder = PassageBuilder()
    kept = None
    for token in TOKEN.findall(text):
        name = token.strip("</>")
        if token == "<k>" or kept is not None:
            kept = (kept or "") + token
            if token == "</k>":
                builder.kept(kept, kept[3:-4])
                kept = None
        elif not token.startswith("<"):
            builder.text(token)
        elif token.startswith("</"):
            builder.closing(token, name)
        elif name in ("img", "wbr"):
            builder.single(token)
        else:
            builder.opening(token, name)
    return builder.passage()


def reversed_words(text: str) -> str:
    source = passage(text)
    words = source.text.split()
    links = [(len(words) - 1 - j, j) for j in range(len(words))]
    return project(source, " ".join(words[::-1]), links)


@pytest.mark.parametrize(
    ("source", "target"),
    [
        ("a <b>b</b> c", "c <b>b</b> a"),
        ("<i>x y</i> z", "z <i>y x</i>"),
        ("<b>a <i>b</i></b> c", "c <b><i>b</i> a</b>"),
        ("<b>a</b> <i>b</i>", "<i>b</i> <b>a</b>"),
        ("<b>all <i>of</i> it</b>", "<b>it <i>of</i> all</b>"),
        ("go <a>there</a>.", "<a>there</a>. go"),
        ("go (<a>there</a>)", "(<a>there</a>) go"),
        ("drink H<sub>2</sub>O now", "now H<sub>2</sub>O drink"),
        ("<b>foo</b><i>bar</i> baz", "baz <b>foo</b><i>bar</i>"),
        ("one <img> two", "<img> two one"),
        ("<img> one two", "<img> two one"),
        ("one two <img>", "two one <img>"),
        ("one<img> two", "two one<img>"),
        ("one <img>two", "<img>two one"),
        ("use <k>x y</k> then", "then <k>x y</k> use"),
        ("<k>x</k>, then", "then <k>x</k>,"),
        ("a <b></b> b", "<b></b> b a"),
        ("a <b> </b> b", "<b></b> b a"),
        ("<b>x <i>y</b> z</i>", "z <b><i>y x</b></i>"),
        ("a </b> b", "</b> b a"),
        ("a <b>b c", "c <b>b a"),
    ],
)
def test_words_in_reverse_order(source, target):
    assert reversed_words(source) == target


def test_a_mark_holds_the_run_with_most_of_its_words():
    source = passage("<b>v w</b> x y z")
    assert project(source, "a b c d e", [(0, 0), (1, 4)]) == "<b>a</b> b c d e"
    links = [(0, 0), (2, 1), (1, 2), (0, 3), (4, 4)]
    assert project(source, "a b c d e", links) == "a b <b>c d</b> e"


def test_without_alignment_a_mark_is_where_it_was():
    assert project(passage("<b>v</b> w x y"), "a b c d", None) == "<b>a</b> b c d"
    assert project(passage("v w x <b>y</b>"), "a b c d", []) == "a b c <b>d</b>"
    source = passage("v w <b>x</b> y")
    assert project(source, "a b c d", [(0, 0), (1, 1), (3, 3)]) == "a b <b>c</b> d"


def test_kept_text_without_a_word_of_its_own_takes_nobody_elses():
    source = passage("v w <k>x</k> y")
    assert project(source, "a b d", [(0, 0), (1, 1), (3, 2)]) == "a b <k>x</k> d"


@pytest.mark.parametrize(
    ("source", "translation", "target"),
    [
        ("<i>ab <b></i>", "w0.", "<i>w0<b></i>."),
        ("<i><b> ab</i>", "(w0", "(<i><b>w0</i>"),
        ("<i>ab <b></i>", "w0", "<i>w0 <b></i>"),
        ("<i>ab <b></i> cd", "w0 w1", "<i>w0 <b></i> w1"),
    ],
)
def test_a_mark_at_the_end_of_another_cuts_no_word(source, translation, target):
    assert project(passage(source), translation, []) == target


def test_punctuation_beside_a_mark_in_its_word_stays_beside_it():
    source = passage("one <k>f(x)</k>&")
    assert project(source, "ONE F(X)&", [(0, 0), (1, 1)]) == "ONE <k>f(x)</k>&"
    source = passage("one -<b>(x)</b>)!")
    assert project(source, "ONE -(X))!", [(0, 0), (1, 1)]) == "ONE -<b>(X)</b>)!"


def test_an_empty_translation_keeps_the_marks():
    assert project(passage("a <b>b</b> <img> <k>c</k>"), "", None) == "<b></b><img><k>c</k>"


def test_marks_of_scripts_with_vowel_signs_do_not_cut_them():
    source = passage("say <b>hello</b> now")
    assert project(source, "अब नमस्ते कहो", [(2, 0), (1, 1), (0, 2)]) == "अब <b>नमस्ते</b> कहो"


def test_texts_are_escaped_and_marks_are_not():
    source = passage("a <b>b</b>")
    assert project(
        source, "x & y", [(1, 0), (0, 1), (0, 2)], lambda t: t.replace("&", "&amp;")
    ) == ("<b>x</b> &amp; y")


WORDS = st.sampled_from(["ab", "c.", "(d", "e", " ", " ", "  "])
TAGS = st.sampled_from(["<b>", "</b>", "<i>", "</i>", "<u>", "</u>", "<img>", "<wbr>", "<k>x</k>"])


@settings(max_examples=400, deadline=None)
@given(
    st.lists(st.one_of(WORDS, TAGS), max_size=14).map("".join),
    st.integers(0, 9),
    st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), max_size=12),
)
def test_every_mark_is_written_once_and_every_word_not_replaced(text, n_words, links):
    source = passage(text)
    words = [f"w{j}." for j in range(n_words)]
    out = project(source, " ".join(words), links)
    marks = [token for token in TOKEN.findall(text) if token.startswith("<")]
    written = [token for token in TOKEN.findall(out) if token.startswith("<")]
    assert sorted(marks) == sorted(written)
    plain = "".join(
        token for token in TOKEN.findall(out.replace("<k>x</k>", "<k>")) if token[0] != "<"
    )
    left = re.findall(r"w\d", plain)
    assert left == [word[:2] for word in words if word[:2] in left]  # in order, each once
    if "<k>" not in text:
        assert plain.split() == words
    pairs = _pairs(marks)
    if 2 * pairs == sum(mark[-2] in "biu" for mark in marks):  # all of them are
        assert _pairs(written) == pairs


def _pairs(marks: list[str]) -> int:
    """How many pairs tags make, those that overlap left out."""
    count, open_tags = 0, []
    for mark in marks:
        name = mark.strip("</>")
        if mark in ("<b>", "<i>", "<u>"):
            open_tags.append(name)
        elif name in open_tags and mark.startswith("</"):
            del open_tags[len(open_tags) - 1 - open_tags[::-1].index(name) :]
            count += 1
    return count


def test_the_reversal_of_the_tests_is_one():
    assert reverse("a b") == ("B A", [(1, 0), (0, 1)])
