"""The one scale of a line's pictures: which weight is drawn brightest.

Shapes: H heads, T rows, S columns.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from attn_cli.viz.maps import AttentionMap, LineMaps, Weights
from attn_cli.viz.selection import HeadSelection
from attn_cli.viz.sentence import pieces_of, values_of


@dataclass(frozen=True)
class Scale:
    """The values that are drawn strongest, of all models' maps of a line.

    Attributes:
        weight: of attention; None where none is drawn.
        attribution: of attributions, whichever their sign; None where none is drawn.
    """

    weight: float | None = None
    attribution: float | None = None

    @classmethod
    def of_line(cls, line: LineMaps, selection: HeadSelection, given: float | None) -> Scale:
        """The largest values that are drawn of a line, or the weight that is given.

        Regions of an image take no part: each word's are drawn by their own largest one.
        """
        found: dict[bool, list[float]] = {True: [], False: []}
        for drawn in line.maps:
            for view in selection.views(drawn) if drawn.picture is None else ():
                found[drawn.signed].append(_largest(drawn, view.weights))
        weight = (given or max(found[False]) or 1.0) if found[False] else None
        return cls(weight, (max(found[True]) or 1.0) if found[True] else None)

    def bars(self) -> list[tuple[float, str, bool]]:
        """What a legend says: of each colour bar its end, what it is, whether it has two sides."""
        bars = []
        if self.weight is not None:
            bars.append((self.weight, "attention weight", False))
        if self.attribution is not None:
            bars.append((self.attribution, "attribution", True))
        return bars

    def of(self, drawn: AttentionMap) -> float:
        """The value of a map that is drawn strongest."""
        return (self.attribution if drawn.signed else self.weight) or 1.0


def said(value: float) -> str:
    """A value as legends write it."""
    return f"{value:.2f}" if abs(value) >= 0.095 or value == 0 else f"{value:.1g}"


def _largest(drawn: AttentionMap, weights: Weights) -> float:
    if not drawn.of_text:
        return float(np.abs(weights).max(initial=0.0))
    pieces = pieces_of(drawn.columns)  # several tokens may be drawn as one
    rows = (values_of(pieces, row) for row in weights[:, 0])
    return max((float(np.abs(row).max(initial=0.0)) for row in rows), default=0.0)
