"""A trained classifier of recordings: what it reads of a line, and what it says of it.

Shapes: B batch, S positions, C labels.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch

from attn_cli.config.decoding import DecodeOptions
from attn_cli.data.audio import Recording
from attn_cli.data.label_files import read_labels
from attn_cli.errors import DataError
from attn_cli.lines.rows import Row
from attn_cli.models.directory import load_model_of
from attn_cli.models.recordings import RecordingClassifier
from attn_cli.systems.recordings.batches import groups_of
from attn_cli.systems.tasks.base import Answer
from attn_cli.systems.translation.audio_source import AudioSide


class Listener:
    """Labels recordings.

    A recording that is longer than the longest one of the training by a quarter is read in parts,
    cut where it is quietest; its label is that of the mean of their outputs.

    Args:
        path: the model directory.
        device: where the model runs.

    Attributes:
        model: the model.
        side: how recordings are read.

    Raises:
        DataError: the directory is missing, damaged, or has other labels than outputs.
    """

    def __init__(self, path: str, device: torch.device) -> None:
        _, self.model = load_model_of(RecordingClassifier, Path(path), device)
        self.device = device
        self.side = AudioSide.of(self.model.config)
        self._labels = read_labels(Path(path))
        if len(self._labels) != self.model.config.n_labels:
            raise DataError(
                f"{path}: {len(self._labels)} labels in labels.txt, but the model has "
                f"{self.model.config.n_labels} outputs; the directory mixes files of two models"
            )

    def limit(self, seconds: float | None) -> int:
        """Positions that are read at once, given `--max-seconds`."""
        return self.side.longest if seconds is None else self.side.positions_in(seconds)

    def parts(self, row: Row, folder: str | None, limit: int) -> list[Recording]:
        """What a line names, in parts if it is long; none of a line that names nothing usable.

        Args:
            row: the line.
            folder: where relative names start; None: at the folder of the file with the line.
            limit: positions of a part.
        """
        try:
            content = self.side.read(row.fields[0], folder or row.stream.folder)
        except DataError as error:
            row.refuse(error)
            return []
        return self.side.encode(self.side.pieces(content, limit))

    @torch.inference_mode()
    def answers(
        self, recordings: Sequence[Sequence[Recording]], options: DecodeOptions, *, bf16: bool
    ) -> list[Answer]:
        """The label of each recording, given its parts.

        Args:
            recordings: the parts of each, one at least.
            options: of the batches.
            bf16: whether to compute in bfloat16 where that is safe.
        """
        parts = [part for several in recordings for part in several]
        outputs = torch.empty(len(parts), len(self._labels))
        with torch.autocast(self.device.type, torch.bfloat16, enabled=bf16):
            for group in groups_of(list(map(len, parts)), options.batch_tokens, 0):
                source, mask = self.side.collate([parts[i] for i in group])
                found = self.model(source.to(self.device), mask.to(self.device))
                outputs[group] = found.float().cpu()
        sizes = list(map(len, recordings))
        means = [each.mean(0) for each in outputs.split(sizes)] if sizes else []
        return [self._answer(mean.softmax(-1).tolist()) for mean in means]

    def _answer(self, probs: list[float]) -> Answer:
        best = max(range(len(probs)), key=probs.__getitem__)
        named = dict(zip(self._labels, probs, strict=True))
        return Answer(self._labels[best], probs[best], {"probs": named})
