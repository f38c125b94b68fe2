"""How far a training is on the way to its limits, and when it is to be validated."""

from __future__ import annotations

import math

from attn_cli.config import parse_duration
from attn_cli.config.training import TrainingOptions
from attn_cli.train.pace import VALIDATIONS, VALIDATIONS_SHARE
from attn_cli.train.progress import Progress


class Limits:
    """Where a run ends, and what part of it validations may take.

    Args:
        options: of the training.
        validation_epochs: see `Training`.
        starts_trained: likewise.
    """

    def __init__(
        self, options: TrainingOptions, validation_epochs: float, *, starts_trained: bool
    ) -> None:
        self._options = options
        self._validation_epochs = validation_epochs
        self._starts_trained = starts_trained
        self._seconds = parse_duration(options.max_time) if options.max_time else math.inf

    def share_done(self, progress: Progress) -> float:
        """The share of the run that is done, by whichever limit comes first."""
        return max(
            progress.step / (self._options.max_steps or math.inf),
            progress.epochs / (self._options.max_epochs or math.inf),
            progress.seconds / self._seconds,
        )

    def validation_due(self, progress: Progress) -> bool:
        """Whether the weights are to be validated now."""
        share_done = self.share_done(progress)
        if share_done >= 1:
            return True
        if self._options.validate_every:
            return progress.step % self._options.validate_every == 0
        if share_done * VALIDATIONS < progress.validations + 1:
            return False
        return self._share_of_validations(progress) <= VALIDATIONS_SHARE

    def _share_of_validations(self, progress: Progress) -> float:
        """What part of the run so far its validations, and one more, would have taken.

        By the clock where a clock ends the run. Where updates or passes do, by what a validation
        costs in passes: the same run has the same validations on any machine.
        """
        epochs = self._validation_epochs
        made = progress.validations + self._starts_trained
        if not self._options.max_time:
            return (made + 1) * epochs / max(progress.epochs, 1e-9)
        spent = progress.validation_seconds
        training = max(progress.seconds - spent, 1e-9)
        one = spent / made if made else training * epochs / max(progress.epochs, 1e-9)
        return (spent + one) / (training + spent)
