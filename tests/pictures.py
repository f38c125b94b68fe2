"""Images for tests, made by Pillow: drawn shapes with captions, and files that are none."""

from __future__ import annotations

import os
import random
import struct
import zlib
from pathlib import Path
from typing import Any

import pytest

Image = pytest.importorskip("PIL.Image")
ImageDraw = pytest.importorskip("PIL.ImageDraw")

RED, BLUE = (200, 30, 40), (20, 30, 220)
COLOURS = {"red": RED, "blue": BLUE, "green": (30, 160, 30), "yellow": (230, 210, 40)}


def write_shapes(folder: Path, size: int, seed: int, captions: int = 1) -> Path:
    """Pairs of shapes side by side, and a corpus of what they are.

    Each image has `captions` lines, which say the same in other words.
    """
    generator = random.Random(seed)
    folder.mkdir(exist_ok=True)
    lines = []
    for number in range(size):
        picture = Image.new("RGB", (32, 16), "white")
        draw = ImageDraw.Draw(picture)
        names = []
        for left in (2, 18):
            colour, shape = generator.choice(list(COLOURS)), generator.choice(["square", "disc"])
            drawn = draw.rectangle if shape == "square" else draw.ellipse
            drawn((left, 2, left + 11, 13), fill=COLOURS[colour])
            names.append(f"a {colour} {shape}")
        picture.save(folder / f"{number}.png")
        said = [f"{names[0]} left of {names[1]}", f"{names[1]} right of {names[0]}"]
        lines += [f"{number}.png\t{text}\n" for text in said[:captions]]
    corpus = folder / "train.tsv"
    corpus.write_text("".join(lines))
    return corpus


def halves(mode: str = "RGB", size: tuple[int, int] = (40, 20)) -> Any:
    """An image whose left half is red, and the right one blue."""
    picture = Image.new("RGB", size, RED)
    picture.paste(BLUE, (size[0] // 2, 0, *size))
    return picture.convert(mode)


def bomb(path: Path) -> None:
    """A PNG of a few bytes that says it has 30,000 x 30,000 pixels."""
    head = struct.pack(">IIBBBBB", 30_000, 30_000, 8, 2, 0, 0, 0)
    parts = [(b"IHDR", head), (b"IDAT", zlib.compress(bytes(1000))), (b"IEND", b"")]
    chunks = b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in parts
    )
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunks)


def hostile(folder: Path) -> dict[str, str]:
    """Files that are no usable image, and what must be said of them."""
    halves(size=(400, 200)).save(folder / "cut.jpg")
    raw = (folder / "cut.jpg").read_bytes()
    (folder / "cut.jpg").write_bytes(raw[: len(raw) // 2])
    halves().save(folder / "cut.png")
    raw = (folder / "cut.png").read_bytes()
    (folder / "cut.png").write_bytes(raw[:-30])
    (folder / "head.png").write_bytes(raw[:20])
    (folder / "empty.png").write_bytes(b"")
    (folder / "text.png").write_text("no image at all")
    (folder / "script.eps").write_text("%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n")
    (folder / "folder.png").mkdir()
    os.mkfifo(folder / "pipe.png")
    (folder / "loop.png").symlink_to(folder / "loop.png")
    bomb(folder / "bomb.png")
    return {
        "cut.jpg": "damaged",
        "cut.png": "damaged",
        "head.png": "damaged",
        "empty.png": "no image that is known",
        "text.png": "no image that is known",
        "script.eps": "no image that is known",
        "folder.png": "a directory",
        "pipe.png": "no regular file",
        "loop.png": "symbolic links",
        "bomb.png": "million pixels",
        "missing.png": "No such file",
        "x" * 300: "File name too long",
        "a\0b.png": "null",
    }
