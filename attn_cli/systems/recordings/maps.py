"""Maps of classifiers of recordings: which moments decide, and what each moment attends to.

Shapes: B batch, H heads, S positions.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from attn_cli.config.decoding import DecodeOptions
from attn_cli.data.audio import Recording
from attn_cli.device import set_up
from attn_cli.errors import UsageError
from attn_cli.lines.rows import Row
from attn_cli.systems.recordings.reading import Listener
from attn_cli.viz.job import AttendJob
from attn_cli.viz.lines import MOST_PARTS, Drawn, LineSource
from attn_cli.viz.maps import AttentionMap, Axis, to_array

_WHOLE = Axis(("recording",))


class RecordingSource(LineSource):
    """A line names a recording; its label stands above the picture.

    Args:
        job: what was asked for.

    Raises:
        DataError: the model directory is damaged.
        UsageError: options that recordings have no use for.
    """

    n_fields = 1

    def __init__(self, job: AttendJob) -> None:
        super().__init__(job)
        for flag, given in (("--pairs", job.options.pairs), ("--words", job.options.words)):
            if given:
                raise UsageError(
                    f"{flag}: recordings that are labelled have no words; leave it out"
                )
        self._listener = Listener(job.model, set_up(job.runtime))
        self._limit = job.options.max_input or self._listener.limit(None)
        self.score = self._listener.model.config.attention
        probe = self._weights(self._listener.side.blank)
        self.heads = {kind: [len(layer[0]) for layer in layers] for kind, layers in probe.items()}

    def answers(self, rows: Sequence[Row]) -> Iterator[Drawn]:
        """See `LineSource`."""
        for row in rows:
            parts = self._listener.parts(row, self.job.options.image_root, self._limit)
            if not parts:
                yield (), []
                continue
            self.say_parts(row, len(parts))
            (answer,) = self._listener.answers([parts], DecodeOptions(), bf16=False)
            said = f"{answer.text}  {answer.probability:.3f}"
            maps: list[AttentionMap] = []
            for number, part in enumerate(parts[:MOST_PARTS], 1):
                title = f"part {number} of {len(parts)}" if len(parts) > 1 else ""
                maps += self._maps(part, row.fields[0], title, said)
            yield (row.fields[0],), maps

    def _maps(self, part: Recording, name: str, title: str, said: str) -> Iterator[AttentionMap]:
        times = self._listener.side.axis(part, name)
        for kind, layers in self._weights(part).items():
            rows = _WHOLE if kind == "recording" else times
            yield AttentionMap(
                kind, tuple(to_array(layer[0]) for layer in layers), rows, times, title, answer=said
            )

    @torch.inference_mode()
    def _weights(self, part: Recording) -> dict[str, list[Tensor]]:
        """The weights of one recording by kind, of those that the model has; see `to_array`."""
        source, mask = self._listener.side.collate([part])
        device = self._listener.device
        _, found = self._listener.model.attentions(source.to(device), mask.to(device))
        return {kind: layers for kind, layers in found.items() if layers}
