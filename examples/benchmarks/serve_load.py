"""How many requests a second `attn serve` answers, beside plain `attn decode` of the same lines.

python examples/benchmarks/serve_load.py MODEL LINES.txt [--clients 1,10,100,1000] [--lines 2000]

A request is one line, and every client sends its next one when it has its answer. Prints a
Markdown table: requests/s, how long an answer takes, what failed, and the server's memory; at the
end with as many clients again that are slow, broken, silent, ask for too much, or leave.
Standard library only.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import resource
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from statistics import median

ATTN = (sys.executable, "-m", "attn_cli")


def post(body: bytes, *, length: int | None = None) -> bytes:
    """A request for a translation; `length` is what its head says, if that is not the body's."""
    head = "POST /translate HTTP/1.1\r\nHost: here\r\nContent-Type: application/json\r\n"
    return (
        f"{head}Content-Length: {len(body) if length is None else length}\r\n\r\n".encode() + body
    )


async def answer(reader: asyncio.StreamReader) -> int:
    """Reads an answer; its status."""
    head = await reader.readuntil(b"\r\n\r\n")
    fields = dict(line.lower().split(b": ", 1) for line in head.split(b"\r\n")[1:-2])
    await reader.readexactly(int(fields[b"content-length"]))
    return int(head.split(b" ", 2)[1])


class Load:
    """What clients of a server see.

    Args:
        port: of the server.

    Attributes:
        waits: seconds of each answer.
        statuses: how many answers had which status, or which error.
    """

    def __init__(self, port: int) -> None:
        self._port = port
        self.waits: list[float] = []
        self.statuses: Counter[object] = Counter()

    async def client(self, bodies: Sequence[bytes]) -> None:
        """Asks for one translation after the other."""
        try:
            reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
            for body in bodies:
                began = time.monotonic()
                writer.write(post(body))
                self.statuses[await answer(reader)] += 1
                self.waits.append(time.monotonic() - began)
            writer.close()
        except (OSError, asyncio.IncompleteReadError) as error:
            self.statuses[type(error).__name__] += 1

    async def nuisance(self, number: int, body: bytes) -> None:
        """A client that is slow, broken, silent, asks for too much, or leaves."""
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
            raw = post(body)
            kind = number % 5
            if kind == 0:
                for at in range(0, len(raw), 8):
                    writer.write(raw[at : at + 8])
                    await asyncio.sleep(0.1)
                await answer(reader)
            elif kind == 1:
                writer.write(b"\x16\x03\x01\xff no HTTP at all\r\n\r\n")
                await reader.read()
            elif kind == 2:
                await asyncio.sleep(2)
            elif kind == 3:
                writer.write(post(b"{", length=1 << 40))
                await answer(reader)
            else:
                writer.write(raw)
                await writer.drain()
            writer.close()

    async def all(self, bodies: Sequence[bytes], n_clients: int, n_nuisances: int) -> float:
        """Shares requests out among clients; the seconds until all have their answers."""
        others = [
            asyncio.create_task(self.nuisance(number, bodies[number % len(bodies)]))
            for number in range(n_nuisances)
        ]
        began = time.monotonic()
        await asyncio.gather(*(self.client(bodies[i::n_clients]) for i in range(n_clients)))
        seconds = time.monotonic() - began
        await asyncio.gather(*others)
        return seconds


def memory(pid: int) -> int:
    """The most MiB that a process has held so far."""
    text = Path(f"/proc/{pid}/status").read_text()
    return int(text.split("VmHWM:")[1].split()[0]) >> 10


def decoded(model: str, lines: Sequence[str], options: Sequence[str]) -> float:
    """Lines a second of `attn decode`, without its start."""
    spent = []
    for part in (lines[:1], lines):
        began = time.monotonic()
        text = "".join(f"{line}\n" for line in part).encode()
        command = [*ATTN, "decode", "-m", model, *options]
        subprocess.run(command, input=text, stdout=subprocess.DEVNULL, check=True)
        spent.append(time.monotonic() - began)
    if spent[1] < 2 * spent[0]:
        sys.exit("decoding takes no longer than its start: more lines are needed (--lines)")
    return (len(lines) - 1) / (spent[1] - spent[0])


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model")
    parser.add_argument("lines")
    parser.add_argument("--clients", default="1,10,100,1000")
    parser.add_argument("--lines", type=int, default=2000, dest="n_lines")
    parser.add_argument("--threads", type=int, default=1)
    given = parser.parse_args()
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))  # a connection is a file
    text = Path(given.lines).read_text("utf-8")
    lines = [line.split("\t")[0] for line in text.split("\n") if line][: given.n_lines]
    options = ("--quiet", "--threads", str(given.threads), "--device", "cpu")
    rate = decoded(given.model, lines, options)
    print("| clients | requests/s | of decode | median ms | 95 % ms | failed | peak MiB |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    print(f"| attn decode | {rate:.0f} lines/s | 1 | | | | |", flush=True)
    command = [*ATTN, "serve", "-m", given.model, "--port", "0", *options]
    limits = ("--max-connections", "8192", "--max-queue", "8192", "--timeout", "300")
    with subprocess.Popen([*command, *limits], stdout=subprocess.PIPE) as server:
        try:
            assert server.stdout
            port = int(server.stdout.readline().rsplit(b":", 1)[1])
            bodies = [json.dumps({"q": line}).encode() for line in lines]
            asyncio.run(Load(port).all(bodies[:50], 5, 0))  # the first ones make ready
            counts = [int(count) for count in given.clients.split(",")]
            for n_clients, n_nuisances in (*((n, 0) for n in counts), (counts[-1], counts[-1])):
                load = Load(port)
                seconds = asyncio.run(load.all(bodies, n_clients, n_nuisances))
                n_good = load.statuses.pop(200, 0)
                waits = sorted(load.waits) or [0.0]
                cells = [
                    f"{n_clients:,}" + (f" and {n_nuisances:,} others" if n_nuisances else ""),
                    f"{n_good / seconds:.0f}",
                    f"{n_good / seconds / rate:.2f}",
                    f"{1000 * median(waits):.0f}",
                    f"{1000 * waits[int(0.95 * (len(waits) - 1))]:.0f}",
                    ", ".join(f"{count} {status}" for status, count in load.statuses.items())
                    or "0",
                    str(memory(server.pid)),
                ]
                print(f"| {' | '.join(cells)} |", flush=True)
        finally:
            server.terminate()


if __name__ == "__main__":
    main()
