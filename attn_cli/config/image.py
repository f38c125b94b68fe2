"""Images as a source: how they are read, and what a saved model reads of them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from attn_cli.config import option

IMAGE_ENCODERS = ("conv", "patch")
LONGEST_SIDE = 2048  # pixels that an image is resized to at most
_SIZE = re.compile(r"([0-9]{1,5})x([0-9]{1,5})")


@dataclass(frozen=True, kw_only=True)
class ImageOptions:
    """How images are read."""

    image_encoder: str = option(
        "conv",
        "Of images: regions come from convolutions, or are projected patches.",
        choices=IMAGE_ENCODERS,
        rare=True,
    )
    image_size: str | None = option(
        None,
        "Of images: HEIGHTxWIDTH in pixels to which all are resized, multiples of the region size.",
        show="the shape of the first ones, about 128x128 pixels in all",
        rare=True,
    )
    region_size: int = option(
        16, "Of images: side of a region in pixels: 4, 8, 16, 32 or 64.", low=4, high=64, rare=True
    )

    def check_images(self) -> None:
        """Raises ValueError if there can't be such images."""
        if problem := _region_problem(self.region_size):
            raise ValueError(problem)
        if self.image_size is not None:
            height, width = _parsed(self.image_size)
            for side in (height, width):
                if problem := _side_problem(side, self.region_size):
                    raise ValueError(f"--image-size {self.image_size}: {problem}")

    @property
    def size(self) -> tuple[int, int] | None:
        """Height and width of `image_size`; None where it is not given."""
        return None if self.image_size is None else _parsed(self.image_size)


@dataclass(frozen=True, kw_only=True)
class ImageConfig:
    """What a saved model reads of images."""

    image_encoder: str = option("conv", "What makes regions of images.", choices=IMAGE_ENCODERS)
    image_height: int = option(0, "Of images: pixels.", low=0, high=LONGEST_SIDE)
    image_width: int = option(0, "Of images: pixels.", low=0, high=LONGEST_SIDE)
    region_size: int = option(16, "Side of a region in pixels.", low=4, high=64)

    @property
    def grid(self) -> tuple[int, int]:
        """Rows and columns of regions."""
        return self.image_height // self.region_size, self.image_width // self.region_size

    def check_images(self) -> None:
        """Raises ValueError if images have no size, or none that regions fill."""
        for side in (self.image_height, self.image_width):
            problem = _region_problem(self.region_size) or _side_problem(side, self.region_size)
            if problem:
                raise ValueError(f"image size {self.image_height}x{self.image_width}: {problem}")


def _parsed(text: str) -> tuple[int, int]:
    found = _SIZE.fullmatch(text)
    if not found:
        raise ValueError(f"--image-size {text[:80]} is no HEIGHTxWIDTH, such as 128x128")
    return int(found[1]), int(found[2])


def _region_problem(region: int) -> str | None:
    return None if region & (region - 1) == 0 else f"--region-size {region} is no power of two"


def _side_problem(side: int, region: int) -> str | None:
    if not region <= side <= LONGEST_SIDE:
        return f"a side has {region} to {LONGEST_SIDE} pixels"
    if side % region:
        near = max(1, round(side / region)) * region
        return f"{side} is no multiple of the region size, {region}; {near} is"
    return None


def fitting_size(
    shapes: Sequence[tuple[int, int]], region: int, area: int = 128 * 128
) -> tuple[int, int]:
    """The size to which images of these shapes are resized where none is asked for.

    It has the median ratio of their sides, about `area` pixels but no more than the median image,
    and sides that are multiples of the region's.

    Args:
        shapes: height and width of some images; of none, the size is that of one region.
        region: pixels of a region's side.
        area: pixels.

    Returns:
        Height and width.
    """
    if not shapes:
        return region, region
    ratios = sorted(height / width for height, width in shapes)
    areas = sorted(height * width for height, width in shapes)
    ratio, area = ratios[len(ratios) // 2], min(area, areas[len(areas) // 2])
    sides = ((area * ratio) ** 0.5, (area / ratio) ** 0.5)
    height, width = (
        min(LONGEST_SIDE, max(region, round(side / region) * region)) for side in sides
    )
    return height, width
