"""Strings of digits out of recordings of single ones, as files that attn reads.

    python3 examples/speech/digits.py free-spoken-digit-dataset/recordings digits

The folder is that of https://github.com/Jakobovski/free-spoken-digit-dataset: WAV files named
DIGIT_SPEAKER_NUMBER.wav. Written are `digits/train.tsv` and `digits/dev.tsv`, strings of 3 to 6
digits that one speaker says, with their recordings, and `digits/labels_train.tsv` and
`digits/labels_dev.tsv`, the single recordings and what they say. Dev has the recordings 5 to 9 of
each speaker and digit, training those from 10 on; 0 to 4, the set's own test part, are left alone.
"""

from __future__ import annotations

import random
import sys
import wave
from collections import defaultdict
from pathlib import Path

NAMES = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
SIZES = {"train": 1500, "dev": 150}
RATE = 8000

Pool = dict[str, list[tuple[int, Path]]]  # speaker -> digits and their recordings


def parts(folder: Path) -> dict[str, Pool]:
    """The recordings of each part, by speaker."""
    found: dict[str, Pool] = {part: defaultdict(list) for part in SIZES}
    for path in sorted(folder.glob("*_*_*.wav")):
        digit, speaker, number = path.stem.split("_")
        if int(number) >= 5:
            part = "dev" if int(number) < 10 else "train"
            found[part][speaker].append((int(digit), path.resolve()))
    return found


def samples(path: Path) -> bytes:
    """What is in a recording."""
    with wave.open(str(path), "rb") as file:
        assert (file.getframerate(), file.getsampwidth(), file.getnchannels()) == (RATE, 2, 1), path
        return file.readframes(file.getnframes())


def write_strings(pool: Pool, folder: Path, part: str, generator: random.Random) -> None:
    """Strings of 3 to 6 digits, with 0.05 to 0.3 seconds of silence between them."""
    (folder / part).mkdir(parents=True, exist_ok=True)
    rows = []
    for number in range(SIZES[part]):
        speaker = generator.choice(sorted(pool))
        chosen = generator.choices(pool[speaker], k=generator.randint(3, 6))
        sound = b""
        for _, path in chosen:
            gap = bytes(2 * int(generator.uniform(0.05, 0.3) * RATE)) if sound else b""
            sound += gap + samples(path)
        name = f"{part}/{number:04}_{speaker}.wav"
        with wave.open(str(folder / name), "wb") as file:
            file.setnchannels(1)
            file.setsampwidth(2)
            file.setframerate(RATE)
            file.writeframes(sound)
        rows.append(f"{name}\t{' '.join(NAMES[digit] for digit, _ in chosen)}\n")
    (folder / f"{part}.tsv").write_text("".join(rows), encoding="utf-8")


def main() -> None:
    if len(sys.argv) != 3:
        sys.exit(f"usage: {sys.argv[0]} RECORDINGS OUT")
    source, folder = map(Path, sys.argv[1:])
    generator = random.Random(1)
    for part, pool in parts(source).items():
        if not pool:
            sys.exit(f"{source}: no recording of part {part}: names are DIGIT_SPEAKER_NUMBER.wav")
        write_strings(pool, folder, part, generator)
        rows = (f"{path}\t{NAMES[digit]}\n" for each in pool.values() for digit, path in each)
        (folder / f"labels_{part}.tsv").write_text("".join(rows), encoding="utf-8")


if __name__ == "__main__":
    main()
