"""A confusion matrix as a picture: counts, shaded by their share of the gold label.

Shapes: C labels.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from attn_cli.files import write_atomically
from attn_cli.viz.figures import drawing, new_figure, picture_kind, saved
from attn_cli.viz.token_labels import shortened, visible

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MOST_LABELS = 60  # of a picture that can be read
_LONGEST = 24  # characters of a label
_LETTER = 0.085  # inches of one
_CELL, _LEAST_CELL = 0.55, 0.3  # inches of few labels' cells, and of many
_DARK = 0.5  # share from which a count is white


def draw_confusion(
    path: str, title: str, labels: Sequence[str], counts: Sequence[Sequence[int]]
) -> None:
    """Writes the picture.

    Args:
        path: the file: .png, .svg or .pdf.
        title: of the picture.
        labels: of rows and columns.
        counts: how often each column was given where the row is gold. Shape: (C, C).

    Raises:
        UsageError: another ending, or matplotlib is not installed.
        AttnError: the file can't be written.
    """
    kind = picture_kind(path)
    table = np.asarray(counts, np.int64)
    gold = table.sum(1)
    names = [shortened(visible(name), _LONGEST) for name in labels]
    rows = [f"{name}  {size:,}" for name, size in zip(names, gold.tolist(), strict=True)]
    cell = max(_LEAST_CELL, min(_CELL, 6.0 / len(names)))
    room = _LETTER * max(map(len, rows))
    size = cell * len(names) + room
    figure = new_figure(size + 1.5, size + 0.9, layout="constrained")
    with drawing():
        axes = figure.subplots()
        shares = table / np.maximum(gold, 1)[:, None]
        image = axes.imshow(shares, cmap="Blues", vmin=0.0, vmax=1.0)
        axes.set_xticks(range(len(names)), names, rotation=90, fontsize=8)
        axes.set_yticks(range(len(names)), rows, fontsize=8)
        axes.set_xlabel("predicted")
        axes.set_ylabel("gold, and how often")
        axes.set_title(title, fontsize=10, loc="left")
        _write_counts(axes, table, shares, cell)
        bar = figure.colorbar(image, ax=axes, shrink=min(1.0, 3.0 / size), pad=0.02)
        bar.set_label("share of the gold label", fontsize=8)
        bar.ax.tick_params(labelsize=8)
        picture = saved(figure, kind)
    write_atomically(Path(path), picture)


def _write_counts(
    axes: Axes, table: NDArray[np.int64], shares: NDArray[np.float64], cell: float
) -> None:
    """The counts that are not 0, as large as cells of so many inches let them be."""
    for row, column in np.argwhere(table).tolist():
        text = _short(int(table[row, column]))
        points = min(9.0, 0.85 * 72 * cell / (0.62 * len(text)))
        colour = "white" if shares[row, column] > _DARK else "#1b1b1f"
        axes.text(column, row, text, fontsize=points, color=colour, ha="center", va="center")


def _short(count: int) -> str:
    """A count in at most five characters."""
    for unit, letter in ((1_000_000, "M"), (10_000, "k")):
        if count >= unit:
            return f"{count / (1_000 if letter == 'k' else unit):.0f}{letter}"
    return str(count)
