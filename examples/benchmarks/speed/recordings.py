"""Recordings that the benchmark draws: noise as WAV files, and letters that it is to say.

What an update costs depends on neither. A recording has ten frames for each token of its text and
its end, about what read speech has, so the tokens that attn counts tell its frames. Imports no
PyTorch.
"""

from __future__ import annotations

import string
import wave
from pathlib import Path

import numpy as np

FRAMES_A_TOKEN = 10
N_FEATURES = 80  # bands of a sound of this rate
RATE = 16_000
_HOP = RATE // 100  # samples from frame to frame
_TOKENS = 10, 60  # of a recording: 1 to 6 seconds
_WORD = 6  # a word and the space behind it
_SIZES = {"recordings": 640, "dev-recordings": 8}  # 37 minutes, as AN4 has


def write_recordings(folder: Path) -> None:
    """`recordings.tsv` and `dev-recordings.tsv`, lines of file<TAB>text, `said.txt`, the files."""
    rng = np.random.default_rng(1)
    for name, size in _SIZES.items():
        (folder / name).mkdir()
        lines, texts = [], []
        for number in range(size):
            n_tokens = int(rng.integers(_TOKENS[0], _TOKENS[1] + 1))
            path = f"{name}/{number}.wav"
            # A frame stands at the first sample, too.
            _write_wave(folder / path, rng, _HOP * (FRAMES_A_TOKEN * n_tokens - 1))
            texts.append(_text(rng, n_tokens - 2))  # beside the space in front, and the end
            lines.append(f"{path}\t{texts[-1]}\n")
        (folder / f"{name}.tsv").write_text("".join(lines), "utf-8")
        if name == "recordings":
            (folder / "said.txt").write_text("".join(f"{text}\n" for text in texts), "utf-8")


def _write_wave(path: Path, rng: np.random.Generator, size: int) -> None:
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(RATE)
        file.writeframes((4000 * rng.standard_normal(size)).clip(-32768, 32767).astype("<i2"))


def _text(rng: np.random.Generator, size: int) -> str:
    """Words of random letters."""
    letters = rng.choice(list(string.ascii_lowercase), size)
    letters[_WORD - 1 : -1 : _WORD] = " "
    return "".join(letters)
