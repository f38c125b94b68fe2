"""What a training minimizes: the contract between the loop and the systems."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Generic

from torch import Tensor, nn

from attn_cli.data.batching import B


class Objective(nn.Module, ABC, Generic[B]):
    """A module that maps a batch to its loss.

    Args:
        model: the module inside it whose parameters are trained and saved.
        partner: a module that is trained along and saved with the state, but is no part of the
            model: a discriminator.
    """

    model: nn.Module
    partner: nn.Module | None

    def __init__(self, model: nn.Module, partner: nn.Module | None = None) -> None:
        super().__init__()
        self.model = model
        self.partner = partner

    @property
    def trained(self) -> list[nn.Module]:
        """The model, and its partner if it has one."""
        return [self.model] if self.partner is None else [self.model, self.partner]

    @property
    def averaged(self) -> nn.Module:
        """What has a moving average of its weights: all that a validation computes with."""
        return self.model

    @property
    def rows_per_sentence(self) -> int:
        """Sequences that an example of a batch puts into memory."""
        return 1

    @property
    def keeps_step(self) -> bool:
        """Whether it calls every layer as often on each of many processes, whatever its rows."""
        return True

    def begin_update(self, done: float) -> None:
        """Is told before each update what share of the run is done."""
        return

    @abstractmethod
    def forward(self, batch: B) -> tuple[Tensor, Tensor]:
        """The loss and the negative log-likelihood, sums over the targets in nats."""
