"""Image files -> pixels of one size. Files are strangers: whatever is wrong with one is its error.

Shapes: h height, w width in pixels.
"""

from __future__ import annotations

import contextlib
import io
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from attn_cli.data.named_files import regular_file, shown_path
from attn_cli.errors import DataError, UsageError

if TYPE_CHECKING:
    from PIL.Image import Image
    from PIL.ImageFile import ImageFile

Pixels = NDArray[np.uint8]

# What Pillow decodes by itself: no format that starts another program (EPS) or names other files.
FORMATS = ("PNG", "JPEG", "GIF", "BMP", "WEBP", "TIFF", "PPM")
PIXEL_LIMIT = 1 << 26  # 67 million: more than cameras make, less than what fills the memory
_BYTE_LIMIT = 1 << 28
_ORIENTATION = 0x0112  # EXIF's tag
_TURNS = {
    2: "FLIP_LEFT_RIGHT",
    3: "ROTATE_180",
    4: "FLIP_TOP_BOTTOM",
    5: "TRANSPOSE",
    6: "ROTATE_270",
    7: "TRANSVERSE",
    8: "ROTATE_90",
}
_LYING = (5, 6, 7, 8)  # those that swap height and width
_WHITE = (255, 255, 255, 255)


@dataclass(frozen=True)
class Picture:
    """An image as a model reads it.

    Attributes:
        pixels: red, green and blue. Shape: (h, w, 3).
        region_size: pixels of a region's side.
        is_first: whether its file has further images, of which nothing is read.
    """

    pixels: Pixels
    region_size: int
    is_first: bool = False

    @property
    def grid(self) -> tuple[int, int]:
        """Rows and columns of regions."""
        height, width = self.pixels.shape[:2]
        return height // self.region_size, width // self.region_size

    def __len__(self) -> int:
        rows, columns = self.grid
        return rows * columns


def read_shape(path: bytes) -> tuple[int, int]:
    """The height and width of an image as it is to be seen, from its file's head.

    Raises:
        DataError, UsageError: as `read_pixels`.
    """
    with _opened(path) as image:
        if image.format == "TIFF":  # which Pillow turns by itself when it is decoded
            image.load()
        width, height = image.size
        return (width, height) if _orientation(image) in _LYING else (height, width)


def read_pixels(path: bytes, height: int, width: int) -> Pixels:
    """The pixels of an image resized to one size; see `read_first`."""
    return read_first(path, height, width)[0]


def read_first(path: bytes, height: int, width: int) -> tuple[Pixels, bool]:
    """The pixels of a file's first image resized to one size, and whether it has further ones.

    It is turned as its EXIF data says, what is transparent lies on white, and greys of more than 8
    bits become 8, the darkest black and the brightest white. Shape: (height, width, 3).

    Raises:
        DataError: it is missing, no image file, damaged or too large; the message says which.
        UsageError: Pillow is not installed.
    """
    with _opened(path) as image:
        import PIL.Image as pillow  # noqa: N813 - a module

        # A JPEG can be decoded at a half, fourth or eighth: twice what is needed loses nothing.
        image.draft("RGB", (2 * max(height, width),) * 2)
        image.load()
        turn = _orientation(image)  # none is left where decoding has turned it
        size = (height, width) if turn in _LYING else (width, height)
        small = _eight_bits(image).resize(size, pillow.Resampling.BILINEAR)
        if turn in _TURNS:
            small = small.transpose(pillow.Transpose[_TURNS[turn]])
        if small.mode == "RGBA":
            white = pillow.new("RGBA", small.size, _WHITE)
            small = pillow.alpha_composite(white, small).convert("RGB")
        return np.asarray(small, np.uint8), _has_more(image)


def _has_more(image: ImageFile) -> bool:
    """Whether a file has further images: frames of an animation, pages.

    Pictures that cameras add to a JPEG (MPO) are parts of the same one.
    """
    if image.format == "MPO":
        return False
    try:
        image.seek(1)
    except Exception:  # there is none, or none that can be read
        return False
    return True


def as_png(pixels: Pixels) -> bytes:
    """The PNG file of an image. Shape: (h, w, 3)."""
    import PIL.Image

    out = io.BytesIO()
    PIL.Image.fromarray(pixels).save(out, "PNG")
    return out.getvalue()


@contextlib.contextmanager
def _opened(path: bytes) -> Iterator[ImageFile]:
    """The image of a file, whose head is read and within the limits.

    Decoders raise nearly every kind of exception at a hostile file (SyntaxError, struct.error,
    KeyError, …); in here all of them mean that it can't be decoded.
    """
    try:
        import PIL.Image as pillow  # noqa: N813 - a module
    except ImportError as error:
        raise UsageError(
            "images need Pillow: pip install '.[image]' beside attn's pyproject.toml"
        ) from error
    name = shown_path(path)
    with regular_file(path, "an image", _BYTE_LIMIT) as file, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of damaged EXIF data; our limit of pixels is lower
        try:
            with pillow.open(file, formats=FORMATS) as image:
                if image.width * image.height > PIXEL_LIMIT:
                    raise pillow.DecompressionBombError
                yield image
        except pillow.DecompressionBombError as error:
            million = PIXEL_LIMIT // 1_000_000
            raise DataError(f"{name}: more than {million} million pixels; scale it down") from error
        except pillow.UnidentifiedImageError as error:
            raise DataError(f"{name}: no image that is known: {', '.join(FORMATS)}") from error
        except Exception as error:
            cause = " ".join(str(error).split())[:120] or type(error).__name__
            raise DataError(f"{name}: damaged: {cause}") from error


def _orientation(image: Image) -> int:
    """The way an image is to be turned, a value of EXIF's; 1, not at all, where that is unknown."""
    try:
        return int(image.getexif().get(_ORIENTATION, 1))
    except Exception:  # whatever is wrong with the EXIF data, the pixels are what counts
        return 1


def _eight_bits(image: Image) -> Image:
    """The image in mode RGB, or RGBA where something is transparent."""
    import PIL.Image as pillow  # noqa: N813 - a module

    # Of no known range (12 bits in a file of 16, heights): from its darkest to its brightest.
    if image.mode.startswith("I;16") or image.mode in ("I", "F"):
        values = np.nan_to_num(np.asarray(image, np.float64), posinf=0.0, neginf=0.0)
        opaque = values != image.info.get("transparency")  # one value, where any is transparent
        seen = values[opaque] if opaque.any() else values
        low, high = seen.min(), seen.max()
        scaled = ((values - low) * (255.0 / (high - low or 1.0))).clip(0.0, 255.0)
        grey = pillow.fromarray(scaled.astype(np.uint8))
        if opaque.all():
            return grey.convert("RGB")
        alpha = pillow.fromarray(np.where(opaque, 255, 0).astype(np.uint8))
        return pillow.merge("LA", (grey, alpha)).convert("RGBA")
    clear = image.mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in image.info
    return image.convert("RGBA" if clear else "RGB")
