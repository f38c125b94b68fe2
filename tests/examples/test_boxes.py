"""The boxes of the captions' example: each sentence read against the pixels of its picture."""

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

BOXES = Path(__file__).resolve().parents[2] / "examples" / "captions" / "boxes.py"
RGB = {"yellow": (255, 255, 0), "blue": (0, 153, 255), "black": (0, 0, 0)}
PLACES = {"left": 0, "middle": 150, "right": 300}  # where a box starts
OF_TOWER = re.compile(r"the (\w+) tower has (.*)")
OF_ITEM = re.compile(r"the (\w+) item of the (\w+) box is a (\w+) (\w+)")
# Right and down are positive.
WAYS = {"leftmost": (-1, 0), "rightmost": (1, 0), "highest": (0, -1), "lowest": (0, 1)}
# The share of its bounding box that an item fills.
FILLED = {"circle": np.pi / 4, "square": 1.0, "triangle": 0.5}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    pytest.importorskip("PIL")
    folder = tmp_path_factory.mktemp("boxes")
    subprocess.run([sys.executable, BOXES, folder, "--train", "40", "--dev", "20"], check=True)
    return folder


def drawings(folder):
    """(pixels, caption) of all drawings."""
    from PIL import Image

    for name, count in (("train", 40), ("dev", 20)):
        header, *lines = (folder / f"{name}.tsv").read_text("utf-8").splitlines()
        assert header == "image\tcaption"
        assert len(lines) == count
        for image, caption in (line.split("\t") for line in lines):
            yield np.asarray(Image.open(folder / image)), caption


def named(box):
    """The colour of each pixel: its name, or nothing."""
    names = np.full(box.shape[:2], "", dtype="<U6")
    for colour, rgb in RGB.items():
        names[(box == rgb).all(-1)] = colour
    return names


def islands(names):
    """Items: masks of pixels of one colour that hang together. Shape of each: that of names."""
    left = names != ""
    while left.any():
        grown = np.zeros_like(left)
        grown[tuple(np.argwhere(left)[0])] = True
        size = 0
        while grown.sum() > size:
            size = grown.sum()
            wide = np.pad(grown, 1)
            grown = left & (
                wide[1:-1, 1:-1] | wide[:-2, 1:-1] | wide[2:, 1:-1] | wide[1:-1, :-2]
                | wide[1:-1, 2:] | wide[:-2, :-2] | wide[2:, 2:] | wide[:-2, 2:] | wide[2:, :-2]
            )  # fmt: skip
        yield grown
        left &= ~grown


def centre(item):
    """(x, y) of the middle of an item's bounding box."""
    rows, columns = np.nonzero(item)
    return (columns.max() + columns.min()) / 2, (rows.max() + rows.min()) / 2


def blocks_of(box):
    """Colours of a tower's blocks from the top down."""
    column = named(box)[:, 50]
    edges = np.flatnonzero(column[1:] != column[:-1]) + 1
    return [str(part[0]) for part in np.split(column, edges) if part[0]]


def is_true_of_tower(said, colours):
    if " at the " in said:
        end = {"top": 0, "base": -1}[said.rsplit(" ", 1)[1]]
        return said.startswith(f"a {colours[end]} block at the ")
    return said == " over ".join(f"a {colour} block" for colour in colours)


def test_sentences_are_true_of_their_pictures(folder):
    seen = set()
    for pixels, caption in drawings(folder):
        assert pixels.shape == (100, 400, 3)
        if match := OF_TOWER.fullmatch(caption):
            place, said = match.groups()
            start = PLACES[place]
            assert is_true_of_tower(said, blocks_of(pixels[:, start : start + 100]))
            seen.add(said.rsplit(" ", 1)[1])
            continue
        word, place, colour, kind = OF_ITEM.fullmatch(caption).groups()
        start = PLACES[place]
        names = named(pixels[:, start : start + 100])
        found = list(islands(names))
        right, down = WAYS[word]
        far = [x * right + y * down for x, y in map(centre, found)]
        order = np.argsort(far)[::-1]
        assert len(far) == 1 or far[order[0]] - far[order[1]] >= 7
        item = found[order[0]]
        assert set(names[item]) == {colour}
        rows, columns = np.nonzero(item)
        area = (np.ptp(rows) + 1) * (np.ptp(columns) + 1)
        assert item.sum() / area == pytest.approx(FILLED[kind], abs=0.1)
        seen.add(word)
    assert {"top", "base", "block", *WAYS} <= seen
