"""Whether a captioner looks at what it names: its attention on regions of the colours it says.

    attn attend --words -m model --image-root images --format tsv dev.tsv > weights.tsv
    python3 examples/captions/grounding.py images dev.tsv < weights.tsv

For each word that names a colour (yellow, blue, black): the weight that lies on regions where at
least a tenth of the pixels is nearest to that colour. Beside it, what chance would give: the same
weights laid on the other pictures that have the colour, and weights that are all alike. A colour
that is not in its picture is counted apart. Words of --things mean whatever is drawn: all that is
neither white nor gray. Needs pillow and numpy.
"""

from __future__ import annotations

import argparse
import sys
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageColor

# What no caption need name, but pixels may be nearest to.
BACKGROUND = ("white", "lightgray", "gray")
ENOUGH = 0.1  # of a region's pixels
FAR = 64  # how far from the background's a colour is that is drawn


@dataclass
class Looks:
    """How the pictures were looked at when a word was said.

    Attributes:
        maps: weights over regions, and the number of their picture. Shape: (R, C) each.
        n_absent: how often the word was said of a picture that has nothing of the kind.
    """

    maps: list[tuple[NDArray[np.float64], int]] = field(default_factory=list)
    n_absent: int = 0


def word_maps(lines: Iterable[str]) -> dict[tuple[int, int, str], dict[tuple[int, int], float]]:
    """Weights of each word of each line: (line, row, word) -> {(region's row, column): weight}."""
    maps: dict[tuple[int, int, str], dict[tuple[int, int], float]] = defaultdict(dict)
    for text in lines:
        line, _, _, row, word, _, region, weight = text.rstrip("\n").split("\t")
        high, wide = map(int, region.split(","))
        maps[int(line), int(row), word.strip(".,").lower()][high, wide] = float(weight)
    return maps


def as_matrix(weights: dict[tuple[int, int], float]) -> NDArray[np.float64]:
    """Weights of regions as they lie. Shape: (R, C)."""
    matrix = np.zeros([size + 1 for size in np.array(list(weights)).max(0)])
    for place, weight in weights.items():
        matrix[place] = weight
    return matrix / matrix.sum()


class Pictures:
    """Pictures, and which of their regions have a colour.

    Args:
        paths: of the pictures.
        colours: names; a pixel is of the nearest.
        things: other names, of every pixel that is no background.
    """

    def __init__(self, paths: list[Path], colours: Iterable[str], things: Iterable[str]) -> None:
        self._paths = paths
        self._names = [*dict.fromkeys([*colours, *BACKGROUND])]
        self._things = frozenset(things)
        self._palette = np.array([ImageColor.getrgb(name) for name in self._names], np.float32)
        self.regions = cache(self._regions)

    def _regions(self, number: int, name: str, shape: tuple[int, int]) -> NDArray[np.bool_]:
        """Regions of picture `number` that have what is named. Shape: (R, C)."""
        with Image.open(self._paths[number]) as opened:
            pixels = np.asarray(opened.convert("RGB"), np.float32)
        distance = ((pixels[:, :, None] - self._palette) ** 2).sum(-1) ** 0.5
        if name in self._things:
            found = distance[:, :, [self._names.index(each) for each in BACKGROUND]].min(-1) > FAR
        else:
            found = distance.argmin(-1) == self._names.index(name)
        bands = (band for band in np.array_split(found, shape[0], axis=0))
        rows = [[part.mean() for part in np.array_split(band, shape[1], axis=1)] for band in bands]
        return np.array(rows) >= ENOUGH


def is_colour(word: str) -> bool:
    """Whether a word is a colour's name."""
    return word in ImageColor.colormap


def figures(looks: Looks, name: str, pictures: Pictures) -> list[float]:
    """Mean weight on regions of what is named: as it is, on other pictures, of even weights."""
    own, other, even = [], [], []
    shape = looks.maps[0][0].shape
    numbers = [*dict.fromkeys(number for _, number in looks.maps)]
    for weights, number in looks.maps:
        here = pictures.regions(number, name, shape)
        own.append(weights[here].sum())
        even.append(here.mean())
        others = [pictures.regions(one, name, shape) for one in numbers if one != number]
        other += [np.mean([weights[there].sum() for there in others])] if others else []
    return [float(np.mean(each)) if each else float("nan") for each in (own, other, even)]


def main() -> int:
    """Reads the command line."""
    parser = argparse.ArgumentParser(description="Attention on regions of the colours it says.")
    parser.add_argument("folder", type=Path, help="where the pictures are")
    parser.add_argument("captions", type=Path, help="the lines `attn attend` read, picture first")
    parser.add_argument("--things", default="", help="words for whatever is drawn: tower,block")
    options = parser.parse_args()
    lines = options.captions.read_text("utf-8").splitlines()
    paths = [options.folder / line.split("\t")[0] for line in lines]
    things = [word for word in options.things.lower().split(",") if word]
    maps = word_maps(sys.stdin)
    said = dict.fromkeys(word for _, _, word in maps if is_colour(word) or word in things)
    pictures = Pictures(paths, filter(is_colour, said), things)
    looks: dict[str, Looks] = {word: Looks() for word in said}
    for line, row, word in maps:
        if word not in looks:
            continue
        weights = as_matrix(maps[line, row, word])
        if pictures.regions(line - 1, word, weights.shape).any():
            looks[word].maps.append((weights, line - 1))
        else:
            looks[word].n_absent += 1
    print("word", "said", "absent", "weight on it", "on other pictures", "even", sep="\t")
    for word, own in looks.items():
        if own.maps:
            shares = (f"{share:.3f}" for share in figures(own, word, pictures))
            print(word, len(own.maps), own.n_absent, *shares, sep="\t")
    if not looks:
        print("no word for a colour, and none of --things, was said", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
