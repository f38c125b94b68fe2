"""Recordings for tests, made of sines by the standard library: tones as words, and files that are
none."""

from __future__ import annotations

import math
import os
import random
import struct
import wave
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

RATE = 8000
# A word is a sound that glides from one frequency to another.
WORDS = {
    "hoo": (300, 300),
    "hee": (1500, 1500),
    "rise": (300, 1500),
    "fall": (1500, 300),
    "siss": (2500, 2900),
}


def glide(first: float, last: float, seconds: float, rate: int = RATE) -> NDArray[np.float64]:
    """A sine whose frequency goes evenly from one to another."""
    t = np.arange(int(seconds * rate)) / rate
    return np.sin(2 * math.pi * (first * t + (last - first) * t * t / (2 * seconds)))


def utterance(words: list[str], generator: random.Random, rate: int = RATE) -> NDArray[np.float64]:
    """Words with digital silence between them, louder or fainter, longer or shorter."""
    return timed_utterance(words, generator, rate)[0]


def timed_utterance(
    words: list[str], generator: random.Random, rate: int = RATE
) -> tuple[NDArray[np.float64], list[tuple[float, float]]]:
    """The same, and the seconds at which each word begins and ends."""
    parts: list[NDArray[np.float64]] = []
    times = []
    for word in words:
        parts.append(np.zeros(int(generator.uniform(0.05, 0.1) * rate)))
        sound = glide(*WORDS[word], generator.uniform(0.15, 0.22), rate)
        begin = sum(map(len, parts))
        times.append((begin / rate, (begin + len(sound)) / rate))
        parts.append(generator.uniform(0.05, 0.9) * sound)
    return np.concatenate([*parts, np.zeros(int(0.05 * rate))]), times


def write_wave(path: Path, samples: NDArray[np.floating], rate: int = RATE, width: int = 2) -> Path:
    """A WAV file of samples from -1 to 1. Shape: (n,), or (n, channels)."""
    columns = samples if samples.ndim == 2 else samples[:, None]
    largest = (1 << (8 * width - 1)) - 1
    numbers = np.round(columns * largest).astype(np.int64)
    if width == 1:
        raw = (numbers + 128).astype(np.uint8).tobytes()
    elif width == 3:
        raw = numbers.astype("<i4").reshape(-1, 1).view(np.uint8)[:, :3].tobytes()
    else:
        raw = numbers.astype(f"<i{width}").tobytes()
    with wave.open(os.fspath(path), "wb") as file:
        file.setnchannels(columns.shape[1])
        file.setsampwidth(width)
        file.setframerate(rate)
        file.writeframes(raw)
    return path


def write_words(folder: Path, size: int, seed: int, longest: int = 3, transcripts: int = 1) -> Path:
    """Recordings of one to `longest` words, and a corpus of what they say.

    Each has `transcripts` lines, the second of them in capitals.
    """
    generator = random.Random(seed)
    folder.mkdir(exist_ok=True)
    lines = []
    for number in range(size):
        words = generator.choices(list(WORDS), k=generator.randint(1, longest))
        write_wave(folder / f"{number}.wav", utterance(words, generator))
        text = " ".join(words)
        lines += [f"{number}.wav\t{said}\n" for said in (text, text.upper())[:transcripts]]
    corpus = folder / "train.tsv"
    corpus.write_text("".join(lines))
    return corpus


def write_matrix(path: Path, shape: tuple[int, ...], descr: str = "<f4", size: int = 0) -> Path:
    """An .npy file whose head says this of so many bytes of zeros."""
    head = repr({"descr": descr, "fortran_order": False, "shape": shape}).encode()
    head += b" " * (63 - (len(head) + 10) % 64) + b"\n"
    path.write_bytes(b"\x93NUMPY\x01\x00" + struct.pack("<H", len(head)) + head + bytes(size))
    return path


def hostile(folder: Path) -> dict[str, str]:
    """Files that are no recordings: what each is called, and what is said of it."""
    sound = write_wave(folder / "sound.wav", glide(300, 900, 0.3)).read_bytes()
    (folder / "empty.wav").write_bytes(b"")
    (folder / "text.wav").write_text("this is not a sound")
    (folder / "cut.wav").write_bytes(sound[:1000])
    (folder / "head.wav").write_bytes(sound[:20])
    write_wave(folder / "nothing.wav", np.zeros(0))
    (folder / "slow.wav").write_bytes(sound[:24] + struct.pack("<I", 7) + sound[28:])
    (folder / "folder.wav").mkdir()
    os.mkfifo(folder / "pipe.wav")
    (folder / "endless.wav").symlink_to("/dev/zero")
    write_matrix(folder / "cube.npy", (2, 3, 4), size=96)
    write_matrix(folder / "objects.npy", (2, 3), "|O", size=48)
    write_matrix(folder / "vast.npy", (1 << 40, 13), size=52)
    write_matrix(folder / "cut.npy", (100, 13), size=52)
    return {
        "none.wav": "No such file",
        "empty.wav": "an empty file",
        "text.wav": "no recording that is known",
        "cut.wav": "cut off after 478 of 2,400 samples",
        "head.wav": "damaged",
        "nothing.wav": "no sound in it",
        "slow.wav": "7 samples a second",
        "folder.wav": "a directory, not a recording",
        "pipe.wav": "no regular file",
        "endless.wav": "no regular file",
        "cube.npy": "a matrix of numbers is needed",
        "objects.npy": "a matrix of numbers is needed",
        "vast.npy": "more than 134,217,728 numbers",
        "cut.npy": "cut off",
    }
