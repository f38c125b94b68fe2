"""The server in this process, or in one of its own, for tests."""

from __future__ import annotations

import contextlib
import http.client
import json
import signal
import socket
import subprocess
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

pytest.importorskip("starlette")
pytest.importorskip("uvicorn")
with warnings.catch_warnings():  # newer ones want httpx2
    warnings.simplefilter("ignore")
    from starlette.testclient import TestClient

from program import COMMAND, ENVIRONMENT  # noqa: E402

from attn_cli.config.command import resolve  # noqa: E402
from attn_cli.config.serving import ServeCommand  # noqa: E402
from attn_cli.serve.app import make_app  # noqa: E402
from attn_cli.serve.desk import Desk  # noqa: E402
from attn_cli.serve.meter import Meter  # noqa: E402
from attn_cli.serve.models import open_models  # noqa: E402

CPU = ("--threads", 1, "--device", "cpu")


def open_desk(model: object, keys: frozenset[bytes] = frozenset(), **options: object) -> Desk:
    """What a server of models shares, by options of `attn serve`."""
    given = {"model": str(model), "threads": 1, "device": "cpu", **options}
    command = resolve(ServeCommand, given)
    meter = Meter()
    return Desk(open_models(command, meter, lambda text: None), command.limits, meter, keys)


@contextlib.contextmanager
def serving(
    model: object, keys: frozenset[bytes] = frozenset(), **options: object
) -> Iterator[TestClient]:
    """A client of a server in this process; a mistake of the server's is an answer, too."""
    app = make_app(open_desk(model, keys, **options))
    with TestClient(app, raise_server_exceptions=False) as client:
        yield client


@dataclass
class Running:
    """A server in a process of its own."""

    process: subprocess.Popen[bytes]
    host: str
    port: int

    def ask(self, method: str, path: str, body: object = None) -> tuple[int, bytes]:
        """Status and body of an answer."""
        connection = http.client.HTTPConnection(self.host, self.port, timeout=60)
        with contextlib.closing(connection):
            raw = None if body is None else json.dumps(body).encode()
            connection.request(method, path, raw, {"Content-Type": "application/json"})
            answer = connection.getresponse()
            return answer.status, answer.read()

    def connect(self, seconds: float = 30) -> socket.socket:
        """A bare connection."""
        return socket.create_connection((self.host, self.port), timeout=seconds)

    def stop(self, number: int = signal.SIGTERM) -> tuple[int, str]:
        """Sends a signal; the status, and what was said."""
        self.process.send_signal(number)
        _, said = self.process.communicate(timeout=60)
        return self.process.returncode, said.decode()


@contextlib.contextmanager
def running(model: Path | str, *flags: object) -> Iterator[Running]:
    """`attn serve` on a free port of this machine."""
    command = [*COMMAND, "serve", "-m", model, "--port", 0, *CPU, *flags]
    with subprocess.Popen(
        list(map(str, command)),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=ENVIRONMENT,
    ) as process:
        try:
            assert process.stdout
            line = process.stdout.readline().decode().strip()
            if not line and process.stderr:
                raise AssertionError(process.stderr.read().decode())
            host, _, port = line.removeprefix("http://").rpartition(":")
            yield Running(process, host, int(port))
        finally:
            if process.poll() is None:
                process.kill()
