"""HTML: texts are found and put back, and nothing else of a page changes."""

from __future__ import annotations

from collections import Counter

import pytest
from documents import TRANSLATORS, identity, loud, reference, reverse, tags, texts, translated
from hypothesis import example, given, settings
from hypothesis import strategies as st

from attn_cli.markup.html_file import read_html
from attn_cli.markup.html_tokens import Kind, attributes, tokenize
from attn_cli.markup.passages import Fixed

PAGE = """\ufeff<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8">
<title>A  page &amp; more</title><style>p > b { color: red }</style>
<script>if (a < b) document.write("<p>no text</p>");</script></head>
<body class=x>
  <h1>First   heading</h1><!-- a comment -->
  <p>One <b>bold</b> word,
     an <a href="x?a=1&amp;b=2" title="not this">inline <i>link</i></a>.</p>
  <ul><li>item one<li>item <code>two()</code> here</ul>
  <pre>left
   as it is</pre>
  <p translate="no">Untouched <b>name</b></p><p>A <span class="y notranslate">Brand Name</span>!
  <td>&nbsp;</td><td>12</td><p>AT&amp;T &lt;3 caf&eacute;<br>next <img src=a.png alt="text"> line
  <textarea>no <b>text</b></textarea><svg><text>no</text></svg> yes
</body></html>
"""


def test_the_texts_of_a_page():
    assert texts(read_html(PAGE)) == [
        "A page & more",
        "First heading",
        "One bold word, an inline link.",
        "item one",
        "item two() here",
        "A Brand Name!",
        "AT&T <3 café",
        "next line",
        "yes",
    ]


def test_a_page_that_is_translated_to_itself_does_not_change():
    assert translated(read_html(PAGE), identity) == PAGE


def test_a_page_in_reverse_order():
    out = translated(read_html(PAGE), reverse)
    for part in (
        "<title>MORE &amp; PAGE A</title><style>p > b { color: red }</style>\n<script>if (a < b)",
        "  <h1>HEADING FIRST</h1><!-- a comment -->\n  <p>",
        '<p><a href="x?a=1&amp;b=2" title="not this"><i>LINK</i>. INLINE</a> AN WORD, <b>BOLD</b> ',
        "<li>ONE ITEM<li>HERE <code>two()</code> ITEM</ul>\n  <pre>left\n   as it is</pre>",
        '<p translate="no">Untouched <b>name</b></p>',
        '<span class="y notranslate">Brand Name</span> A\n  <td>&nbsp;</td><td>12</td>',
        '<p>CAFÉ &lt;3 AT&amp;T<br><img src=a.png alt="text"> LINE NEXT\n  <textarea>no <b>text',
        "<svg><text>no</text></svg> YES\n</body></html>\n",
    ):
        assert part in out
    assert tags(out) == tags(PAGE)


@pytest.mark.parametrize(
    ("page", "out"),
    [
        ("just text", "TEXT JUST"),
        ("", ""),
        (" \n ", " \n "),
        ("<p>a</p>\r\n", "<p>A</p>\r\n"),
        ("<p>&nbsp; a b </p>", "<p>&nbsp; B A </p>"),
        ("<p>a <b>b</p> c</b>", "<p><b>B A</p> C</b>"),
        ("<B>a</B> b", "B <B>A</B>"),
        ("a < b", "B &lt; A"),
        ("a <3 b", "B &lt;3 A"),
        ("<p>a<p>b", "<p>A<p>B"),
        ("<a><div>a b</div></a>", "<a><div>B A</div></a>"),
        ("a <!-- <b> --> b", "<!-- <b> --> B A"),
        ("a<br/>b", "A<br/>B"),
        ("<p translate=no>a<p>b c", "<p translate=no>a<p>C B"),
        (
            "<div class='notranslate'>a <p>b</p></div> c d",
            "<div class='notranslate'>a <p>b</p></div> D C",
        ),
        ("<span translate=no>a <p>b c</p>", "<span translate=no>A <p>C B</p>"),
        ("<script>never ends <p>a", "<script>never ends <p>a"),
        ("a b<script>x</script>", "B A<script>x</script>"),
        ("<pre>a", "<pre>a"),
        ("x <a title='a > b'>y</a>", "<a title='a > b'>Y</a> X"),
        ('x <a title="a>y</a>', '<a title="a>Y</a> X'),
    ],
)
def test_fragments_and_what_is_no_good_html(page, out):
    assert translated(read_html(page), reverse) == out
    assert translated(read_html(page), identity) == page


@pytest.mark.parametrize(
    ("page", "line", "raw"),
    [
        ("<p>a</p>\n<p>b <i", 2, "<i"),
        ("a\n\n<!-- b", 3, "<!-- b"),
        ("<script>\na", 1, "\na"),
        ("a <title>b", 1, "b"),
    ],
)
def test_what_never_ends_is_named(page, line, raw):
    broken = [piece for piece in read_html(page) if isinstance(piece, Fixed) and piece.cause]
    assert [(piece.line, piece.raw) for piece in broken] == [(line, raw)]
    assert "never ends" in broken[0].cause


def test_a_page_of_another_encoding_gets_numbers_for_characters():
    page = "<meta charset='iso-8859-1'><p>caf&eacute; a</p>"
    assert translated(read_html(page), reverse) == "<meta charset='iso-8859-1'><p>A CAF&#201;</p>"


def test_texts_are_told_by_their_lines():
    pieces = read_html("<p>\n a\n</p>\n<p>b</p>")
    assert [piece.line for piece in pieces if not isinstance(piece, Fixed)] == [2, 4]


def test_attributes_as_pages_write_them():
    assert attributes("<a B='c d' e=f g=\"h='i'\" j k = l/>") == {
        "b": "c d",
        "e": "f",
        "g": "h='i'",
        "k": "l/",
    }


INLINE = ("b", "i", "a", "span")


def _inline(children: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    tagged = st.tuples(st.sampled_from(INLINE), children).map(
        lambda p: "<{0} x='>'>{1}</{0}>".format(*p)
    )
    return st.lists(tagged | children, max_size=3).map("".join)


LEAVES = st.sampled_from(
    ["one ", "two, ", " three", "&amp; ", "é", " (four) ", "<img src=x>", "<!-- <p> -->"]
    + ["<code>f(x)</code>", " <code>a b c d e f g</code> ", "<br>", "\n "]
)
TEXTS = st.recursive(LEAVES, _inline, max_leaves=8)
BLOCKS = st.tuples(st.sampled_from(["p", "div", "td", "h1"]), TEXTS).map(
    lambda pair: "<{0}>{1}</{0}>".format(*pair)
)
PAGES = st.lists(
    BLOCKS | st.sampled_from(["\n", "<pre>x <b>y</b></pre>", "<style>a > b</style>", "<hr>"]),
    max_size=4,
).map("".join)


@settings(max_examples=200, deadline=None)
@given(PAGES, st.sampled_from(sorted(TRANSLATORS)))
@example("<p>one <code>f(x)</code><b x='>'>&amp; </b></p>", "loud")
def test_tags_of_good_pages_stay_all_and_balanced(page, name):
    out = translated(read_html(page), TRANSLATORS[name])
    assert reference(out).is_balanced
    assert tags(out) == tags(page)
    if name in ("reverse", "loud"):  # every word is there; one that stays may be twice
        assert _letters(out) >= _letters(page)
    if name == "identity":
        assert out == page


def _letters(page: str) -> Counter[str]:
    return Counter(filter(str.isalnum, "".join(reference(page).words).lower()))


@settings(max_examples=200, deadline=None)
@given(PAGES)
def test_tokens_are_those_of_the_standard_library(page):
    tokens = list(tokenize(page))
    assert "".join(page[token.start : token.end] for token in tokens) == page
    marked = (Kind.OPENING, Kind.CLOSING, Kind.OTHER)
    ours = [page[token.start : token.end] for token in tokens if token.kind in marked]
    ours = [tag for tag in ours if tag != "a > b"]  # the content of a style
    assert ours == reference(page).tags


@settings(max_examples=500, deadline=None)
@given(
    st.lists(
        st.sampled_from("<>/ab c\"'=!-&;\n")
        | st.sampled_from(["<p>", "</p>", "<b>", "</b>", "<!--", "-->", "<script>", "</script>"])
        | st.sampled_from(["<pre>", "</pre>", "<code>", "</code>", "<b translate=no>", "&amp;"]),
        max_size=30,
    ).map("".join),
    st.sampled_from(sorted(TRANSLATORS)),
)
def test_any_text_keeps_its_markup(page, name):
    pieces = read_html(page)
    assert "".join(piece.raw for piece in pieces) == page
    out = translated(pieces, TRANSLATORS[name])
    if name == "identity":
        assert out == page
    assert _markup(out) == _markup(page)


def _markup(page: str) -> Counter[tuple[Kind, str]]:
    return Counter(
        (token.kind, page[token.start : token.end])
        for token in tokenize(page)
        if token.kind is not Kind.TEXT
    )


@pytest.mark.parametrize(
    "piece",
    ["<", "<b>", "<b ", "</", "<!--", '<a b="', "a <b>c</b> ", "<img> ", "<p translate=no>a "]
    + ["<span translate=no>a ", "<b translate='no", "<svg>", "&", "<script>"],
)
def test_large_pages_take_no_longer_by_the_square(piece):
    page = piece * (60_000 // len(piece))  # by the square: minutes
    assert "".join(each.raw for each in read_html(page)) == page
    assert _markup(translated(read_html(page), loud)) == _markup(page)
