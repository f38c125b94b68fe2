"""Two systems beside each other: bars by length and by frequency, and how far lines differ."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from attn_cli.files import write_atomically
from attn_cli.viz.figures import drawing, new_figure, picture_kind, saved
from attn_cli.viz.token_labels import shortened, visible

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_WIDTH, _HEIGHT = 7.5, 2.7  # inches of a panel
_BAR = 0.38  # of the room between two buckets
_COLOURS = ("#1f77b4", "#ff7f0e")
_LONGEST = 40  # characters of a system's name


@dataclass(frozen=True)
class BarPanel:
    """Bars of two systems.

    Attributes:
        label: what is measured.
        what: what the buckets are.
        names: of the buckets.
        counts: what stands in each.
        values: of either system.
    """

    label: str
    what: str
    names: Sequence[str]
    counts: Sequence[int]
    values: tuple[Sequence[float], Sequence[float]]


def draw_contrast(
    path: str,
    title: str,
    systems: tuple[str, str],
    panels: Sequence[BarPanel],
    histogram: Mapping[float, int],
) -> None:
    """Writes the picture.

    Args:
        path: the file: .png, .svg or .pdf.
        title: of the picture.
        systems: their names.
        panels: bars.
        histogram: differences of the lines, the middle of each bin -> lines.

    Raises:
        UsageError: another ending, or matplotlib is not installed.
        AttnError: the file can't be written.
    """
    kind = picture_kind(path)
    names = shortened(visible(systems[0]), _LONGEST), shortened(visible(systems[1]), _LONGEST)
    figure = new_figure(_WIDTH, _HEIGHT * (len(panels) + 1) + 0.3, layout="constrained")
    with drawing():
        *rows, last = figure.subplots(len(panels) + 1, 1, squeeze=False)[:, 0]
        for axes, panel in zip(rows, panels, strict=True):
            _draw_bars(axes, panel, names)
        _draw_histogram(last, histogram, names)
        (rows or [last])[0].set_title(title, fontsize=10, loc="left")
        picture = saved(figure, kind)
    write_atomically(Path(path), picture)


def _draw_bars(axes: Axes, panel: BarPanel, names: tuple[str, str]) -> None:
    places = range(len(panel.names))
    for side, (name, colour) in enumerate(zip(names, _COLOURS, strict=True)):
        lefts = [place + (side - 0.5) * _BAR for place in places]
        bars = axes.bar(lefts, panel.values[side], _BAR, label=name, color=colour)
        axes.bar_label(bars, fmt="%.1f", fontsize=7, padding=1)
    ticks = [f"{name}\n({count:,})" for name, count in zip(panel.names, panel.counts, strict=True)]
    axes.set_xticks(places, ticks, fontsize=8)
    axes.set_xlabel(panel.what, fontsize=8)
    axes.set_ylabel(panel.label, fontsize=9)
    _from_zero(axes, max(map(max, panel.values), default=0))
    axes.legend(fontsize=8, loc="upper left", bbox_to_anchor=(1.0, 1.0), frameon=False)


def _draw_histogram(axes: Axes, histogram: Mapping[float, int], names: tuple[str, str]) -> None:
    from matplotlib.ticker import MaxNLocator

    places = sorted(histogram)
    colours = ["0.6" if place == 0 else _COLOURS[place < 0] for place in places]
    heights = [histogram[place] for place in places]
    bars = axes.bar(places, heights, 8.5, color=colours)
    axes.bar_label(bars, fontsize=7, padding=1)
    axes.set_xlim(-108, 108)
    axes.yaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_xlabel(
        f"difference in sentence BLEU: {names[1]} is better on the left, {names[0]} on the right",
        fontsize=8,
    )
    axes.set_ylabel("lines", fontsize=9)
    axes.tick_params(labelsize=8)
    _from_zero(axes, max(heights, default=0))


def _from_zero(axes: Axes, highest: float) -> None:
    """Bars from 0 up, with room for their numbers, and lines behind them."""
    axes.set_ylim(0, 1.15 * highest or 1)
    axes.grid(visible=True, axis="y", alpha=0.3)
    axes.set_axisbelow(True)
