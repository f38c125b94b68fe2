"""One process or many: PyTorch's own distributed engine behind five small methods.

Every rank walks the same stream of batches and computes its share of each batch's rows, so the
global batch, the number of steps and the losses do not depend on the number of processes, and no
rank can run out of data before another.
"""

from __future__ import annotations

import contextlib
import datetime
import os
from contextlib import AbstractContextManager
from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from attn_cli.config.runtime import RuntimeOptions
from attn_cli.data.batching import B
from attn_cli.device import set_up
from attn_cli.train.objective import Objective

_PATIENCE = datetime.timedelta(hours=2)  # the other ranks wait while rank 0 validates


@dataclass(frozen=True)
class Processes:
    """This process among its peers.

    Attributes:
        rank: its number; rank 0 alone logs, validates and writes.
        world: how many there are.
        device: where this one computes.
    """

    rank: int
    world: int
    device: torch.device

    @classmethod
    def join(cls, runtime: RuntimeOptions) -> Processes:
        """Joins the group that torchrun announces in the environment; alone without one."""
        world = int(os.environ.get("WORLD_SIZE", "1"))
        chosen = set_up(runtime, int(os.environ.get("LOCAL_RANK", "0")))
        if world == 1:
            return cls(0, 1, chosen)
        backend = "nccl" if chosen.type == "cuda" else "gloo"
        if not dist.is_initialized():
            dist.init_process_group(backend, timeout=_PATIENCE)
        return cls(dist.get_rank(), world, chosen)

    def leave(self) -> None:
        """Ends the group."""
        if self.world > 1:
            dist.destroy_process_group()

    @property
    def is_main(self) -> bool:
        """Whether this is the rank that speaks and writes."""
        return self.rank == 0

    def wrap(self, objective: Objective[B]) -> nn.Module:
        """The objective with its gradients averaged over the ranks."""
        if self.world == 1:
            return objective
        return DistributedDataParallel(
            objective, find_unused_parameters=objective.find_unused_parameters
        )

    def share(self, batch: B) -> B:
        """This rank's rows of a batch; rows without targets if the batch has too few for it."""
        if self.world == 1:
            return batch
        if self.rank >= len(batch):
            return batch.rows(slice(0, 1)).without_targets()
        return batch.rows(slice(self.rank, None, self.world))

    def no_sync(self, module: nn.Module) -> AbstractContextManager[object]:
        """A context in which backward passes do not exchange gradients yet."""
        if isinstance(module, DistributedDataParallel):
            return module.no_sync()
        return contextlib.nullcontext()

    def total(self, *values: float) -> list[float]:
        """The sums of some numbers over all ranks."""
        if self.world == 1:
            return list(values)
        tensor = torch.tensor(values, dtype=torch.float64, device=self.device)
        dist.all_reduce(tensor)
        return tensor.tolist()

    def gather(self, tensor: Tensor) -> list[Tensor]:
        """Every rank's tensor (of one shape), in the order of ranks."""
        if self.world == 1:
            return [tensor]
        tensor = tensor.to(self.device)
        gathered = [torch.empty_like(tensor) for _ in range(self.world)]
        dist.all_gather(gathered, tensor)
        return [item.cpu() for item in gathered]

    def agree(self, *values: float) -> list[float]:
        """Rank 0's numbers, on every rank; also a barrier."""
        if self.world == 1:
            return list(values)
        tensor = torch.tensor(values, dtype=torch.float64, device=self.device)
        dist.broadcast(tensor, 0)
        return tensor.tolist()
