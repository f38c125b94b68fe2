"""A training's learning curve as a picture: losses, and below them each other figure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from attn_cli.files import write_atomically
from attn_cli.viz.figures import drawing, new_figure, picture_kind, saved

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_WIDTH, _HEIGHT = 7.0, 2.4  # inches of a panel
_MOST = 6  # panels below that of the losses
_DOTS = 60  # points that are marked one by one


@dataclass(frozen=True)
class CurvePanel:
    """Series of one scale over the steps: name -> value at each step; NaN: none."""

    label: str
    series: Mapping[str, Sequence[float]]


def draw_curve(
    path: str, title: str, steps: Sequence[int], panels: Sequence[CurvePanel], best: int | None
) -> None:
    """Writes the picture.

    Args:
        path: the file: .png, .svg or .pdf.
        title: of the picture.
        steps: the updates of the validations.
        panels: what is drawn, the losses first.
        best: the update whose weights are kept, where a line stands.

    Raises:
        UsageError: another ending, or matplotlib is not installed.
        AttnError: the file can't be written.
    """
    kind = picture_kind(path)
    shown = panels[: _MOST + 1]
    figure = new_figure(_WIDTH, _HEIGHT * len(shown) + 0.4, layout="constrained")
    with drawing():
        column = figure.subplots(len(shown), 1, sharex=True, squeeze=False)[:, 0]
        for axes, panel in zip(column, shown, strict=True):
            _draw(axes, steps, panel, best)
        column[0].set_title(title, fontsize=10)
        column[-1].set_xlabel("updates")
        picture = saved(figure, kind)
    write_atomically(Path(path), picture)


def _draw(axes: Axes, steps: Sequence[int], panel: CurvePanel, best: int | None) -> None:
    marker = "o" if len(steps) <= _DOTS else None
    for name, values in panel.series.items():
        axes.plot(steps, values, label=name, marker=marker, markersize=3, linewidth=1.4)
    if best is not None:
        axes.axvline(best, color="0.5", linestyle="--", linewidth=1, label=f"kept: {best:,}")
    axes.set_ylabel(panel.label)
    axes.grid(visible=True, alpha=0.3)
    axes.legend(fontsize=8)
