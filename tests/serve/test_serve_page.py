"""The page of `attn serve`, in headless Chromium where there is one."""

from __future__ import annotations

import contextlib
import html
import json
import re
import shutil
import socket
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from unittest import mock

import pytest
from drawn_models import write_translator
from program import inside
from served import CPU, open_desk, serving

from attn_cli.serve import own_routes
from attn_cli.serve.app import make_app

uvicorn = pytest.importorskip("uvicorn")

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "chrome"))), None)
# What a reader does: types, waits, points at a word, goes on by the arrows.
ACTIONS = """
<script>
const until = async (test) => { for (let i = 0; i < 200; i++) {
  if (test()) return; await new Promise(r => setTimeout(r, 50)); } throw new Error("waited"); };
(async () => {
  const told = {};
  try {
    await until(() => known.length);
    at("text").value = "the cat sat on the mat";
    at("text").dispatchEvent(new Event("input"));
    await until(() => at("output").textContent);
    told.output = at("output").textContent;
    told.others = at("others").children.length;
    const words = document.querySelectorAll(".pair .row:last-of-type button");
    told.words = words.length;
    told.idle = document.querySelectorAll(".pair path").length;
    words[0].focus();
    told.on = document.querySelectorAll(".pair .on").length;
    told.shaded = [...document.querySelectorAll(".pair .row:first-of-type button")]
      .filter(b => b.style.background).length;
    words[0].dispatchEvent(new KeyboardEvent("keydown", { key: "ArrowUp", bubbles: true }));
    told.above = document.activeElement.parentElement === document.querySelector(".pair .row");
    const escape = new KeyboardEvent("keydown", { key: "Escape", bubbles: true });
    document.activeElement.dispatchEvent(escape);
    told.back = document.activeElement.id;
    const canvas = document.querySelector("canvas");
    canvas.dispatchEvent(new KeyboardEvent("keydown", { key: "ArrowDown" }));
    told.cell = at("cell").textContent;
    told.wide = document.documentElement.scrollWidth <= innerWidth;
    at("text").value = "x".repeat(60000);
    await translate();
    told.refused = at("said").textContent;
  } catch (error) { told.error = String(error); }
  const pre = document.createElement("pre");
  pre.id = "told";
  pre.textContent = JSON.stringify(told);
  document.body.append(pre);
})();
</script>
"""


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


@contextlib.contextmanager
def site(model: Path, script: str) -> Iterator[str]:
    """The address of a server in this process whose page does something by itself."""
    changed = page().replace("</body>", f"{script}</body>")
    with mock.patch.object(own_routes, "page_text", lambda: changed):
        app = make_app(open_desk(model))
    config = uvicorn.Config(app, log_config=None, log_level="error", ws="none")
    server = uvicorn.Server(config)
    with socket.create_server(("127.0.0.1", 0)) as bound:
        thread = threading.Thread(target=server.run, kwargs={"sockets": [bound]})
        thread.start()
        try:
            yield f"http://127.0.0.1:{bound.getsockname()[1]}/"
        finally:
            server.should_exit = True
            thread.join(30)


def chromium(tmp_path: Path, address: str, *arguments: object) -> str:
    """What Chromium prints of a page."""
    assert CHROMIUM
    command = [CHROMIUM, "--headless=new", "--no-sandbox", "--disable-gpu", "--no-first-run"]
    command += [f"--user-data-dir={tmp_path / 'profile'}", "--virtual-time-budget=20000"]
    command += ["--disable-background-networking", "--disable-component-update"]
    command += [*map(str, arguments), address]
    return subprocess.run(command, capture_output=True, timeout=120).stdout.decode()


@pytest.mark.skipif(not CHROMIUM, reason="no Chromium here")
@pytest.mark.parametrize("width", [1280, 390])
def test_a_reader_translates_and_points_at_words(tmp_path, width):
    model = write_translator(tmp_path / "en-de")
    wanted = inside("decode", "-m", model, *CPU, stdin=b"the cat sat on the mat\n").lines[0]
    with site(model, ACTIONS) as address:
        shown = chromium(tmp_path, address, "--dump-dom", f"--window-size={width},900")
    found = re.search(r'<pre id="told">(.*?)</pre>', shown, re.DOTALL)
    assert found, shown[-2000:]
    told = json.loads(html.unescape(found[1]))
    assert "error" not in told, told
    assert told["output"] == wanted
    assert told["words"] == told["idle"] == len(wanted.split())
    assert 0 < told["others"] <= 3 and told["on"] == 1 and told["shaded"] > 0
    assert told["above"] and told["back"] == "text" and told["wide"]
    assert re.search(r"\d\.\d{4}$", told["cell"])
    assert "50000 characters" in told["refused"]
