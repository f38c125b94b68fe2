"""`attn decode --markup`: pages and subtitles go in, and come out translated."""

from __future__ import annotations

import re
import subprocess

import pytest
from drawn_models import write_translator
from program import ENVIRONMENT, attn, forked_command, inside

from attn_cli.systems.generation import markup

TAG = re.compile(r"<[^>]*>")
PAGE = b"""<!DOCTYPE html>\r
<p class="x">banu <b>kera</b> limo</p>\r
<p><!-- ra --> <a href="?a&b">ra</a> &amp; monu</p><pre>vo  <b>ra</b></pre><p>12</p>"""
SUBTITLES = b"""\xef\xbb\xbf1\r
00:00:01,000 --> 00:00:02,000\r
<i>banu kera</i>\r
\r
2\r
00:00:02,500 --> 00:00:03,000\r
- limo\r
- ra vo\r
"""


@pytest.fixture(scope="module")
def model(reversal_model):
    return ("-m", reversal_model, "--threads", 1)


def decoded(model, *lines):
    stdin = "".join(f"{line}\n" for line in lines).encode()
    return [
        line.split("\t")
        for line in inside("decode", *model, "--align", stdin=stdin, status=0).lines
    ]


def test_a_page_through_real_pipes(model):
    run = attn("decode", *model, "--markup", "html", stdin=PAGE)
    first, second = (text for text, _ in decoded(model, "banu kera limo", "ra & monu"))
    _, one, two = run.out.decode().split("\r\n")
    assert one.startswith('<p class="x">')
    assert TAG.sub("", one) == first
    assert two.endswith("</p><pre>vo  <b>ra</b></pre><p>12</p>")
    inner = two.split("</p>")[0]
    assert TAG.sub("", inner).split() == second.replace("&", "&amp;").split()
    assert sorted(TAG.findall(run.out.decode())) == sorted(TAG.findall(PAGE.decode()))


def test_tags_stand_around_the_words_that_are_aligned(model):
    n_single = 0
    for words in (["ra", "banu"], ["kera", "limo", "vo"], ["monu", "kera", "baba", "ra"]):
        ((text, links),) = decoded(model, " ".join(words))
        pairs = [tuple(map(int, link.split("-"))) for link in links.split()]
        for marked in range(len(words)):
            page = " ".join(f"<b>{w}</b>" if i == marked else w for i, w in enumerate(words))
            run = inside("decode", *model, "--markup", "html", stdin=page.encode())
            out = run.out.decode()
            assert TAG.sub("", out) == text
            targets = [j for i, j in pairs if i == marked]
            if len(targets) == 1:
                n_single += 1
                assert out.split()[targets[0]] == f"<b>{text.split()[targets[0]]}</b>"
    assert n_single > 1


def test_subtitles_keep_all_but_their_words(model):
    run = inside("decode", *model, "--markup", "srt", stdin=SUBTITLES)
    (first, _), (second, _), (third, _) = decoded(model, "banu kera", "limo", "ra vo")
    expected = SUBTITLES.decode().replace("banu kera", first)
    assert run.out.decode() == expected.replace("limo", second).replace("ra vo", third)


@pytest.mark.parametrize("kind", ["html", "srt"])
def test_an_empty_file_stays_empty(model, kind):
    for stdin in (b"", b"\xef\xbb\xbf", b"\r\n \n"):
        assert inside("decode", *model, "--markup", kind, stdin=stdin).out == stdin


@pytest.mark.parametrize(
    ("kind", "document", "line", "cause"),
    [
        ("html", b"<p>12</p>\n<i", 2, "never ends"),
        ("html", b"<p>\xe9 x</p>", 1, "not UTF-8"),
        ("html", "<p>日本</p>".encode(), 1, "no character of it is known"),
        ("srt", b"1\nx\n\n", 1, "no time code"),
        ("srt", b"1\n00:00:01,000 --> 00:00:02,000\nx\xe9\n", 3, "not UTF-8"),
    ],
)
def test_what_can_not_be_translated_is_passed_through_and_named(model, kind, document, line, cause):
    run = inside("decode", *model, "--markup", kind, stdin=document, status=3)
    assert run.out == document
    assert f"standard input:{line}: " in run.said
    assert cause in run.said
    assert "1 unusable passage: passed through unchanged (--skip-bad accepts this)" in run.said
    assert inside("decode", *model, "--markup", kind, "--skip-bad", stdin=document).out == document


def test_windows_and_workers_change_no_byte(model):
    page = PAGE * 40
    options = ("decode", "-m", model[1], "--greedy", "--markup", "html")
    whole = inside(*options, "--threads", 1, stdin=page).out
    assert inside(*options, "--threads", 1, "--buffer", 3, stdin=page).out == whole
    assert attn(*options, "--threads", 2, "--buffer", 7, stdin=page).out == whole


def test_a_model_without_attention_puts_tags_in_order(tmp_path):
    place = write_translator(tmp_path / "m", "recurrent", attention="none")
    options = ("decode", "-m", place, "--greedy", "--threads", 1, "--markup", "html")
    run = inside(*options, stdin=b"<p>a <b>dog</b> ran</p><p>to <i>the</i> cat</p>")
    assert run.said.count("has no attention to align words by: tags stand by proportion") == 1
    tags = TAG.findall(run.out.decode())
    assert tags == ["<p>", "<b>", "</b>", "</p>", "<p>", "<i>", "</i>", "</p>"]


def test_a_file_that_is_too_large_is_refused(model, monkeypatch):
    monkeypatch.setattr(markup, "_LIMIT", 1 << 20)
    run = inside("decode", *model, "--markup", "html", stdin=b" " * (1 << 21), status=3)
    assert "larger than 1 MiB; split it" in run.said
    assert run.out == b""


def test_a_reader_that_leaves_ends_it_quietly(model):
    command = [
        *forked_command(),
        "decode",
        *map(str, model),
        "--greedy",
        "--markup",
        "html",
        "--buffer",
        "1",
    ]
    process = subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=ENVIRONMENT,
    )
    assert process.stdout
    process.stdout.close()
    _, said = process.communicate(PAGE * 3000, timeout=300)
    assert b"Traceback" not in said
    assert process.returncode in (0, 141, -13)
