"""How much each token of a text adds to the probability of its label.

Shapes: R rows (sentences of a document; else one), T positions, D width, m points.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from attn_cli.data.padding import pad
from attn_cli.data.templates import InputRow
from attn_cli.errors import UsageError
from attn_cli.nn.attribution import Attributions, in_place_of, integrated_gradients
from attn_cli.systems.tasks.classify import Classify
from attn_cli.systems.tasks.predictor import Predictor


class LabelAttribution:
    """Attributions of a label's probability to tokens; see `nn.attribution`.

    The baseline has special tokens as they are, and the vector 0 in the place of each other.

    Args:
        predictor: the model.

    Raises:
        UsageError: its task gives no one label.
    """

    def __init__(self, predictor: Predictor) -> None:
        task = predictor.task
        if not isinstance(task, Classify):
            raise UsageError(
                "--attribute: this model gives no one label for a text; attributions are those "
                "of classifiers and translators"
            )
        self._predictor = predictor
        self._numbers = {label: number for number, label in enumerate(task.setting.labels)}
        tokenizer = task.setting.tokenizer
        self._pad_id = max(tokenizer.pad_id, 0)
        self._marks = sorted(tokenizer.reserved_ids - {tokenizer.unk_id})

    def __call__(self, rows: Sequence[InputRow], label: str) -> Attributions:
        """Of rows that are read together: one output, padded rows. Shape: (1, R, T)."""
        model, device = self._predictor.model, self._predictor.device
        ids, mask = pad([row.ids for row in rows], self._pad_id)
        segments, _ = pad([row.segments for row in rows], 0)
        inputs = [tensor.to(device) for tensor in (ids, mask, segments)]
        embedding = model.backbone.token_vectors
        number = self._numbers[label]

        def probability(points: Tensor) -> Tensor:
            count = len(points)
            repeated = [tensor.repeat(count, 1) for tensor in inputs]
            owner = torch.arange(count, device=device).repeat_interleave(len(rows))
            with in_place_of(embedding, points.flatten(0, 1)):
                logits = model(*repeated, self._predictor.name, owner)
            probs: Tensor = logits.view(count, len(rows), -1)[:, 0].float().softmax(-1)
            return probs[:, number, None]

        with torch.no_grad():
            vectors = embedding(inputs[0])  # (R, T, D)
        marks = torch.isin(inputs[0], inputs[0].new_tensor(self._marks))
        baseline = vectors * marks[..., None]
        return integrated_gradients(probability, vectors, baseline)
