"""The panels of a line's picture, row by row: models side by side, layers below each other."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import zip_longest

from attn_cli.viz.maps import AttentionMap, LineMaps
from attn_cli.viz.panels import MatrixPanel, Panel, RegionPanel
from attn_cli.viz.scale import Scale
from attn_cli.viz.selection import HeadSelection
from attn_cli.viz.sentence_panel import SentencePanel
from attn_cli.viz.sound_panel import SoundPanel
from attn_cli.viz.token_labels import visible


def arranged(line: LineMaps, selection: HeadSelection, scale: Scale) -> list[list[Panel]]:
    """The rows of panels.

    A row is a layer of a kind with its heads, beside it that of the next model. Texts stand below
    each other; attributions stand beside the first weights of their model.
    """
    of_models: dict[str, list[list[Panel]]] = {}
    for drawn in line.maps:
        rows = of_models.setdefault(drawn.model, [])
        for row in _rows_of(drawn, selection, scale):
            if drawn.signed and rows and not drawn.of_text:
                rows[0] += row
            else:
                rows.append(row)
    if any(drawn.of_text for drawn in line.maps):
        return [row for rows in of_models.values() for row in rows]
    together = zip_longest(*of_models.values(), fillvalue=[])
    return [[panel for row in rows for panel in row] for rows in together]


def _rows_of(drawn: AttentionMap, selection: HeadSelection, scale: Scale) -> Iterator[list[Panel]]:
    """The rows of one map: a panel for each head of a layer, or where it is a text a row each."""
    for view in selection.views(drawn):
        row: list[Panel] = []
        for head, weights in zip(view.heads, view.weights, strict=True):
            common = drawn, _title(drawn, view.layer, head), weights, scale.of(drawn)
            if drawn.of_text:
                yield [SentencePanel(*common)]
            elif drawn.picture is not None:
                row.append(RegionPanel(*common, drawn.picture))
            elif drawn.sound is not None:
                row.append(SoundPanel(*common, drawn.sound))
            else:
                row.append(MatrixPanel(*common))
        if row:
            yield row


def _title(drawn: AttentionMap, layer: int, head: str) -> tuple[str, ...]:
    """What the model says, if anything; the model; the kind, and where it is in the model."""
    which = "mean of the heads" if head == "mean" else f"head {head}"
    if len(drawn.layers[layer - 1]) == 1:  # there is no other
        which = ""
    where = [] if drawn.signed else [f"layer {layer}", which]
    parts = [drawn.kind, *where, drawn.title]
    said = [visible(drawn.answer)] if drawn.answer else []
    return (*said, drawn.model, ", ".join(part for part in parts if part))
