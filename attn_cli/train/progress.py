"""Where a training stands."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, fields
from typing import NamedTuple

from attn_cli.data.batching import Position

LOWER_IS_BETTER = frozenset({"wer"})  # metrics of errors


class Validated(NamedTuple):
    """A validation among others: the larger its figure, then its `-loss`, the better.

    A figure of -inf says nothing yet: the loss decides. That of a metric of errors is negative.
    """

    figure: float
    minus_loss: float
    step: int

    @property
    def rank(self) -> tuple[float, float, int]:
        """Sorts the best first, of equals the earliest."""
        return -self.figure, -self.minus_loss, self.step

    @property
    def says_nothing(self) -> bool:
        """Whether its figure says nothing yet."""
        return math.isinf(self.figure)

    def measured(self, metric: str) -> float:
        """The figure of a metric as it was measured."""
        return -self.figure if metric in LOWER_IS_BETTER else self.figure

    def said(self, metric: str) -> str:
        """The figure in words, `bleu 23.100`; the loss where the figure says nothing yet."""
        if self.says_nothing:
            metric = "loss"
        figure = -self.minus_loss if metric == "loss" else self.measured(metric)
        return f"{metric} {figure:.3f}"

    def beats(self, other: Validated) -> bool:
        """Whether its weights are to be used in the place of the other's."""
        return self[:2] > other[:2]


@dataclass
class Progress:
    """Where a training stands: all of its state that is not a tensor."""

    step: int = 0
    position: Position = field(default_factory=Position)
    epochs: float = 0.0
    seconds: float = 0.0
    validations: int = 0
    validation_seconds: float = 0.0  # that they took, all together
    since_best: int = 0
    best: list[Validated] = field(default_factory=list)  # best first
    loss_sum: float = 0.0
    nll_sum: float = 0.0
    token_sum: int = 0
    skipped: int = 0
    skipped_in_a_row: int = 0
    log_bytes: int = 0
    processes: int = 0  # that were chosen by measuring; 0: nothing was chosen
    finished: str = ""  # why the run has ended

    def to_meta(self) -> dict[str, object]:
        """As JSON."""
        position = [self.position.epoch, self.position.row, self.position.batch]
        return {**vars(self), "position": position}

    @classmethod
    def from_meta(cls, meta: object) -> Progress:
        """From JSON.

        Raises:
            TypeError, ValueError: it is not what `to_meta` gives.
        """
        if not isinstance(meta, dict) or set(meta) != {item.name for item in fields(cls)}:
            raise ValueError("other keys")
        best = [
            Validated(float(figure), float(minus_loss), int(step))
            for figure, minus_loss, step in meta["best"]
        ]
        return cls(**{**meta, "position": Position(*meta["position"]), "best": best})
