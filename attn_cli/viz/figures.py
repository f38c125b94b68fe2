"""Figures of matplotlib, without a display, with the fonts that are there, the same each time."""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from attn_cli.errors import AttnError, UsageError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FORMATS = (".png", ".svg", ".pdf")
SEQUENTIAL = "viridis"  # colours of values from 0 up
DIVERGING = "RdBu_r"  # of values below and above 0
# Fonts that together draw most scripts: those that are installed are tried in this order, character
# by character, where the first one has none.
_FONTS = (
    "DejaVu Sans",
    "Noto Sans",
    "Noto Sans CJK SC",
    "Noto Sans CJK JP",
    "Noto Sans Arabic",
    "Noto Sans Hebrew",
    "Noto Sans Devanagari",
    "Noto Sans Bengali",
    "Noto Sans Thai",
    "Arial Unicode MS",
    "Microsoft YaHei",
    "PingFang SC",
    "Hiragino Sans",
)


def picture_kind(path: str) -> str:
    """The kind of picture that a name asks for: png, svg or pdf.

    Raises:
        UsageError: it has another ending.
    """
    kind = Path(path).suffix.lower()
    if kind not in FORMATS:
        raise UsageError(f"{path}: a picture's name ends in {', '.join(FORMATS)}")
    return kind[1:]


def check_picture(path: str) -> None:
    """Makes sure that a picture can be drawn there, before what it shows is computed.

    Raises:
        UsageError: another ending, or matplotlib is not installed.
        AttnError: there is no such directory.
    """
    picture_kind(path)
    new_figure(1, 1)
    folder = Path(path).parent
    if not folder.is_dir():
        raise AttnError(f"{folder}: no such directory; make it first")


def new_figure(
    width: float, height: float, *, layout: Literal["constrained"] | None = None
) -> Figure:
    """The empty figure of so many inches.

    Args:
        width: of the figure.
        height: of the figure.
        layout: what makes room for labels; None: whoever places the axes.

    Raises:
        UsageError: matplotlib is not installed.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise UsageError(
            "a picture needs: pip install '.[plot]' beside attn's pyproject.toml"
        ) from error
    return Figure(figsize=(width, height), layout=layout)


@contextmanager
def drawing(say: Callable[[str], None] | None = None) -> Iterator[None]:
    """A context in which figures are made and saved: no `$` starts a formula, no font is an error.

    Args:
        say: is told where no font has a character, which is drawn as a box then.
    """
    import matplotlib as mpl
    from matplotlib import font_manager

    there = {font.name for font in font_manager.fontManager.ttflist}
    fonts = [name for name in _FONTS if name in there] or ["DejaVu Sans"]
    settings = mpl.rc_context(
        # With fixed names inside, the same model gives the same bytes.
        {"svg.hashsalt": "attn", "text.parse_math": False, "font.family": fonts}
    )
    with settings, warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        yield
    if say and any("missing from" in str(warning.message) for warning in caught):
        say("no font here has some of the characters; they are boxes (a page, .html, has them)")


def text_width(text: str, points: float) -> float:
    """The inches of a line of text, with letters of so many points. To be called in `drawing`."""
    from matplotlib.backends.backend_agg import RendererAgg
    from matplotlib.font_manager import FontProperties

    renderer = RendererAgg(1, 1, 72)  # a dot is a point
    width, _, _ = renderer.get_text_width_height_descent(
        text, FontProperties(size=points), ismath=False
    )
    return float(width) / 72


def saved(figure: Figure, kind: str) -> bytes:
    """The file of a figure, of kind png, svg or pdf, without a date. To be called in `drawing`."""
    out = io.BytesIO()
    dateless = {"png": {}, "svg": {"Date": None}, "pdf": {"CreationDate": None}}
    figure.savefig(out, format=kind, dpi=150, metadata=dateless[kind])
    return out.getvalue()
