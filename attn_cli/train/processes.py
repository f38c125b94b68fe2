"""One process or many: PyTorch's own collectives behind a few small methods.

Every rank walks the same stream of batches and computes its share of each batch's rows, so the
global batch, the number of steps and the losses do not depend on the number of processes, and no
rank can run out of data before another. What ranks exchange, once an update each: gradients, sums
of losses, Muon's matrices, and what rank 0 decides.
"""

from __future__ import annotations

import contextlib
import datetime
import math
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import ClassVar, cast

import torch
import torch.distributed as dist
from torch import Tensor, nn

from attn_cli import rendezvous
from attn_cli.config import parse_duration
from attn_cli.config.training import TrainingRuntimeOptions
from attn_cli.data.batching import B
from attn_cli.device import set_up
from attn_cli.errors import AttnError, EndedElsewhereError
from attn_cli.train.exchange import Waiting, exchange
from attn_cli.train.optim import Deal
from attn_cli.train.spread import R, T, alone

_LOOPBACK = {"linux": "lo", "darwin": "lo0"}


@dataclass(frozen=True)
class Processes:
    """This process among its peers.

    Attributes:
        rank: its number; rank 0 alone logs and writes.
        world: how many there are.
        device: where this one computes.
        threads: CPU threads of all ranks of this machine together; 0: as they are.
        is_sharded: whether each keeps a part of the weights alone (see `sharding`).
        waiting: how it waits for the others.
    """

    is_sharded: ClassVar[bool] = False

    rank: int
    world: int
    device: torch.device
    threads: int = 0
    waiting: Waiting = field(default_factory=Waiting)

    @classmethod
    def alone(cls, rank: int, device: torch.device, threads: int, limit: str) -> Processes:
        """A process that may meet others of its machine later, as this rank.

        Args:
            rank: that.
            device: where it computes.
            threads: CPU threads of all of them together.
            limit: how long one waits for another, as in `--rank-timeout`.
        """
        return cls(rank, 1, device, threads, Waiting(_duration(limit)))

    @classmethod
    def join(cls, runtime: TrainingRuntimeOptions) -> Processes:
        """Joins the group that torchrun announces in the environment; alone without one."""
        world = int(os.environ.get("WORLD_SIZE", "1"))
        if world == 1:
            chosen = set_up(runtime)
            return cls.alone(0, chosen, torch.get_num_threads(), runtime.rank_timeout)
        waiting = Waiting(_duration(runtime.rank_timeout))
        if not dist.is_initialized():
            waiting.meeting = rendezvous.join(_backends(), waiting.limit)
            waiting.store = waiting.meeting.store
        waiting.patient = dist.new_group(backend="gloo", timeout=rendezvous.FOREVER)
        unplaced = cls(dist.get_rank(), world, torch.device("cpu"), 0, waiting)
        try:
            with unplaced.together():
                chosen = set_up(runtime)
        except BaseException:
            unplaced.leave()
            raise
        here = torch.get_num_threads() * int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
        return replace(unplaced, device=chosen, threads=here)

    def meet(self, store: dist.Store, world: int) -> Processes:
        """Joins the others of this machine, who meet over a store, as the rank that this one is.

        Each has an equal share of the threads; with unequal ones, sums over weights would differ in
        their last bits.
        """
        if self.device.type == "cpu":
            torch.set_num_threads(max(1, self.threads // world))
            if interface := _LOOPBACK.get(sys.platform):  # nobody else's business
                os.environ.setdefault("GLOO_SOCKET_IFNAME", interface)
        with exchange(self):
            backend = _backend(self.device)
            group = dist.PrefixStore("group", store)
            limit = self.waiting.limit
            dist.init_process_group(
                backend, store=group, rank=self.rank, world_size=world, timeout=limit
            )
        return replace(self, world=world, waiting=Waiting(limit, store=store))

    def leave(self) -> Processes:
        """Ends the group; the rank is alone then, with all threads."""
        if dist.is_initialized():
            dist.destroy_process_group()
        if self.threads:
            torch.set_num_threads(self.threads)
        return replace(self, world=1, waiting=Waiting(self.waiting.limit))

    @property
    def is_main(self) -> bool:
        """Whether this is the rank that speaks and writes."""
        return self.rank == 0

    @contextlib.contextmanager
    def together(self) -> Iterator[None]:
        """A block that all ranks end alike: the first of them that fails says why, for all."""
        failed: Exception | None = None
        try:
            yield
        except Exception as error:  # noqa: BLE001 - raised again as soon as the others know
            failed = error
        code = torch.tensor([_status(failed)])
        gathered = [code.clone() for _ in range(self.world)]
        if self.world > 1:
            with exchange(self):
                dist.all_gather(gathered, code, group=self.waiting.patient)
        self._end_alike(failed, [int(tensor) for tensor in gathered])

    def _end_alike(self, failed: Exception | None, codes: Sequence[int]) -> None:
        """Ends all ranks if one has failed.

        Args:
            failed: this rank's failure.
            codes: the exit status of each, 0 if it has not failed.
        """
        first = next((rank for rank, code in enumerate(codes) if code), None)
        if failed is not None and first == self.rank:
            if self.waiting.meeting:
                self.waiting.meeting.refuse(codes[first])
            raise failed
        if first is not None:
            raise EndedElsewhereError(codes[first])

    def spread(self, work: Callable[[T], R], items: Sequence[T]) -> list[R]:
        """`map(work, items)`, of which each rank does a part; see `spread.Spread`."""
        parts = self.gathered(lambda: alone(work, items[self.rank :: self.world]))
        return [parts[i % self.world][i // self.world] for i in range(len(items))]

    def gathered(self, make: Callable[[], T]) -> list[T]:
        """What each rank makes, in their order; the first that fails ends all."""
        if self.world == 1:
            return [make()]
        made: T | None = None
        failed: Exception | None = None
        try:
            made = make()
        except Exception as error:  # noqa: BLE001 - raised again as soon as the others know
            failed = error
        gathered: list[tuple[int, T | None]] = [(0, None)] * self.world
        with exchange(self):
            dist.all_gather_object(gathered, (_status(failed), made))
        self._end_alike(failed, [code for code, _ in gathered])
        return [cast("T", value) for _, value in gathered]

    def share(self, batch: B) -> B:
        """This rank's rows of a batch; none if the batch has too few for it."""
        return batch if self.world == 1 else batch.rows(slice(self.rank, None, self.world))

    @property
    def deal(self) -> Deal | None:
        """See `optim.Muon`; None: no matrix is sharded."""
        return None

    def cut(self, batch: B, n_parts: int) -> list[B]:
        """This rank's rows of a batch in so many parts, or in fewer where there are fewer rows."""
        size = max(1, -(-len(batch) // n_parts))
        return [batch.rows(slice(row, row + size)) for row in range(0, len(batch), size)]

    def passing(self) -> contextlib.AbstractContextManager[None]:
        """A context of a pass through the model and back."""
        return contextlib.nullcontext()

    @torch.no_grad()
    def align(self, modules: Iterable[nn.Module]) -> None:
        """Gives every rank the weights of rank 0."""
        if self.world > 1:
            weights = [weight for module in modules for weight in module.parameters()]
            flat = torch.cat([weight.flatten() for weight in weights])
            with exchange(self):
                dist.broadcast(flat, 0)
            for weight, part in zip(weights, _cut(flat, weights), strict=True):
                weight.copy_(part)

    @torch.no_grad()
    def sum_gradients(self, modules: Iterable[nn.Module]) -> None:
        """Adds up the gradients of all ranks, in one flat tensor.

        A weight that no rank has a gradient of has none afterwards, as in one process.
        """
        if self.world == 1:
            return
        weights = [w for module in modules for w in module.parameters() if w.requires_grad]
        gradients = [torch.zeros_like(w) if w.grad is None else w.grad for w in weights]
        used = torch.tensor([float(w.grad is not None) for w in weights]).to(gradients[0])
        flat = torch.cat([*(gradient.flatten() for gradient in gradients), used])
        with exchange(self):
            dist.all_reduce(flat)
        is_used = flat[len(flat) - len(weights) :].tolist()
        parts = _cut(flat[: len(flat) - len(weights)], weights)
        for weight, part, some in zip(weights, parts, is_used, strict=True):
            weight.grad = part if some else None

    def clip(self, module: nn.Module, largest: float) -> float:
        """Shortens the gradient of a module to a largest norm; the norm that it had."""
        return float(nn.utils.clip_grad_norm_(module.parameters(), largest))

    def whole(self, root: nn.Module) -> contextlib.AbstractContextManager[None]:
        """A context in which every rank has the whole weights."""
        return contextlib.nullcontext()

    def each(
        self, function: Callable[[Tensor], Tensor], stacks: Iterable[Tensor]
    ) -> Iterable[Tensor]:
        """What a function makes of each stack of matrices; every rank computes a part of it.

        The parts cost about the same where a matrix costs R C min(R, C). All ranks get the same
        bits, which those of one process may not be.

        Args:
            function: treats every matrix of a stack by itself. Shape: (n, R, C) -> the same.
            stacks: tensors (n, R, C).
        """
        if self.world == 1:
            return map(function, stacks)
        if not (given := list(stacks)):
            return []
        shares = _shares([tuple(stack.shape) for stack in given], self.world)
        mine = [
            function(stack[first:last]).flatten()
            for stack, (first, last) in zip(given, shares[self.rank], strict=True)
            if first < last
        ]
        sizes = [
            sum((b - a) * stack[0].numel() for stack, (a, b) in zip(given, share, strict=True))
            for share in shares
        ]
        part = given[0].new_zeros(max(sizes))
        if mine:
            torch.cat(mine, out=part[: sizes[self.rank]])
        gathered = part.new_empty(self.world, max(sizes))
        with exchange(self):
            dist.all_gather(list(gathered), part)
        flat = torch.cat([row[:size] for row, size in zip(gathered, sizes, strict=True)])
        return _cut(flat, given)

    def total(self, *values: float) -> list[float]:
        """The sums of some numbers over all ranks."""
        if self.world == 1:
            return list(values)
        tensor = torch.tensor(values, dtype=torch.float64, device=self.device)
        with exchange(self):
            dist.all_reduce(tensor)
        return tensor.tolist()

    def gather(self, tensor: Tensor) -> list[Tensor]:
        """Every rank's tensor (of one shape), in the order of ranks."""
        if self.world == 1:
            return [tensor]
        tensor = tensor.to(self.device)
        gathered = [torch.empty_like(tensor) for _ in range(self.world)]
        with exchange(self):
            dist.all_gather(gathered, tensor)
        return [item.cpu() for item in gathered]

    def agree(self, *values: float) -> list[float]:
        """Rank 0's numbers, on every rank; also a barrier."""
        if self.world == 1:
            return list(values)
        tensor = torch.tensor(values, dtype=torch.float64, device=self.device)
        with exchange(self):
            dist.broadcast(tensor, 0)
        return tensor.tolist()


def _status(failed: Exception | None) -> int:
    """The exit status of a failure; 0 of none."""
    return 0 if failed is None else failed.exit_code if isinstance(failed, AttnError) else 1


def _duration(text: str) -> datetime.timedelta:
    return datetime.timedelta(seconds=parse_duration(text))


def _backends() -> str:
    """Of both kinds of devices, as a device is chosen only when all ranks can say why not."""
    return "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"


def _backend(device: torch.device) -> str:
    return "nccl" if device.type == "cuda" else "gloo"


def _shares(shapes: Sequence[tuple[int, ...]], world: int) -> list[list[tuple[int, int]]]:
    """Which matrices of each stack (n, R, C) a rank computes: rank -> stack -> (first, last + 1).

    In the order of stacks and matrices, each rank has those of a stretch.
    """
    costs = [(n, rows * cols * min(rows, cols)) for n, rows, cols in shapes]
    total = sum(n * cost for n, cost in costs)
    before = 0.0
    shares: list[list[tuple[int, int]]] = [[] for _ in range(world)]
    for n, cost in costs:
        ends = [0]
        for rank in range(1, world):  # matrices whose middle lies before the rank's stretch
            middle = (total * rank / world - before) / cost - 0.5
            ends.append(min(n, max(0, math.ceil(middle))))
        ends.append(n)
        for rank in range(world):
            shares[rank].append((ends[rank], ends[rank + 1]))
        before += n * cost
    return shares


def _cut(flat: Tensor, weights: Sequence[Tensor]) -> list[Tensor]:
    """A flat tensor in the shapes of the weights."""
    parts = flat.split([weight.numel() for weight in weights])
    return [part.view_as(weight) for part, weight in zip(parts, weights, strict=True)]
