"""`attn serve` as a process: its address, its limits on connections, and how it stops."""

from __future__ import annotations

import contextlib
import json
import signal
import socket
import threading
import time
from pathlib import Path

import pytest
from drawn_models import TEXT, write_translator
from program import COMMAND, attn, inside
from served import CPU, running


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> Path:
    return write_translator(tmp_path_factory.mktemp("process") / "en-de")


def head(path: str, length: int) -> bytes:
    lines = [f"POST {path} HTTP/1.1", "Host: here", "Content-Type: application/json"]
    lines += ["Connection: close", f"Content-Length: {length}", "", ""]
    return "\r\n".join(lines).encode()


def rest(connection: socket.socket) -> bytes:
    """All that comes until the other side closes."""
    parts = []
    with contextlib.suppress(ConnectionError):
        while part := connection.recv(1 << 16):
            parts.append(part)
    return b"".join(parts)


def test_a_server_answers_its_clients_and_finishes_before_it_stops(model, tmp_path):
    keys = tmp_path / "keys"
    keys.write_text("# of the test\nsecret\n")
    limits = ("--max-body", 10_000, "--max-chars", 5000, "--max-lines", 64, "--max-batch", 4)
    limits = (*limits, "--max-queue", 100, "--max-connections", 50, "--timeout", 20)
    with running(f"en-de={model}", "--host", "127.0.0.1", "--api-keys", keys, *limits) as server:
        assert server.host == "127.0.0.1"
        assert server.ask("GET", "/health") == (200, b'{"status":"ok"}')
        body = {"q": TEXT, "api_key": "secret"}
        status, answer = server.ask("POST", "/translate", body)
        text = "".join(f"{line}\n" for line in TEXT).encode()
        wanted = inside("decode", "-m", model, *CPU, stdin=text).lines
        assert (status, json.loads(answer)["translatedText"]) == (200, wanted)
        assert server.ask("POST", "/translate", {"q": "a"})[0] == 401

        # A request is in flight when the signal comes: its body is not there as yet.
        raw = json.dumps(body).encode()
        with server.connect() as connection:
            connection.sendall(head("/translate", len(raw)) + raw[:5])
            time.sleep(0.3)
            server.process.send_signal(signal.SIGTERM)
            time.sleep(0.5)
            with pytest.raises(OSError):
                server.connect(1).close()  # nobody else is taken in
            connection.sendall(raw[5:])
            answer = rest(connection)
        assert answer.startswith(b"HTTP/1.1 200")
        assert json.loads(answer.split(b"\r\n\r\n", 1)[1])["translatedText"] == wanted
        status, said = server.stop(signal.SIGTERM)
    assert status == 143
    assert "serves 1 model: en-de" in said and "Traceback" not in said


def test_interrupted_it_says_so(model):
    with running(model, "--quiet") as server:
        assert server.ask("GET", "/languages")[0] == 200
        assert server.stop(signal.SIGINT) == (130, "")


def test_slow_clients_are_let_go_and_others_are_answered(model):
    with running(model, "--timeout", 1.5, "--max-connections", 8) as server:
        silent = [server.connect() for _ in range(3)]
        slow = server.connect()
        slow.sendall(b"GET /health HTTP/1.1\r\nHost:")  # a head that never ends
        late = server.connect()
        late.sendall(head("/translate", 1000) + b"{")  # a body that never comes
        broken = server.connect()
        broken.sendall(b"\x16\x03\x01 no HTTP at all\r\n\r\n")
        assert rest(broken).startswith(b"HTTP/1.1 400")
        assert server.ask("GET", "/health")[0] == 200
        begun = time.monotonic()
        assert b"408" in rest(late).split(b"\r\n")[0]
        for connection in (slow, *silent):
            assert rest(connection) == b""
        assert time.monotonic() - begun < 10
        assert server.ask("GET", "/health")[0] == 200

        many = [server.connect() for _ in range(8)]
        for connection in many:
            connection.sendall(b"GET /health HTTP/1.1\r\n")
        time.sleep(0.2)
        assert server.ask("GET", "/health")[0] == 503
        for connection in many:
            connection.close()
        time.sleep(0.2)
        assert server.ask("GET", "/health")[0] == 200
        assert server.stop()[0] == 143


def test_a_client_that_leaves_is_forgotten(model):
    with running(model, "--max-queue", 600, "--max-lines", 300) as server:
        raw = json.dumps({"q": ["the cat sat on the mat"] * 300}).encode()
        for _ in range(4):  # more than may wait, were they not given up
            with server.connect() as connection:
                connection.sendall(head("/translate", len(raw)) + raw)
                time.sleep(0.1)
        time.sleep(0.5)
        status, answer = server.ask("POST", "/translate", {"q": "a dog"})
        assert status == 200, answer
        assert b'status="499"' in server.ask("GET", "/metrics")[1]
        assert server.stop()[0] == 143


def test_a_port_that_is_taken_is_named(model):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        run = attn("serve", "-m", model, "--port", port, status=1)
    assert f"127.0.0.1:{port}: Address already in use; --port names another" in run.said


def test_nobody_reads_the_address(model):
    import subprocess

    from program import ENVIRONMENT

    command = [*COMMAND, "serve", "-m", model, "--port", 0, *CPU]
    with subprocess.Popen(
        list(map(str, command)), stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=ENVIRONMENT
    ) as process:
        process.stdout.close()
        said = process.stderr.read().decode()
        assert process.wait(60) == 141
    assert "Traceback" not in said


@pytest.mark.slow
def test_a_thousand_clients_slow_and_broken_ones_among_them(model):
    """No crash, bounded memory, and every whole request has an answer."""
    from program import peak_mebibytes

    n_clients, rounds = 1000, 3
    limits = ("--timeout", 120, "--max-connections", 1500, "--max-queue", 4000)
    outcomes: dict[str, int] = {}
    lock = threading.Lock()

    def client(number: int) -> None:
        kind = ("whole", "whole", "whole", "slow", "broken", "leaves", "huge", "silent")[number % 8]
        try:
            outcome = play(kind, number)
        except OSError as error:
            outcome = f"{kind}: {type(error).__name__}"
        with lock:
            outcomes[outcome] = outcomes.get(outcome, 0) + 1

    def play(kind: str, number: int) -> str:
        raw = json.dumps({"q": f"{TEXT[number % 4]} {number % 50}"}).encode()
        with server.connect(150) as connection:
            if kind == "silent":
                time.sleep(1)
                return "silent"
            if kind == "broken":
                connection.sendall(b"\x00\xff" * 200 + b"\r\n\r\n")
                return f"broken: {rest(connection)[9:12].decode()}"
            if kind == "huge":
                connection.sendall(head("/translate", 1 << 40))
                return f"huge: {rest(connection)[9:12].decode()}"
            pieces = [raw[i : i + 4] for i in range(0, len(raw), 4)] if kind == "slow" else [raw]
            connection.sendall(head("/translate", len(raw)))
            for piece in pieces:
                connection.sendall(piece)
                time.sleep(0.05 if kind == "slow" else 0)
            if kind == "leaves":
                return "leaves"
            return f"{kind}: {rest(connection)[9:12].decode()}"

    with running(model, *limits) as server:
        server.ask("POST", "/translate", {"q": TEXT})
        peaks = []
        for _ in range(rounds):
            threads = [threading.Thread(target=client, args=(i,)) for i in range(n_clients)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join(300)
            assert server.process.poll() is None
            assert server.ask("GET", "/health")[0] == 200
            peaks.append(peak_mebibytes(server.process.pid))
        metrics = server.ask("GET", "/metrics")[1].decode()
        status, said = server.stop()
    assert status == 143 and "Traceback" not in said, said[-2000:]
    assert outcomes["whole: 200"] == 3 * 125 * 3, outcomes
    assert outcomes["slow: 200"] == 125 * 3, outcomes
    assert outcomes["broken: 400"] == 125 * 3 and outcomes["huge: 413"] == 125 * 3, outcomes
    assert peaks[-1] < peaks[0] + 60, peaks  # what a round needs is given back
    assert 'attn_queue_lines{model="en-de"} 0' in metrics
