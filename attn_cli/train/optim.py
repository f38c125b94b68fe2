"""Optimizers and learning-rate schedules."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.optim.optimizer import ParamsT

from attn_cli.config.training import TrainingOptions
from attn_cli.nn.blocks import Blocks, HasBlocks
from attn_cli.nn.tables import HasTables
from attn_cli.train.orthogonal import orthogonalized
from attn_cli.train.plain_optim import Adam, AdamW, PlainOptimizer
from attn_cli.train.shards import local

# Elements of matrices that are orthogonalized together, or one weight: what stays in the cache of
# a CPU, and what keeps a GPU busy.
_TOGETHER = {"cpu": 1 << 20, "cuda": 1 << 26}

# Muon's momentum climbs to its own over the first updates: gradients of early weights soon mislead.
_MOMENTUM_WARMUP = 300  # updates (Jordan et al. 2024)
_FIRST_MOMENTUM = 0.85

Each = Callable[[Callable[[Tensor], Tensor], Iterable[Tensor]], Iterable[Tensor]]
# What each matrix becomes, with its number, in any order.
Factors = Iterator[tuple[int, Tensor]]
Orthogonalize = Callable[[Sequence[Tensor], Sequence[Tensor]], Factors]
Deal = Callable[[Sequence[Tensor], Sequence[Tensor], Orthogonalize], Factors]


class Muon(PlainOptimizer):
    """Momentum, orthogonalized by Newton–Schulz (Jordan et al. 2024), for matrices.

    U ← orthogonal factor of the Nesterov momentum of the gradient; W ← W - η √max(1, rows/cols) U.
    A parameter with more than two dimensions is a stack of matrices. Each head's part of a matrix
    of attention is a map of its own and orthogonalized alone: the loss falls faster, and it is
    cheaper. Matrices of one shape are orthogonalized together, in float32 on a CPU and in bf16 on
    a GPU.

    Args:
        params: matrices, or groups of them.
        lr: the peak learning rate η.
        momentum: of the gradient.
        weight_decay: decoupled: W ← (1 - η λ) W.
        each: gives what a function makes of each stack; `Processes.each` shares the work out.
        blocks: how matrices are cut that are several maps.
        deal: brings the parts of sharded matrices together, some matrices in each process, and
            gives each process its parts of what becomes of them; None: no matrix is sharded.
    """

    def __init__(
        self,
        params: ParamsT,
        lr: float,
        momentum: float = 0.95,
        weight_decay: float = 0.0,
        each: Each = map,
        blocks: Mapping[Tensor, Blocks] | None = None,
        deal: Deal | None = None,
    ) -> None:
        super().__init__(params, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay})
        self._each = each
        self._blocks = blocks or {}
        self._deal = deal

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """Updates every matrix that has a gradient."""
        rates: list[float] = []
        weights: list[Tensor] = []
        updates: list[Tensor] = []
        for group in self.param_groups:
            chosen = [weight for weight in group["params"] if weight.grad is not None]
            if not chosen:
                continue
            if group["weight_decay"]:
                here = [local(weight) for weight in chosen]
                torch._foreach_mul_(here, 1 - group["lr"] * group["weight_decay"])
            updates += self._momentum(chosen, group["momentum"])
            weights += chosen
            rates += [group["lr"]] * len(chosen)
        deal = self._deal
        given = weights, updates
        for number, factor in deal(*given, self._factors) if deal else self._factors(*given):
            rows, cols = weights[number].shape[-2:]
            scale = -rates[number] * math.sqrt(max(1.0, rows / cols))
            local(weights[number]).add_(factor, alpha=scale)

    def set_momentum(self, step: int) -> None:
        """Sets the momentum of an update: it climbs from 0.85 to its own over the first 300.

        Args:
            step: finished updates.
        """
        for group in self.param_groups:
            own = group.setdefault("own_momentum", group["momentum"])
            missing = max(0.0, 1 - step / _MOMENTUM_WARMUP)
            group["momentum"] = own - missing * max(0.0, own - _FIRST_MOMENTUM)

    def _cut(self, weight: Tensor) -> Blocks:
        return self._blocks.get(weight, Blocks())

    def _momentum(self, weights: list[Tensor], momentum: float) -> list[Tensor]:
        """Nesterov's momentum of the gradients."""
        gradients = [local(weight.grad) for weight in weights if weight.grad is not None]
        for weight in weights:
            if "momentum" not in self.state[weight]:
                self.state[weight]["momentum"] = torch.zeros_like(weight)
        momenta = [local(self.state[weight]["momentum"]) for weight in weights]
        torch._foreach_lerp_(momenta, gradients, 1 - momentum)
        return list(torch._foreach_lerp(gradients, momenta, momentum))

    def _factors(self, weights: Sequence[Tensor], updates: Sequence[Tensor]) -> Factors:
        """The orthogonal factor of each weight's update, both whole, block by block."""
        by_shape: dict[torch.Size, list[tuple[int, Tensor]]] = {}
        for number, (weight, update) in enumerate(zip(weights, updates, strict=True)):
            parts = self._cut(weight).apart(update)
            by_shape.setdefault(parts.shape[1:], []).append((number, parts))
        stacks = [stack for numbered in by_shape.values() for stack in _stacks(numbered)]
        matrices = (torch.cat([parts for _, parts in stack]) for stack in stacks)
        for stack, factor in zip(stacks, self._each(orthogonalized, matrices), strict=True):
            pieces = factor.split([len(parts) for _, parts in stack])
            for (number, _), piece in zip(stack, pieces, strict=True):
                weight = weights[number]
                yield number, self._cut(weight).together(piece, weight.shape)


def _stacks(numbered: list[tuple[int, Tensor]]) -> Iterator[list[tuple[int, Tensor]]]:
    """Matrices of one shape, as many as are orthogonalized together."""
    most = _TOGETHER["cuda" if numbered[0][1].is_cuda else "cpu"]
    stack: list[tuple[int, Tensor]] = []
    size = 0
    for number, parts in numbered:
        if stack and size + parts.numel() > most:
            yield stack
            stack, size = [], 0
        stack.append((number, parts))
        size += parts.numel()
    yield stack


def build_optimizers(
    model: nn.Module,
    options: TrainingOptions,
    rates: Mapping[str, float] | None = None,
    each: Each = map,
    deal: Deal | None = None,
) -> list[torch.optim.Optimizer]:
    """Muon for the matrices inside the layers and AdamW for the rest, or one optimizer for all.

    Tables (embeddings, output layers), biases and normalizations are AdamW's (Jordan et al. 2024).
    Adam is the one of Kingma & Ba 2015: weight decay is a part of the gradient, λ/2 ‖W‖² in the
    loss.

    Args:
        model: its parameters that need a gradient are optimized.
        options: the optimizer, its peak rate and its decay.
        rates: factors of the peak rate, by the parameter's name; 1 where none is given.
        each: see `Muon`.
        deal: likewise.
    """
    rates = rates or {}
    tables = {
        id(weight)
        for module in model.modules()
        for name, weight in module.named_parameters(recurse=False)
        if isinstance(module, nn.Embedding)
        or (isinstance(module, HasTables) and name in module.tables)
    }
    matrices: dict[float, list[Tensor]] = {}  # by the factor of their rate
    others: dict[float, list[Tensor]] = {}
    for name, weight in model.named_parameters():
        if weight.requires_grad:
            group = matrices if weight.dim() >= 2 and id(weight) not in tables else others
            group.setdefault(rates.get(name, 1.0), []).append(weight)
    groups = _groups(others, options.lr, 0.0)
    optimizers: list[torch.optim.Optimizer] = []
    if options.optimizer == "muon" and matrices:
        rate = options.lr * options.matrix_factor
        muon_groups = _groups(matrices, rate, options.weight_decay)
        blocks: dict[Tensor, Blocks] = {
            weight: cut
            for module in model.modules()
            if isinstance(module, HasBlocks)
            for weight, cut in module.blocks()
        }
        muon = Muon(
            *(muon_groups, rate),
            weight_decay=options.weight_decay,
            each=each,
            blocks=blocks,
            deal=deal,
        )
        optimizers.append(muon)
    else:
        groups += _groups(matrices, options.lr, options.weight_decay)
    if options.optimizer == "adam":
        optimizers.append(Adam(groups, lr=options.lr, fused=True))
    elif groups:
        adamw = AdamW(groups, lr=options.lr, betas=(0.9, 0.98), eps=1e-9, fused=True)
        optimizers.append(adamw)
    return optimizers


def _groups(
    parameters: Mapping[float, list[Tensor]], lr: float, weight_decay: float
) -> list[dict[str, object]]:
    """Parameter groups, one for each factor of the peak rate."""
    return [
        {"params": weights, "lr": lr * factor, "weight_decay": weight_decay}
        for factor, weights in parameters.items()
    ]


def set_rates(optimizers: Iterable[torch.optim.Optimizer], factor: float, step: int) -> None:
    """Sets every learning rate to `factor` times its peak, and Muon's momentum.

    Args:
        optimizers: of the training.
        factor: see `learning_rate_factor`.
        step: finished updates.
    """
    for optimizer in optimizers:
        if isinstance(optimizer, Muon):
            optimizer.set_momentum(step)
        for group in optimizer.param_groups:
            group["lr"] = factor * group.setdefault("peak", group["lr"])


def learning_rate_factor(step: int, progress: float, options: TrainingOptions) -> float:
    """What the peak learning rates are multiplied with at an update.

    Args:
        step: finished updates.
        progress: the share of the run that is done, by whichever limit comes first; 0 to 1.
        options: schedule and warm-up.
    """
    warm = min(1.0, (step + 1) / options.warmup) if options.warmup else 1.0
    if options.schedule in ("linear", "cosine"):  # a short run warms up in a tenth of it
        warm = min(1.0, max(warm, progress / _WARMUP_SHARE))
    return warm * SCHEDULES[options.schedule](step, progress, options.warmup)


_WARMUP_SHARE = 0.1
SCHEDULES: dict[str, Callable[[int, float, int], float]] = {
    "linear": lambda step, progress, warmup: max(0.0, 1 - progress),
    "cosine": lambda step, progress, warmup: (1 + math.cos(math.pi * min(progress, 1))) / 2,
    # Vaswani et al. 2017, eq. 3, as a factor of the peak.
    "inverse-sqrt": lambda step, progress, warmup: math.sqrt(
        max(warmup, 1) / max(step + 1, warmup, 1)
    ),
    "constant": lambda step, progress, warmup: 1.0,
}
