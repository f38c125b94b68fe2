"""What a person at a terminal sees of a training."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import struct
import subprocess
import termios

import pytest
from program import ENVIRONMENT, TINY, forked_command, write_reversal

LIMITS = ("--max-steps", 40, "--validate-every", 20, "--metric", "loss", "--matrix-factor", 3)


def at_a_terminal(columns, *arguments):
    """What a command writes to a terminal of so many columns, without colours."""
    controller, terminal = pty.openpty()
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    # These would win over the terminal's own size; test runners set them.
    environment = {k: v for k, v in ENVIRONMENT.items() if k not in ("COLUMNS", "LINES")}
    process = subprocess.Popen(
        [*forked_command(), *map(str, arguments)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=terminal,
        env={**environment, "TERM": "xterm"},
    )
    os.close(terminal)
    seen = b""
    while True:
        try:
            seen += os.read(controller, 1 << 16)
        except OSError:  # the last one who held the terminal is gone
            break
    os.close(controller)
    assert process.wait(60) == 0, seen
    return re.sub(rb"\x1b\[[0-9;?]*[A-Za-z]", b"", seen).decode()


@pytest.mark.parametrize("columns", [80, 120])
def test_the_bar_tells_step_limit_loss_best_speed_and_time_left(tmp_path, columns):
    corpus = write_reversal(tmp_path / "t.tsv", 300, seed=5)
    sizes = ("--vocab-size", 30, "--batch-tokens", 200, *TINY)
    shown = at_a_terminal(columns, "train-mt", corpus, "-o", tmp_path / "m", *sizes, *LIMITS)
    number = r"[\d,]+"
    line = rf"step \d+/40  loss \d\.\d+  (best loss \d\.\d+  )?{number} tokens/s  0:\d\d left"
    assert re.search(line, shown), shown
    assert re.search(line.replace(")?", ")"), shown), shown
    assert re.search(r"step \d+/40  validating", shown), shown
    assert bool(re.search("[━-]{10}", shown)) == (columns > 80)
