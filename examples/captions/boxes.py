"""Drawings of three boxes with towers or scattered items, and a sentence true of each.

    python3 examples/captions/boxes.py drawn         # 3,000 drawings to train on, 200 others

They look as those of NLVR do (Suhr et al. 2017): three boxes side by side, blocks and items in
yellow, blue and black. But a sentence says which box it means and reads it in one way only: "the
left tower has a blue block over a black block", "the lowest item of the right box is a yellow
circle". So what it names can be learnt from few of them, and be carried over to sentences that
people wrote, if both are trained on together. Needs pillow; the same seed draws the same.
"""

from __future__ import annotations

import random
from dataclasses import replace

from PIL import Image, ImageDraw
from shapes import SHAPES, Shape, run

SIDE, GAP = 100, 50  # pixels of a box's side, and between boxes
BOXES = ("left", "middle", "right")
PALETTE = {"yellow": (255, 255, 0), "blue": (0, 153, 255), "black": (0, 0, 0)}
BLOCK = 20  # pixels of a block's side
HIGHEST = 4  # blocks of a tower
ITEMS, SIDES = (1, 8), (10, 20, 30)  # in a box: how many, how large
APART = 8  # pixels by which the centre of the outermost item of a box has to win
# What is said of an item that wins, and what it wins by: right and down are positive.
OUTERMOST = {"leftmost": (-1, 0), "rightmost": (1, 0), "highest": (0, -1), "lowest": (0, 1)}


def tower(chance: random.Random) -> list[Shape]:
    """Blocks on top of each other, from the top down."""
    count = chance.randint(1, HIGHEST)
    heights = [SIDE - BLOCK // 2 - (BLOCK + 2) * above for above in range(count)]
    return [
        Shape("square", chance.choice(list(PALETTE)), SIDE // 2, y, BLOCK) for y in heights[::-1]
    ]


def of_tower(chance: random.Random, place: str, blocks: list[Shape]) -> str:
    """A sentence about a tower."""
    names = [f"a {block.colour} block" for block in blocks]
    said = (f"{names[0]} at the top", f"{names[-1]} at the base", " over ".join(names))
    return f"the {place} tower has {chance.choice(said)}"


def near(one: Shape, other: Shape) -> bool:
    """Whether two items touch or overlap."""
    return max(abs(one.x - other.x), abs(one.y - other.y)) <= (one.side + other.side) / 2


def items(chance: random.Random) -> list[Shape]:
    """Shapes anywhere in a box, none on another."""
    found: list[Shape] = []
    for _ in range(chance.randint(*ITEMS)):
        side = chance.choice(SIDES)
        x, y = (chance.randint(side // 2, SIDE - side // 2) for _ in range(2))
        one = Shape(chance.choice(SHAPES), chance.choice(list(PALETTE)), x, y, side)
        if not any(near(one, other) for other in found):
            found.append(one)
    return found


def of_items(chance: random.Random, place: str, shapes: list[Shape]) -> str | None:
    """A sentence about the item of a box that lies outermost; None: two lie nearly alike."""
    word = chance.choice(list(OUTERMOST))
    right, down = OUTERMOST[word]
    order = sorted(shapes, key=lambda one: -(one.x * right + one.y * down))
    far = [one.x * right + one.y * down for one in order]
    if len(far) > 1 and far[0] - far[1] < APART:
        return None
    return f"the {word} item of the {place} box is {order[0].name}"


def drawing(chance: random.Random) -> tuple[Image.Image, str]:
    """A picture, and its caption."""
    build, say = chance.choice(((tower, of_tower), (items, of_items)))
    caption = None
    while not caption:
        boxes = [build(chance) for _ in BOXES]
        number = chance.randrange(len(BOXES))
        caption = say(chance, BOXES[number], boxes[number])
    width = len(BOXES) * SIDE + (len(BOXES) - 1) * GAP
    picture = Image.new("RGB", (width, SIDE), "gray")
    on = ImageDraw.Draw(picture)
    for number, shapes in enumerate(boxes):
        start = number * (SIDE + GAP)
        on.rectangle((start, 0, start + SIDE - 1, SIDE - 1), fill="lightgray")
        for shape in shapes:
            replace(shape, x=shape.x + start).draw(on, PALETTE[shape.colour])
    return picture, caption


if __name__ == "__main__":
    run(__doc__, drawing)
