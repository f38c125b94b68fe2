"""How fast training and decoding go beside busy processes, by how threads wait for each other.

python examples/benchmarks/busy_machine.py train.tsv test.tsv [--busy 0,1,3] [--threads 2]

Trains a model on train.tsv once, then times, for each waiting policy and number of busy processes:
tokens/s of a training (as `--dry-run` says them) and sentences/s of decoding the first column of
test.tsv. Prints a Markdown table; `default` is what attn sets by itself.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

POLICIES = {
    "default": {},
    "spinning": {"OMP_WAIT_POLICY": "active"},
    "libgomp's own": {"GOMP_SPINCOUNT": "300000"},
    "1,000 spins": {"GOMP_SPINCOUNT": "1000"},
}
CHOICES = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME", "OMP_NUM_THREADS")


def attn(policy: dict[str, str], *arguments: object, stdin: bytes = b"") -> str:
    """Runs attn under a policy; what it said."""
    inherited = {name: text for name, text in os.environ.items() if name not in CHOICES}
    command = [sys.executable, "-m", "attn_cli", *map(str, arguments)]
    done = subprocess.run(
        command, input=stdin, capture_output=True, env={**inherited, **policy}, check=True
    )
    return done.stderr.decode()


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("train")
    parser.add_argument("test")
    parser.add_argument("--busy", default="0,1,3")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--steps", type=int, default=200, help="of the model that decodes")
    options = parser.parse_args()
    threads = ("--threads", options.threads, "--device", "cpu")
    lines = [line.split(b"\t")[0] for line in Path(options.test).read_bytes().splitlines()]
    with tempfile.TemporaryDirectory() as place:
        model = Path(place) / "m"
        limits = ("--max-steps", options.steps, "--metric", "loss")
        attn({}, "train-mt", options.train, "-o", model, *limits, *threads)
        print(f"| waiting | busy processes ({options.threads} threads) | tokens/s | sentences/s |")
        print("| --- | --- | --- | --- |")
        for busy in map(int, options.busy.split(",")):
            spin = [sys.executable, "-c", "while True: pass"]
            others = [subprocess.Popen(spin) for _ in range(busy)]
            try:
                for name, policy in POLICIES.items():
                    dry = ("--dry-run", "--metric", "loss", *threads)
                    said = attn(policy, "train-mt", options.train, *dry)
                    speed = re.search(r"\(([\d,]+) tokens/s\)", said)
                    decode = ("decode", "-m", model, "--max-len", 40, *threads)
                    spent = []
                    for text in (lines[:1], lines):  # the time to start is no decoding
                        began = time.monotonic()
                        attn(policy, *decode, stdin=b"\n".join(text) + b"\n")
                        spent.append(time.monotonic() - began)
                    rate = (len(lines) - 1) / max(spent[1] - spent[0], 1e-9)
                    print(f"| {name} | {busy} | {speed and speed[1]} | {rate:.1f} |", flush=True)
            finally:
                for other in others:
                    other.kill()


if __name__ == "__main__":
    main()
