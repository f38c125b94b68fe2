"""Values as character cells: colours on a terminal, shades in plain text.

Shapes: S columns.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from attn_cli.viz.maps import Weights
from attn_cli.viz.scale import said
from attn_cli.viz.token_labels import visible

if TYPE_CHECKING:
    from rich.text import Text

SHADES = " ░▒▓█"
BELOW = " .-=#"  # of values below 0
# Dark to bright, nearly even to the eye: matplotlib's viridis at six points.
RAMP = ((68, 1, 84), (65, 68, 135), (42, 120, 142), (34, 168, 132), (122, 209, 81), (253, 231, 37))
# From below 0 to above it: matplotlib's RdBu, reversed, at five points.
DIVERGING = ((33, 102, 172), (146, 197, 222), (247, 247, 247), (244, 165, 130), (178, 24, 43))
_LEGEND = 9  # cells
_BRIGHT = 140  # luminance from which text is black


class Cells:
    """Draws values by their part of the strongest one.

    Args:
        coloured: whether colours are seen.
    """

    def __init__(self, *, coloured: bool) -> None:
        self._coloured = coloured

    def row(self, values: Weights, peak: float, *, signed: bool = False) -> Text:
        """Two cells for each value. Shape: (S,)."""
        from rich.text import Text

        row = Text()
        for value in values.tolist():
            row.append_text(self._painted("  ", value / peak, signed=signed))
        return row

    def legend(self, peak: float, what: str, *, signed: bool = False) -> Text:
        """From the least value to the strongest, and what it is."""
        from rich.text import Text

        parts = np.linspace(-1.0 if signed else 0.0, 1.0, _LEGEND).tolist()
        least = f"-{said(peak)}" if signed else "0"
        cells = [self._painted(" ", part, signed=signed) for part in parts]
        return Text.assemble(f"{least} ", *cells, f" {said(peak)}  {what}")

    def text(
        self,
        chunks: Sequence[tuple[str, bool, float]],
        peak: float,
        width: int,
        *,
        signed: bool = False,
    ) -> list[Text]:
        """A text in lines of so many cells, shaded; without colours, the shades stand below.

        Args:
            chunks: see `sentence.chunks_of`.
            peak: the strongest value.
            width: of a line.
            signed: whether values may be below 0.
        """
        from rich.cells import cell_len
        from rich.text import Text

        lines: list[tuple[Text, Text]] = []
        room = 0
        for text, spaced, value in chunks:
            shown = visible(text)
            size = cell_len(shown)
            gap = " " if spaced and lines and room < width else ""
            if not lines or len(gap) + size > room:
                lines.append((Text(), Text()))
                room, gap = width, ""
            above, below = lines[-1]
            above.append(gap)
            below.append(gap + self._mark(value / peak, signed=signed) * size)
            above.append_text(self._painted(shown, value / peak, signed=signed))
            room -= len(gap) + size
        if self._coloured:
            return [above for above, _ in lines]
        return [line for pair in lines for line in pair]

    def _painted(self, text: str, part: float, *, signed: bool) -> Text:
        """A text over the colour of a part from 0, or -1, to 1; cells become shades without."""
        from rich.text import Text

        is_cell = not text.strip()
        if not self._coloured:
            return Text(self._mark(part, signed=signed) * len(text) if is_cell else text)
        (shade,) = colours(np.asarray([part]), signed=signed).tolist()
        red, green, blue = shade
        luminance = 0.299 * red + 0.587 * green + 0.114 * blue
        ink = "" if is_cell else "#000000 " if luminance > _BRIGHT else "#ffffff "
        return Text(text, style=f"{ink}on #{red:02x}{green:02x}{blue:02x}")

    def _mark(self, part: float, *, signed: bool) -> str:
        shades = BELOW if signed and part < 0 else SHADES
        return shades[round(min(abs(part), 1.0) * (len(shades) - 1))]


def colours(parts: NDArray[np.floating], *, signed: bool = False) -> NDArray[np.int64]:
    """Red, green and blue, 0 to 255, of parts from 0 (or -1) to 1. Shape: (S,) -> (S, 3)."""
    ramp = DIVERGING if signed else RAMP
    points = np.linspace(-1.0 if signed else 0.0, 1.0, len(ramp))
    channels = [np.interp(parts, points, channel) for channel in np.transpose(ramp)]
    return np.stack(channels, -1).round().astype(np.int64)
