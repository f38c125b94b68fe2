"""`--shard`: weights, gradients and optimizer state are spread over the processes, by FSDP2.

Each of N processes keeps an Nth of every weight, of its gradient, of what the optimizer remembers
of it and of its moving average (Rajbhandari et al. 2020, "ZeRO", stage 3). A layer of a deep stack
is whole in every process while it computes, and the rest of the model while the loss is computed:
PyTorch's `fully_shard` gathers the weights and sums up the gradients as each process receives its
part of them. The rows of a batch are shared out as without sharding, and the training is the same.
"""

from __future__ import annotations

import contextlib
import functools
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, MixedPrecisionPolicy, fully_shard
from torch.distributed.tensor import DTensor, Shard

from attn_cli.data.batching import B
from attn_cli.nn.stacked import stack_layers
from attn_cli.train.exchange import exchange
from attn_cli.train.objective import Objective
from attn_cli.train.optim import Deal, Factors, Orthogonalize
from attn_cli.train.processes import Processes
from attn_cli.train.shards import local


@dataclass(frozen=True)
class ShardedProcesses(Processes):
    """Processes each of which keeps a part of every weight."""

    is_sharded = True

    @classmethod
    def shard(
        cls, objective: Objective[B], processes: Processes, *, bf16: bool
    ) -> ShardedProcesses:
        """Spreads the weights of rank 0 over the processes, in place.

        Args:
            objective: what is trained, whole, on every rank.
            processes: those that train; more than one.
            bf16: whether layers compute in bf16: a GPU then gathers their weights in it. Gradients
                are summed up in float32 all the same.
        """
        processes.align(objective.trained)
        mesh = init_device_mesh(processes.device.type, (processes.world,))
        # A CPU's normalizations take no weights in bf16.
        gathered = torch.bfloat16 if bf16 and processes.device.type != "cpu" else None
        half = MixedPrecisionPolicy(gathered, torch.float32, cast_forward_inputs=False)
        place = functools.partial(_cut_evenly, world=processes.world)
        with exchange(processes):
            for layer in stack_layers(objective) if objective.keeps_step else ():
                fully_shard(
                    layer,
                    mesh=mesh,
                    reshard_after_forward=True,
                    shard_placement_fn=place,
                    mp_policy=half,
                )
            fully_shard(objective, mesh=mesh, reshard_after_forward=False, shard_placement_fn=place)
        units = (module for module in objective.modules() if isinstance(module, FSDPModule))
        for unit in units:
            # The loss is a sum over the tokens of the whole batch: gradients are added up.
            unit.set_gradient_divide_factor(1.0)
            unit.set_force_sum_reduction_for_comms(True)
        return cls(**vars(processes))

    def align(self, modules: Iterable[nn.Module]) -> None:
        """Does nothing: each rank has its own part."""

    def share(self, batch: B) -> B:
        """This rank's rows of a batch; where there is none for it, one without targets.

        All ranks must gather the weights equally often.
        """
        rows = super().share(batch)
        return rows if len(rows) else batch.rows(slice(0, 1)).without_targets()

    def cut(self, batch: B, n_parts: int) -> list[B]:
        """A batch in exactly so many parts, as many as on all other ranks."""
        size = -(-len(batch) // n_parts)
        parts = [batch.rows(slice(at, at + size)) for at in range(0, size * n_parts, size)]
        idle = batch.rows(slice(0, 1)).without_targets()
        return [part if len(part) else idle for part in parts]

    @contextlib.contextmanager
    def passing(self) -> Iterator[None]:
        """A context of a pass through the model and back, in which ranks exchange weights."""
        try:
            yield
        except RuntimeError as error:
            if isinstance(error, dist.DistError) or "gloo" in str(error):
                with exchange(self):
                    raise
            raise

    def sum_gradients(self, modules: Iterable[nn.Module]) -> None:
        """Does nothing: the gradients were summed up on the way back."""

    @torch.no_grad()
    def clip(self, module: nn.Module, largest: float) -> float:
        """See `Processes.clip`; every rank scales its own part by the norm of the whole."""
        gradients = [
            local(weight.grad) for weight in module.parameters() if weight.grad is not None
        ]
        if not gradients:
            return 0.0
        norm = math.sqrt(self.total(float(nn.utils.get_total_norm(gradients)) ** 2)[0])
        if norm > largest:
            torch._foreach_mul_(gradients, largest / (norm + 1e-6))
        return norm

    def each(
        self, function: Callable[[Tensor], Tensor], stacks: Iterable[Tensor]
    ) -> Iterable[Tensor]:
        """What a function makes of each stack; `deal` has shared the matrices out."""
        return map(function, stacks)

    @property
    def deal(self) -> Deal:
        """See `optim.Muon`."""
        return self._deal

    def _deal(
        self, weights: Sequence[Tensor], updates: Sequence[Tensor], factors: Orthogonalize
    ) -> Factors:
        """What becomes of each matrix, of which every rank has a part; see `optim.Muon`.

        Each rank receives some whole matrices, about equal work for all, and sends back the parts
        of what becomes of them.

        Args:
            weights: sharded.
            updates: this rank's parts of the matrices, those of the weights in their order.
            factors: what becomes of whole matrices.
        """
        if not weights:
            return
        owners = _owners(tuple(tuple(weight.shape) for weight in weights), self.world)
        dealt = [[i for i, owner in enumerate(owners) if owner == r] for r in range(self.world)]
        mine = dealt[self.rank]
        cuts = {i: _parts(weights[i], self.world) for i in mine}
        # On a GPU they are orthogonalized in bf16: nothing else needs to travel.
        carried = torch.bfloat16 if self.device.type == "cuda" else updates[0].dtype
        sent = [[updates[i] for i in numbers] for numbers in dealt]
        shapes = [[cuts[i].shapes[rank] for i in mine] for rank in range(self.world)]
        received = self._swap(sent, shapes, carried)
        whole = [
            torch.cat(parts, cuts[i].dim)
            for i, parts in zip(mine, zip(*received, strict=True), strict=True)
        ]
        back: list[list[Tensor]] = [[torch.empty(0)] * len(mine) for _ in range(self.world)]
        for place, factor in factors([weights[i] for i in mine], whole):
            cut = cuts[mine[place]]
            for rank, part in enumerate(factor.split([s[cut.dim] for s in cut.shapes], cut.dim)):
                back[rank][place] = part
        own = [[updates[i].shape for i in numbers] for numbers in dealt]
        for numbers, parts in zip(dealt, self._swap(back, own, carried), strict=True):
            yield from zip(numbers, (part.to(updates[0].dtype) for part in parts), strict=True)

    def _swap(
        self,
        sent: Sequence[Sequence[Tensor]],
        shapes: Sequence[Sequence[torch.Size]],
        dtype: torch.dtype,
    ) -> list[list[Tensor]]:
        """Gives each rank the tensors that are for it; those that each has for this one."""
        flat = [part.flatten() for parts in sent for part in parts]
        given = torch.cat([torch.empty(0, device=self.device), *flat]).to(dtype)
        sizes = [sum(shape.numel() for shape in of_rank) for of_rank in shapes]
        taken = given.new_empty(sum(sizes))
        with exchange(self):
            dist.all_to_all_single(
                taken, given, sizes, [sum(map(Tensor.numel, parts)) for parts in sent]
            )
        found = []
        for part, of_rank in zip(taken.split(sizes), shapes, strict=True):
            pieces = part.split([shape.numel() for shape in of_rank])
            found.append([p.view(shape) for p, shape in zip(pieces, of_rank, strict=True)])
        return found

    @contextlib.contextmanager
    def whole(self, root: nn.Module) -> Iterator[None]:
        """A context in which every rank has the whole weights, and a model that asks no other.

        The hooks that gather weights are off: not all ranks need to compute inside.
        """
        places = [
            (root.get_submodule(name.rpartition(".")[0]), name.rpartition(".")[2], weight)
            for name, weight in root.named_parameters(remove_duplicate=False)
        ]
        gathered: dict[int, nn.Parameter] = {}
        with exchange(self), torch.no_grad():
            for _, _, weight in places:
                if id(weight) not in gathered:
                    full = weight.full_tensor() if isinstance(weight, DTensor) else weight
                    gathered[id(weight)] = nn.Parameter(full, weight.requires_grad)
        hooks = [
            (table, dict(table))
            for module in root.modules()
            if isinstance(module, FSDPModule)
            for table in (module._forward_pre_hooks, module._forward_hooks)
        ]
        for owner, leaf, weight in places:
            setattr(owner, leaf, gathered[id(weight)])
        for table, _ in hooks:
            table.clear()
        try:
            yield
        finally:
            for owner, leaf, weight in places:
                setattr(owner, leaf, weight)
            for table, entries in hooks:
                table.update(entries)


class _Parts(NamedTuple):
    """How a weight is cut: along which dimension, and the shape of each rank's part."""

    dim: int
    shapes: list[torch.Size]


def _parts(weight: Tensor, world: int) -> _Parts:
    assert isinstance(weight, DTensor)
    (placement,) = weight.placements
    assert isinstance(placement, Shard)
    dim, size = placement.dim, weight.shape[placement.dim]
    most = -(-size // world)  # as `torch.chunk` cuts
    heights = [max(0, min(most, size - rank * most)) for rank in range(world)]
    shape = weight.shape
    return _Parts(dim, [torch.Size((*shape[:dim], n, *shape[dim + 1 :])) for n in heights])


def _cut_evenly(weight: Tensor, world: int) -> Shard:
    """Along the first dimension of which each rank has equally much; along the first if none is.

    Three matrices in one weight would be shared out among three ranks otherwise.
    """
    return Shard(next((dim for dim, size in enumerate(weight.shape) if size % world == 0), 0))


@functools.lru_cache(maxsize=8)
def _owners(shapes: tuple[tuple[int, ...], ...], world: int) -> list[int]:
    """The rank that each matrix is dealt to: the costliest first, to whom has least to do."""
    costs = [math.prod(shape) * min(shape[-2:]) for shape in shapes]
    work = [0] * world
    owners = [0] * len(shapes)
    for number in sorted(range(len(shapes)), key=lambda i: (-costs[i], i)):
        owners[number] = work.index(min(work))
        work[owners[number]] += costs[number]
    return owners
