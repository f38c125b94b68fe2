"""The options of `attn train-mt` that make a student as wide as its teacher.

    python3 like.py TEACHER

The student learns from about four pairs for each of its teacher's. Left to themselves, its size
would grow with them, and its dropout more slowly.
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
PAIRS = 4  # for one of the teacher's

teacher = json.loads(Path(sys.argv[1], "config.json").read_text("utf-8"))
model = teacher["model"]
print(*(f"{option}={model[name]}" for name, option in SIZES.items() if name in model))
print(f"--dropout-warmup={teacher['options']['training']['dropout_warmup'] / PAIRS:g}")
