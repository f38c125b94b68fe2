"""Drawings of two shapes and what they show: train.tsv, dev.tsv and their pictures.

    python3 examples/captions/shapes.py drawn        # 3,000 drawings to train on, 200 others

A large shape is named first, then where it lies and of which small one: "a red square left of a
blue circle". Where both would do, the axis counts on which they lie farther apart. So every drawing
has exactly one caption, and a perfect captioner scores 100. The two have different colours. Needs
pillow; the same seed draws the same.
"""

from __future__ import annotations

import argparse
import random
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from PIL import Image, ImageDraw

SIDE = 128  # pixels of a picture's side
LARGE, SMALL = (36, 48), (16, 24)  # pixels of a shape's, at least and at most
APART = 12  # pixels by which one axis has to win
COLOURS = ("red", "green", "blue", "yellow", "black")
SHAPES = ("circle", "square", "triangle")
Fill = str | tuple[int, int, int]
# Draws a picture and says what is in it.
Drawer = Callable[[random.Random], tuple[Image.Image, str]]


@dataclass(frozen=True)
class Shape:
    """A shape in a picture: its kind, its colour, its centre and its side in pixels."""

    kind: str
    colour: str
    x: int
    y: int
    side: int

    @property
    def name(self) -> str:
        """In words."""
        return f"a {self.colour} {self.kind}"

    def draw(self, on: ImageDraw.ImageDraw, fill: Fill | None = None) -> None:
        """Draws it, in its colour or in what goes by its name."""
        fill = fill or self.colour
        half = self.side / 2
        left, top, right, bottom = self.x - half, self.y - half, self.x + half, self.y + half
        if self.kind == "circle":
            on.ellipse((left, top, right, bottom), fill=fill)
        elif self.kind == "square":
            on.rectangle((left, top, right, bottom), fill=fill)
        else:
            on.polygon(((self.x, top), (right, bottom), (left, bottom)), fill=fill)


def somewhere(chance: random.Random, colour: str, sides: tuple[int, int]) -> Shape:
    """A shape of a colour, anywhere in a picture."""
    side = chance.randint(*sides)
    x, y = (chance.randint(side // 2 + 1, SIDE - side // 2 - 1) for _ in range(2))
    return Shape(chance.choice(SHAPES), colour, x, y, side)


def relation(first: Shape, second: Shape) -> str | None:
    """Where the first lies, seen from the second; None: they are too near, or it is not clear."""
    right, down = first.x - second.x, first.y - second.y
    if max(abs(right), abs(down)) <= (first.side + second.side) / 2:
        return None
    if abs(abs(right) - abs(down)) < APART:
        return None
    if abs(right) > abs(down):
        return "right of" if right > 0 else "left of"
    return "below" if down > 0 else "above"


def drawing(chance: random.Random) -> tuple[Image.Image, str]:
    """A picture, and its caption."""
    where = None
    while not where:
        colours = chance.sample(COLOURS, 2)
        first, second = somewhere(chance, colours[0], LARGE), somewhere(chance, colours[1], SMALL)
        where = relation(first, second)
    picture = Image.new("RGB", (SIDE, SIDE), "white")
    for shape in (first, second):
        shape.draw(ImageDraw.Draw(picture))
    return picture, f"{first.name} {where} {second.name}"


def write(folder: Path, name: str, count: int, draw: Drawer, chance: random.Random) -> None:
    """Writes so many pictures and a file of their captions."""
    lines = ["image\tcaption"]
    for number in range(count):
        picture, caption = draw(chance)
        picture.save(folder / f"{name}-{number:05}.png")
        lines.append(f"{name}-{number:05}.png\t{caption}")
    (folder / f"{name}.tsv").write_text("\n".join(lines) + "\n", "utf-8")


def run(about: str | None, draw: Drawer) -> None:
    """Reads the command line, and writes what it asks for."""
    parser = argparse.ArgumentParser(
        description=about, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path, help="where the drawings go")
    parser.add_argument("--train", type=int, default=3000, help="drawings (%(default)s)")
    parser.add_argument("--dev", type=int, default=200, help="other drawings (%(default)s)")
    parser.add_argument("--seed", type=int, default=1, help="of what is drawn (%(default)s)")
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    chance = random.Random(options.seed)
    write(options.folder, "train", options.train, draw, chance)
    write(options.folder, "dev", options.dev, draw, chance)


if __name__ == "__main__":
    run(__doc__, drawing)
