"""The options of `attn train-mt` that make a student as wide as its teacher.

    python3 like.py TEACHER TRAIN.tsv DISTILLED.tsv

The student learns from more pairs than its teacher did. Left to themselves, its size would grow
with them, and its dropout more slowly.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

SIZES = {
    "d_model": "--d-model",
    "d_ff": "--d-ff",
    "n_heads": "--n-heads",
    "dropout": "--dropout",
    "src_vocab": "--vocab-size",
}


def lines(path: str) -> int:
    """How many lines a file has."""
    with Path(path).open("rb") as file:
        return sum(1 for _ in file)


folder, train, distilled = sys.argv[1:]
teacher = json.loads(Path(folder, "config.json").read_text("utf-8"))
model = teacher["model"]
print(*(f"{option}={model[name]}" for name, option in SIZES.items() if name in model))
passes = teacher["options"]["training"]["dropout_warmup"] * lines(train) / lines(distilled)
print(f"--dropout-warmup={passes:.3g}")
