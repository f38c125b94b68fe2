"""`attn decode` with a classifier of recordings: a label for each file that a line names."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from attn_cli.data.audio import Recording
from attn_cli.device import crew_for, set_up, use_bf16
from attn_cli.errors import UsageError
from attn_cli.lines.columns import Columns
from attn_cli.lines.reading import LineReader
from attn_cli.lines.rows import Row, Rows
from attn_cli.systems.base import DecodeJob
from attn_cli.systems.precision import prepare_models
from attn_cli.systems.recordings.reading import Listener
from attn_cli.systems.tasks.answers import answer_line


class RecordingDecoder:
    """One line in, one line out: the label, then the columns that were not read.

    Args:
        job: what was asked for.

    Raises:
        DataError: the model directory is missing or damaged.
        UsageError: several models.
    """

    def __init__(self, job: DecodeJob) -> None:
        if "," in job.model:
            raise UsageError(f"-m {job.model}: only models that write texts decode as an ensemble")
        self._job = job
        device = set_up(job.runtime)

        def read() -> Listener:
            listener = Listener(job.model, device)
            prepare_models([listener.model], job.model, job.decoding.precision, device, job.say)
            return listener

        self._listener = job.kept.once(("listener", job.decoding.precision), read)
        self._limit = self._listener.limit(job.decoding.max_seconds)
        self._bf16 = use_bf16(job.decoding.precision, device)
        self._crew = crew_for(device)

    def results(self, reader: LineReader) -> Iterator[list[str]]:
        """See `Decoder.results`."""
        rows = Rows(reader, Columns.parse(self._job.stream.columns, 1), self._job.bad, count=1)
        most = min(self._job.decoding.buffer, self._listener.side.most_lines)
        windows = rows.windows(most, first=self._crew.first)
        return self._job.bad.answered(windows, self._answered, reader, self._crew, [rows])

    def _answered(self, window: Sequence[Row]) -> list[str]:
        """The output lines of some rows, answered together."""
        read = [self._parts(row) if row.fields else [] for row in window]
        heard = [parts for parts in read if parts]
        answers = iter(self._listener.answers(heard, self._job.decoding, bf16=self._bf16))
        return [
            answer_line(row, next(answers) if parts else None, self._job.decoding)
            for row, parts in zip(window, read, strict=True)
        ]

    def _parts(self, row: Row) -> list[Recording]:
        parts = self._listener.parts(row, self._job.decoding.image_root, self._limit)
        if len(parts) > 1:
            said = f"long line, read in {len(parts)} parts (--max-seconds)"
            self._job.bad.remark("are long and read in parts (--max-seconds)", row.where, said)
        return parts
