"""The page of `attn serve`, in headless Chromium where there is one."""

from __future__ import annotations

import json
import re

import pytest
from chromium import CHROMIUM, browser
from drawn_models import write_translator
from program import inside
from served import CPU, running, serving

from attn_cli.serve import own_routes

TARGET = ".pair .row:last-of-type button"  # a word of the translation


def page() -> str:
    return own_routes.page_text()


def test_the_page_names_no_outside_address_and_says_so(tmp_path):
    with serving(write_translator(tmp_path / "en-de")) as client:
        answer = client.get("/")
    assert answer.headers["content-type"].startswith("text/html")
    assert "default-src 'none'" in answer.headers["content-security-policy"]
    text = answer.text
    assert text == page()
    addresses = set(re.findall(r"https?://[^\s\"'`)<]+", text))
    assert addresses == {"http://www.w3.org/2000/svg"}  # a name of SVG, which nobody loads
    assert not re.findall(r"\b(?:src|href)\s*=\s*[\"'](?!data:)", text)
    assert "innerHTML" not in text and "prefers-color-scheme: dark" in text


@pytest.mark.skipif(not CHROMIUM, reason="no Chromium here")
@pytest.mark.parametrize(("width", "dark"), [(1280, False), (390, True)])
def test_a_reader_types_and_points_at_words(tmp_path, width, dark):
    model = write_translator(tmp_path / "en-de")
    wanted = inside("decode", "-m", model, *CPU, stdin=b"the cat sat on the mat\n").lines[0]
    n_words = len(wanted.split())
    with running(model) as server, browser(tmp_path / "profile") as seen:
        address = f"http://127.0.0.1:{server.port}/"
        seen.open(address, width, dark=dark, mobile=width < 500)
        seen.wait("known.length")
        assert seen.run("document.activeElement.id") == "text"
        seen.type("the cat sat on the mat")
        seen.wait(f"at('output').textContent === {json.dumps(wanted)}")
        assert seen.run("at('others').children.length") in (1, 2, 3)
        assert seen.run(f"document.querySelectorAll('{TARGET}').length") == n_words
        assert seen.run("document.querySelectorAll('.pair path').length") == n_words

        seen.point(TARGET)
        seen.wait("document.querySelectorAll('.pair .on').length === 1")
        shaded = "[...document.querySelectorAll('.pair .row button')].filter(b => b.title)"
        assert seen.run(f"{shaded}.every(b => b.parentElement.nextSibling)")  # words of the text
        assert sum(seen.run(f"{shaded}.map(b => Number(b.title))")) > 0.8
        seen.point("#said")
        seen.wait("document.querySelectorAll('.pair .on').length === 0")

        seen.run(f"document.querySelector('{TARGET}').focus()")
        seen.press("ArrowUp")
        above = "document.activeElement.parentElement === document.querySelector('.pair .row')"
        assert seen.run(above) and seen.run("document.querySelectorAll('.pair .on').length") == 1
        seen.press("Escape")
        assert seen.run("document.activeElement.id") == "text"
        seen.run("document.querySelector('canvas').focus()")
        seen.press("ArrowDown")
        assert re.search(r" → .*the.*: [01]\.\d{4}$", str(seen.run("at('cell').textContent")))

        scroll = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
        assert seen.run(scroll) <= 0 and seen.run("innerWidth") == width
        back = seen.run("getComputedStyle(document.body).backgroundColor")
        assert back == ("rgb(22, 23, 27)" if dark else "rgb(255, 255, 255)")
        seen.run("at('text').value = 'x'.repeat(60000); translate()")
        assert "50000 characters" in str(seen.run("at('said').textContent"))
        assert seen.asked and all(each.startswith(address) for each in seen.asked)
        assert server.stop()[0] == 143
