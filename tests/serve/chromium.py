"""Headless Chromium through a pipe, by its own protocol: no driver and no outside address."""

from __future__ import annotations

import base64
import contextlib
import fcntl
import itertools
import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "chrome"))), None)
_FLAGS = (
    *("--headless=new", "--no-sandbox", "--disable-gpu", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
    *("--remote-debugging-pipe", "--disable-dev-shm-usage"),
)


class Page:
    """A page that a script of a test looks at and acts on."""

    def __init__(self, send: int, receive: int) -> None:
        self._send = send
        self._receive = os.fdopen(receive, "rb", closefd=False)
        self._numbers = itertools.count(1)
        self._session = ""
        self.asked: list[str] = []  # the addresses that were asked for

    def open(self, address: str, width: int, *, dark: bool, mobile: bool = False) -> None:
        """Opens an address in a window of this width."""
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        attached = self.call("Target.attachToTarget", targetId=target, flatten=True)
        self._session = attached["sessionId"]
        self.call("Network.enable")
        size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": mobile}
        self.call("Emulation.setDeviceMetricsOverride", **size)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.call("Emulation.setEmulatedMedia", features=[scheme])
        self.call("Page.navigate", url=address)
        self.wait("document.readyState === 'complete'")

    def call(self, method: str, **params: object) -> dict:
        """What the browser answers."""
        number = next(self._numbers)
        message = {"id": number, "method": method, "params": params}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._send, json.dumps(message).encode() + b"\0")
        while True:
            found = self._message()
            if found.get("id") == number:
                assert "error" not in found, found
                return found["result"]
            if found.get("method") == "Network.requestWillBeSent":
                self.asked.append(found["params"]["request"]["url"])

    def _message(self) -> dict:
        raw = bytearray()
        while (byte := self._receive.read(1)) != b"\0":
            assert byte, "Chromium has ended"
            raw += byte
        return json.loads(raw)

    def run(self, expression: str) -> object:
        """The value of an expression, or of what it promises."""
        asked = {"expression": expression, "awaitPromise": True, "returnByValue": True}
        found = self.call("Runtime.evaluate", **asked)
        assert "exceptionDetails" not in found, found
        return found["result"].get("value")

    def wait(self, condition: str) -> None:
        """Waits until something is so, for at most 20 seconds."""
        assert self.run(
            "(async () => { for (let i = 0; i < 400; i++) { if (" + condition + ") return true; "
            "await new Promise(done => setTimeout(done, 50)); } return false; })()"
        ), condition

    def type(self, text: str) -> None:
        """Types where the focus is."""
        for char in text:
            text_of_key = "\r" if char == "\n" else char
            self.call("Input.dispatchKeyEvent", type="char", text=text_of_key)

    def press(self, key: str) -> None:
        """Presses a key that writes nothing."""
        codes = {"ArrowUp": 38, "ArrowDown": 40, "ArrowLeft": 37, "ArrowRight": 39, "Escape": 27}
        codes |= {"Tab": 9}
        for kind in ("rawKeyDown", "keyUp"):
            which = {"key": key, "code": key, "windowsVirtualKeyCode": codes[key]}
            self.call("Input.dispatchKeyEvent", type=kind, **which)

    def point(self, selector: str) -> None:
        """Moves the pointer to the middle of an element."""
        place = self.run(
            f"(() => {{ const e = document.querySelector({json.dumps(selector)}); "
            "e.scrollIntoView({ block: 'center' }); const b = e.getBoundingClientRect(); "
            "return [b.left + b.width / 2, b.top + b.height / 2]; })()"
        )
        assert isinstance(place, list)
        self.call("Input.dispatchMouseEvent", type="mouseMoved", x=place[0], y=place[1])

    def picture(self, path: Path) -> None:
        """Saves the whole page as a PNG."""
        found = self.call("Page.captureScreenshot", captureBeyondViewport=True)
        path.write_bytes(base64.b64decode(found["data"]))


@contextlib.contextmanager
def browser(profile: Path) -> Iterator[Page]:
    """A browser of one test, with a profile of its own."""
    assert CHROMIUM
    ends = [*os.pipe(), *os.pipe()]
    # It reads from 3 and writes to 4, which none of ours may be.
    their_in, our_out, our_in, their_out = (fcntl.fcntl(end, fcntl.F_DUPFD, 20) for end in ends)
    for end in ends:
        os.close(end)
    command = [CHROMIUM, *_FLAGS, f"--user-data-dir={profile}"]
    with subprocess.Popen(
        command,
        preexec_fn=lambda: (os.dup2(their_in, 3), os.dup2(their_out, 4)),
        pass_fds=(3, 4),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as process:
        os.close(their_in)
        os.close(their_out)
        try:
            yield Page(our_out, our_in)
        finally:
            process.terminate()
            process.wait(30)
            os.close(our_out)
            os.close(our_in)
