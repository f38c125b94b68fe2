"""Maps as numbers: a line of tab-separated values for each weight."""

from __future__ import annotations

from attn_cli.lines.writing import one_field
from attn_cli.viz.job import Sink
from attn_cli.viz.maps import LineMaps


class TableSink(Sink):
    """Line, layer, head, row, its token, column, its token, weight.

    Lines, layers and heads are counted from 1 ("mean" is all heads'), rows and columns from 0,
    through all parts of a line; the model's name stands behind, where there are several. A line
    without attention gives one blank line.
    """

    def add(self, line: LineMaps) -> list[str]:
        """See `Sink`."""
        answers: list[str] = []
        offsets: dict[tuple[str, str], tuple[int, int]] = {}  # what earlier parts have
        several = len(self._selection.models) > 1
        for drawn in line.maps:
            row, column = offsets.get((drawn.model, drawn.kind), (0, 0))
            model = f"\t{one_field(drawn.model)}" if several else ""
            rows = [f"{i}\t{one_field(name)}" for i, name in enumerate(drawn.rows.labels, row)]
            columns = [
                f"{i}\t{one_field(name)}" for i, name in enumerate(drawn.columns.labels, column)
            ]
            answers += [
                f"{line.number}\t{view.layer}\t{head}\t{row_name}\t{column_name}\t{weight:.6f}{model}"
                for view in self._selection.views(drawn)
                for head, matrix in zip(view.heads, view.weights.tolist(), strict=True)
                for row_name, weights in zip(rows, matrix, strict=True)
                for column_name, weight in zip(columns, weights, strict=True)
            ]
            offsets[drawn.model, drawn.kind] = row + len(rows), column + len(columns)
        return answers or [""]
