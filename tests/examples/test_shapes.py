"""The drawings of the example: each caption read against the pixels of its picture."""

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

SHAPES = Path(__file__).resolve().parents[2] / "examples" / "captions" / "shapes.py"
RGB = {
    "red": (255, 0, 0),
    "green": (0, 128, 0),
    "blue": (0, 0, 255),
    "yellow": (255, 255, 0),
    "black": (0, 0, 0),
}
# The share of its bounding box that a shape fills.
FILLED = {"circle": np.pi / 4, "square": 1.0, "triangle": 0.5}
CAPTION = re.compile(r"a (\w+) (\w+) (left of|right of|above|below) a (\w+) (\w+)")


def drawn(folder, *options):
    pytest.importorskip("PIL")
    subprocess.run([sys.executable, SHAPES, folder, *options], check=True)
    return folder


def rows_of(folder, name):
    header, *lines = (folder / f"{name}.tsv").read_text("utf-8").splitlines()
    assert header == "image\tcaption"
    return [line.split("\t") for line in lines]


def found(pixels, colour, kind):
    """Centre and size of what has a colour, which has to be the shape."""
    rows, columns = np.nonzero((pixels == RGB[colour]).all(-1))
    assert len(rows), colour
    height, width = np.ptp(rows) + 1, np.ptp(columns) + 1
    assert len(rows) / (height * width) == pytest.approx(FILLED[kind], abs=0.06)
    middle = np.array([(rows.max() + rows.min()) / 2, (columns.max() + columns.min()) / 2])
    return middle, max(height, width)


def test_captions_are_true_of_their_pictures(tmp_path):
    from PIL import Image

    drawn(tmp_path, "--train", "40", "--dev", "20")
    seen = set()
    for name, count in (("train", 40), ("dev", 20)):
        rows = rows_of(tmp_path, name)
        assert len(rows) == count
        for image, caption in rows:
            pixels = np.asarray(Image.open(tmp_path / image))
            colour, kind, where, other, other_kind = CAPTION.fullmatch(caption).groups()
            (here, large), (there, small) = (
                found(pixels, colour, kind),
                found(pixels, other, other_kind),
            )
            assert large > small
            down, right = here - there
            assert abs(abs(down) - abs(right)) > 8
            wanted = (
                ("right of" if right > 0 else "left of")
                if abs(right) > abs(down)
                else ("below" if down > 0 else "above")
            )
            assert where == wanted
            seen.add(where)
    assert len(seen) == 4


def test_the_same_seed_draws_the_same(tmp_path):
    few = ("--train", "3", "--dev", "2", "--seed")
    first, again, other = (
        drawn(tmp_path / name, *few, seed) for name, seed in (("a", "5"), ("b", "5"), ("c", "6"))
    )
    for file in first.iterdir():
        assert (again / file.name).read_bytes() == file.read_bytes()
    assert rows_of(other, "train") != rows_of(first, "train")
