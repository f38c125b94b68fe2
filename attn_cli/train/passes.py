"""The passes of an update through the model and back, in as few parts as memory lets."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Generic

import torch
from torch import Tensor

from attn_cli.config.training import TrainingOptions
from attn_cli.data.batching import B
from attn_cli.errors import AttnError
from attn_cli.memory import is_out_of_memory
from attn_cli.train.monitor import Monitor
from attn_cli.train.objective import Objective
from attn_cli.train.processes import Processes
from attn_cli.wording import plural

# Tokens that an objective of several sequences an example takes at once, at least: more than a
# batch by default, as small parts leave a CPU idle between operations.
_TOKENS_AT_ONCE = 1 << 14


class Passes(Generic[B]):
    """Sets the gradients of an objective.

    Args:
        objective: what is minimized.
        options: of the training.
        monitor: is told that batches do not fit into memory.
        bf16: whether they compute in bf16.
    """

    def __init__(
        self, objective: Objective[B], options: TrainingOptions, monitor: Monitor, *, bf16: bool
    ) -> None:
        self._objective = objective
        self._batch_tokens = options.batch_tokens
        self._monitor = monitor
        self._bf16 = bf16

    def gradient(
        self, batches: Sequence[B], n_tokens: int, processes: Processes
    ) -> tuple[float, float]:
        """Sets this rank's part of an update's gradient; a batch that memory lacks is cut.

        A pass that fails has added a part of its gradient already, so all of it is made again.

        Args:
            batches: of the update, as all ranks have them.
            n_tokens: the targets in them.
            processes: this one among those that compute.

        Returns:
            The sums of loss and negative log-likelihood of its rows.

        Raises:
            AttnError: not even one example fits, or other ranks would have to be told.
        """
        shares = [share for batch in batches if len(share := processes.share(batch))]
        largest = max(map(len, shares), default=1)
        n_parts = parts_of(self._objective.rows_per_sentence, self._batch_tokens)
        while True:
            try:
                return self._accumulate(shares, n_parts, n_tokens, processes)
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error):
                    raise
                if n_parts >= largest or processes.is_sharded:  # the others are not told
                    raise AttnError(
                        f"out of memory on {processes.device} with "
                        f"{plural(-(-largest // n_parts), 'sentence')} at a time; lower "
                        "--batch-tokens and raise --accumulate, or cut lines with --max-len"
                    ) from error
            self.zero_grad()
            n_parts *= 2
            self._monitor.warn_once("a batch did not fit into memory; such batches are halved")

    def zero_grad(self) -> None:
        """Forgets the gradients of all that is trained."""
        for module in self._objective.trained:
            module.zero_grad(set_to_none=True)

    def _accumulate(
        self, batches: Sequence[B], n_parts: int, n_tokens: int, processes: Processes
    ) -> tuple[float, float]:
        """Adds the gradients of all batches, each cut into parts; returns the loss sums."""
        parts = (part for batch in batches for part in processes.cut(batch, n_parts))
        sums = [self._backward(part, n_tokens, processes) for part in parts]
        # Read at the end alone: a GPU has then still work when the CPU prepares the next part.
        loss, nll = (sum((float(each[i]) for each in sums), 0.0) for i in (0, 1))
        return loss, nll

    def _backward(self, batch: B, n_tokens: int, processes: Processes) -> tuple[Tensor, Tensor]:
        """Adds a batch's gradient; its loss and likelihood."""
        batch = batch.to(processes.device)
        with processes.passing():
            with torch.autocast(processes.device.type, torch.bfloat16, enabled=self._bf16):
                loss, nll = self._objective(batch)
            (loss / n_tokens).backward()
        return loss.detach(), nll


def parts_of(rows_per_sentence: int, batch_tokens: int) -> int:
    """How many parts a batch is cut into before its objective multiplies its sentences."""
    return -(-rows_per_sentence * batch_tokens // max(batch_tokens, _TOKENS_AT_ONCE))
