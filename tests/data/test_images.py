"""Image files of every kind, hostile ones among them."""

from __future__ import annotations

import os
import struct
import sys
import zlib

import numpy as np
import pytest
from pictures import BLUE, RED, halves, hostile

from attn_cli.config.image import fitting_size
from attn_cli.config.source import SourceConfig, SourceOptions
from attn_cli.data import images
from attn_cli.data.images import read_first, read_pixels, read_shape
from attn_cli.data.named_files import named_path
from attn_cli.errors import AttnError, DataError, UsageError
from attn_cli.systems.translation.image_cache import ImageCache, ImageCacheWriter
from attn_cli.systems.translation.image_source import ImageSources

Image = pytest.importorskip("PIL.Image")


def corners(pixels):
    return pixels[0, 0].astype(int), pixels[-1, -1].astype(int)


@pytest.mark.parametrize(
    ("name", "mode"),
    [
        *(("a.png", mode) for mode in ("RGB", "P", "RGBA")),
        *(("a.jpg", mode) for mode in ("RGB", "CMYK")),
        *(("a.gif", "P"), ("a.bmp", "RGB"), ("a.webp", "RGB"), ("a.tif", "CMYK"), ("a.ppm", "RGB")),
    ],
)
def test_files_of_every_kind_are_the_same_image(tmp_path, name, mode):
    halves(mode).save(tmp_path / name)
    pixels = read_pixels(os.fsencode(tmp_path / name), 20, 40)
    assert pixels.shape == (20, 40, 3)
    assert pixels.dtype == np.uint8
    for found, expected in zip(corners(pixels), (RED, BLUE), strict=True):
        assert np.abs(found - expected).max() < 40  # JPEG, and CMYK's other colours


def test_resized_as_pillow_does(tmp_path):
    noise = np.random.default_rng(1).integers(0, 256, (37, 53, 3), np.uint8)
    Image.fromarray(noise).save(tmp_path / "a.png")
    theirs = Image.fromarray(noise).resize((32, 16), Image.Resampling.BILINEAR)
    assert np.array_equal(read_pixels(os.fsencode(tmp_path / "a.png"), 16, 32), np.asarray(theirs))


def test_what_is_transparent_lies_on_white(tmp_path):
    clear = Image.new("RGBA", (8, 8), (255, 0, 0, 0))
    clear.putpixel((0, 0), (0, 0, 0, 255))
    clear.save(tmp_path / "a.png")
    pixels = read_pixels(os.fsencode(tmp_path / "a.png"), 8, 8)
    assert pixels[0, 0].tolist() == [0, 0, 0]
    assert pixels[5, 5].tolist() == [255, 255, 255]
    palette = Image.new("P", (8, 8), 1)
    palette.putpalette([9, 9, 9, 7, 7, 7])
    palette.save(tmp_path / "p.gif", transparency=1)
    assert read_pixels(os.fsencode(tmp_path / "p.gif"), 8, 8)[4, 4].tolist() == [255, 255, 255]


def test_sixteen_bits_become_eight(tmp_path):
    values = np.array([[0, 0x1234], [0x80FF, 0xFFFF]], np.uint16)
    Image.fromarray(values).save(tmp_path / "a.png")
    assert read_pixels(os.fsencode(tmp_path / "a.png"), 2, 2)[..., 1].tolist() == [
        [0, 0x12],
        [0x80, 0xFF],
    ]
    Image.fromarray(np.array([[-1.5, 0.0], [0.0, 1.5]], np.float32)).save(tmp_path / "f.tif")
    assert read_pixels(os.fsencode(tmp_path / "f.tif"), 2, 2)[..., 0].tolist() == [
        [0, 127],
        [127, 255],
    ]


@pytest.mark.parametrize("name", ["a.png", "a.jpg", "a.webp", "a.tif"])
@pytest.mark.parametrize("turn", range(1, 9))
def test_images_are_turned_as_their_camera_was_held(tmp_path, turn, name):
    from PIL import ImageOps

    picture = Image.fromarray(np.random.default_rng(3).integers(0, 256, (16, 32, 3), np.uint8))
    exif = Image.Exif()
    exif[0x0112] = turn
    picture.save(tmp_path / name, exif=exif)
    place = os.fsencode(tmp_path / name)
    upright = ImageOps.exif_transpose(Image.open(tmp_path / name))
    assert (upright.width > upright.height) == (turn < 5)
    assert read_shape(place) == (upright.height, upright.width)
    assert np.array_equal(read_pixels(place, upright.height, upright.width), np.asarray(upright))


def write_png(path, values, *chunks):
    """A PNG of 16 bits a sample, written by definition: what Pillow itself does not write."""
    height, width, channels = values.shape
    kind = {1: 0, 2: 4, 3: 2, 4: 6}[channels]
    head = struct.pack(">IIBBBBB", width, height, 16, kind, 0, 0, 0)
    lines = b"".join(b"\0" + line.astype(">u2").tobytes() for line in values)
    parts = [(b"IHDR", head), *chunks, (b"IDAT", zlib.compress(lines)), (b"IEND", b"")]
    body = b"".join(
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
        for name, data in parts
    )
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + body)


def on_white(path):
    """What Pillow makes of an image, on white."""
    image = Image.open(path).convert("RGBA")
    white = Image.new("RGBA", image.size, (255, 255, 255, 255))
    return np.asarray(Image.alpha_composite(white, image).convert("RGB"))


@pytest.mark.parametrize("channels", [2, 3, 4])
def test_colours_of_sixteen_bits_are_pillows(tmp_path, channels):
    values = np.random.default_rng(5).integers(0, 1 << 16, (6, 8, channels))
    write_png(tmp_path / "a.png", values)
    found = read_pixels(os.fsencode(tmp_path / "a.png"), 6, 8)
    assert np.array_equal(found, on_white(tmp_path / "a.png"))
    if channels == 3:
        assert np.array_equal(found, values >> 8)


def test_a_transparent_colour_or_palette_entry_is_white(tmp_path):
    values = np.random.default_rng(6).integers(0, 1 << 16, (6, 8, 3))
    write_png(tmp_path / "a.png", values, (b"tRNS", struct.pack(">HHH", *values[0, 0].tolist())))
    picture = Image.fromarray((values >> 8).astype(np.uint8))
    picture.convert("P").save(tmp_path / "p.png", transparency=bytes(range(256)))
    for name in ("a.png", "p.png"):
        found = read_pixels(os.fsencode(tmp_path / name), 6, 8)
        assert np.array_equal(found, on_white(tmp_path / name)), name
    # Of a grey one of 16 bits, only what can be seen has a darkest and a brightest value.
    grey = np.array([[0xFFFF, 1000], [2000, 3000]])[..., None]
    write_png(tmp_path / "g.png", grey, (b"tRNS", struct.pack(">H", 0xFFFF)))
    found = read_pixels(os.fsencode(tmp_path / "g.png"), 2, 2)
    assert found[..., 0].tolist() == [[255, 0], [127, 255]]


@pytest.mark.parametrize("name", ["c.jpg", "c.tif", "lab.tif"])
def test_other_colours_are_pillows(tmp_path, name):
    noise = np.random.default_rng(7).integers(0, 256, (16, 16, 3), np.uint8)
    mode = "LAB" if name == "lab.tif" else "CMYK"
    Image.fromarray(noise).convert(mode).save(tmp_path / name)
    found = read_pixels(os.fsencode(tmp_path / name), 16, 16)
    assert np.array_equal(found, on_white(tmp_path / name))


@pytest.mark.parametrize("name", ["a.gif", "a.tif", "a.webp", "a.png"])
def test_the_first_of_several_images_counts_and_that_is_told(tmp_path, name):
    frames = [Image.new("RGB", (8, 8), colour) for colour in (RED, BLUE)]
    frames[0].save(tmp_path / name, save_all=True, append_images=frames[1:])
    pixels, is_first = read_first(os.fsencode(tmp_path / name), 8, 8)
    assert np.abs(pixels[0, 0].astype(int) - RED).max() < 10
    assert is_first
    frames[0].save(tmp_path / name)
    assert not read_first(os.fsencode(tmp_path / name), 8, 8)[1]


def test_a_corpus_of_images_tells_of_those_that_are_several(tmp_path):
    frames = [Image.new("RGB", (8, 8), colour) for colour in (RED, BLUE)]
    frames[0].save(tmp_path / "one.gif")
    for name in ("b.gif", "a.gif"):
        frames[0].save(tmp_path / name, save_all=True, append_images=frames[1:])
    options = SourceOptions(source="image", region_size=8)
    sources = ImageSources(options, tmp_path / "work", None, share_vocab=False)
    writer = ImageCacheWriter(tmp_path / "work", "train", None, 8, str(tmp_path))
    assert not any(writer.problem(name, "") for name in ("one.gif", "b.gif", "a.gif", "b.gif"))
    writer.finish()
    (said,) = sources.remarks("train")
    first = f"'{tmp_path / 'b.gif'}': holds several images (frames, pages)"
    assert said == f"{first}, like 1 other file: the first one is read"


def test_what_is_no_image_is_named_and_never_waits(tmp_path, recwarn):
    for name, cause in hostile(tmp_path).items():
        with pytest.raises(DataError, match=cause):
            read_pixels(named_path(name, str(tmp_path)), 16, 16)
    assert not recwarn.list


def test_any_mistake_of_a_decoder_is_the_files(tmp_path):
    """Bytes flipped at random never raise anything else, nor print anything."""
    random = np.random.default_rng(7)
    for name in ("a.png", "a.jpg", "a.gif", "a.tif", "a.webp"):
        halves("P" if name == "a.gif" else "RGB").save(tmp_path / name)
        sound = np.frombuffer((tmp_path / name).read_bytes(), np.uint8)
        for _ in range(25):
            damaged = sound.copy()
            at = random.integers(0, len(sound), 4)
            damaged[at] = random.integers(0, 256, 4)
            (tmp_path / name).write_bytes(damaged.tobytes())
            try:
                assert read_pixels(os.fsencode(tmp_path / name), 8, 8).shape == (8, 8, 3)
            except DataError as error:
                assert name in str(error)


def test_limits_come_before_decoding(tmp_path, monkeypatch):
    halves(size=(40, 20)).save(tmp_path / "a.png")
    monkeypatch.setattr(images, "PIXEL_LIMIT", 799)
    with pytest.raises(DataError, match="scale it down"):
        read_pixels(os.fsencode(tmp_path / "a.png"), 8, 8)
    monkeypatch.setattr(images, "_BYTE_LIMIT", 10)
    with pytest.raises(DataError, match="larger than"):
        read_pixels(os.fsencode(tmp_path / "a.png"), 8, 8)


@pytest.mark.parametrize(
    ("shapes", "region", "expected"),
    [
        ([(100, 400)] * 5, 16, (64, 256)),  # wide ones: a quarter as high, 128 x 128 in all
        ([(480, 640), (640, 480), (480, 640)], 16, (112, 144)),
        ([(32, 32)], 16, (32, 32)),  # never larger than they are
        ([(5, 3)], 16, (16, 16)),
        ([(1, 10**7)], 16, (16, 2048)),
        ([], 8, (8, 8)),
    ],
)
def test_the_size_follows_the_images(shapes, region, expected):
    assert fitting_size(shapes, region) == expected


@pytest.mark.parametrize(
    ("changes", "cause"),
    [
        ({"image_size": "100"}, "no HEIGHTxWIDTH"),
        ({"image_size": "100x96"}, "100 is no multiple of the region size, 16; 96 is"),
        ({"image_size": "4096x16"}, "16 to 2048"),
        ({"region_size": 12}, "no power of two"),
    ],
)
def test_sizes_that_can_t_be_are_refused(changes, cause):
    with pytest.raises(ValueError, match=cause):
        SourceOptions(source="image", **changes)
    with pytest.raises(ValueError, match="without --source image"):
        SourceOptions(**changes)


def test_saved_models_of_images_are_checked():
    good = SourceConfig(source="image", image_height=32, image_width=48)
    good.check_source(0, share_embeddings=False)
    assert good.grid == (2, 3)
    for bad, vocab in ((good, 7), (SourceConfig(source="image"), 0), (SourceConfig(), 0)):
        with pytest.raises(ValueError):  # noqa: PT011 - three different messages
            bad.check_source(vocab, share_embeddings=False)


def write_cache(folder, names, size=None):
    writer = ImageCacheWriter(folder / "work", "train", size, 16, None)
    problems = [writer.problem(name, str(folder)) for name in names]
    writer.finish()
    return ImageCache(folder / "work", "train"), problems


@pytest.mark.parametrize("size", [None, (16, 32)])
def test_the_cache_has_each_image_once(tmp_path, size):
    colours = [(i, 2 * i, 255 - i) for i in range(70)]  # more than decide the size
    for i, colour in enumerate(colours):
        Image.new("RGB", (32, 16), colour).save(tmp_path / f"{i}.png")
    names = [f"{i}.png" for i in (*range(70), 3, 69, 3)]
    cache, problems = write_cache(tmp_path, [*names, "none.png", "none.png"], size)
    assert cache.size == (16, 32)
    assert problems[:-2] == [None] * 73
    assert problems[-1] == problems[-2]
    assert "none.png" in str(problems[-1])
    found = cache.pictures(np.array([0, 69, 70, 71, 72]))
    assert [tuple(one.pixels[5, 5]) for one in found] == [colours[i] for i in (0, 69, 3, 69, 3)]
    assert (tmp_path / "work" / "train.images").stat().st_size == 70 * 16 * 32 * 3
    assert [len(one) for one in found] == [2] * 5


def test_the_cache_knows_when_images_have_changed(tmp_path):
    Image.new("RGB", (16, 16), RED).save(tmp_path / "a.png")
    before = write_cache(tmp_path, ["a.png"])[0].fingerprint
    assert write_cache(tmp_path, ["a.png"])[0].fingerprint == before
    Image.new("RGB", (16, 16), BLUE).save(tmp_path / "a.png")
    assert write_cache(tmp_path, ["a.png"])[0].fingerprint != before


def test_without_pillow_the_remedy_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "PIL", None)
    monkeypatch.setitem(sys.modules, "PIL.Image", None)
    with pytest.raises(UsageError, match=r"pip install '\.\[image\]'") as caught:
        read_pixels(b"a.png", 8, 8)
    assert isinstance(caught.value, AttnError)


@pytest.mark.parametrize("mode", ["I;16", "I", "F"])
def test_greys_of_any_range_go_from_black_to_white(tmp_path, mode):
    """12 bits in a file of 16, as cameras and scanners write them."""
    values = np.array([[0, 1024], [2048, 4095]])
    kind = {"I;16": np.uint16, "I": np.int32, "F": np.float32}[mode]
    name = "a.png" if mode == "I;16" else "a.tif"
    Image.fromarray(values.astype(kind)).save(tmp_path / name)
    pixels = read_pixels(os.fsencode(tmp_path / name), 2, 2)
    assert pixels[..., 0].tolist() == [[0, 63], [127, 255]]
