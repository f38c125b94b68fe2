"""Maps as numbers: a line of tab-separated values for each weight."""

from __future__ import annotations

from attn_cli.lines.writing import one_field
from attn_cli.viz.choice import Choice
from attn_cli.viz.job import AttendJob
from attn_cli.viz.maps import AttentionMap, LineMaps


class TableSink:
    """Line, layer, head, row, its token, column, its token, weight.

    Lines, layers and heads are counted from 1 ("mean" is all heads'), rows and columns from 0,
    through all parts of a line. A line without attention gives one blank line.
    """

    def __init__(self, job: AttendJob, choice: Choice) -> None:
        self._choice = choice

    def add(self, line: LineMaps) -> list[str]:
        """See `job.Sink`."""
        found: list[str] = []
        at = dict.fromkeys(self._choice.kinds, (0, 0))
        for one in line.maps:
            first_row, first_column = at[one.kind]
            found += self._lines(one, line.number, first_row, first_column)
            rows, columns = one.rows.labels, one.columns.labels
            at[one.kind] = first_row + len(rows), first_column + len(columns)
        return found or [""]

    def _lines(self, one: AttentionMap, number: int, row: int, column: int) -> list[str]:
        rows = [f"{row + i}\t{one_field(label)}" for i, label in enumerate(one.rows.labels)]
        columns = [
            f"{column + i}\t{one_field(label)}" for i, label in enumerate(one.columns.labels)
        ]
        return [
            f"{number}\t{view.layer}\t{head}\t{row_name}\t{column_name}\t{weight:.6f}"
            for view in self._choice.views(one)
            for head, matrix in zip(view.heads, view.weights.tolist(), strict=True)
            for row_name, weights in zip(rows, matrix, strict=True)
            for column_name, weight in zip(columns, weights, strict=True)
        ]

    def close(self) -> list[str]:
        """Nothing is left."""
        return []
