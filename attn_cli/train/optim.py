"""Optimizers and learning-rate schedules."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping

import torch
from torch import Tensor, nn
from torch.optim.optimizer import ParamsT

from attn_cli.config.training import TrainingOptions
from attn_cli.nn.tables import HasTables


class Muon(torch.optim.Optimizer):
    """Momentum, orthogonalized by Newton–Schulz (Jordan et al. 2024), for matrices.

    U ← orthogonal factor of the Nesterov momentum of the gradient; W ← W - η √max(1, rows/cols) U.
    A parameter with more than two dimensions is a stack of matrices. Matrices of one shape are
    orthogonalized together, in float32 on a CPU (bf16 is slower there) and in bf16 on a GPU.

    Args:
        params: matrices, or groups of them.
        lr: the peak learning rate η.
        momentum: of the gradient.
        weight_decay: decoupled: W ← (1 - η λ) W.
    """

    def __init__(
        self,
        params: ParamsT,
        lr: float,
        momentum: float = 0.95,
        weight_decay: float = 0.0,
    ) -> None:
        super().__init__(params, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """Updates every matrix that has a gradient."""
        for group in self.param_groups:
            stacks: dict[tuple[int, int], list[tuple[Tensor, Tensor]]] = {}
            for weight in group["params"]:
                if weight.grad is not None:
                    update = self._momentum(weight, group["momentum"])
                    stacks.setdefault(tuple(weight.shape[-2:]), []).append((weight, update))
            for (rows, cols), pairs in stacks.items():
                flat = torch.cat([update.reshape(-1, rows, cols) for _, update in pairs])
                rate = group["lr"] * math.sqrt(max(1.0, rows / cols))
                parts = orthogonalized(flat).split([p.numel() // (rows * cols) for p, _ in pairs])
                for (weight, _), part in zip(pairs, parts, strict=True):
                    weight.mul_(1 - group["lr"] * group["weight_decay"])
                    weight.add_(part.view_as(weight), alpha=-rate)

    def _momentum(self, weight: Tensor, momentum: float) -> Tensor:
        """Nesterov's momentum of the gradient."""
        assert weight.grad is not None
        state = self.state[weight]
        if "momentum" not in state:
            state["momentum"] = torch.zeros_like(weight)
        state["momentum"].lerp_(weight.grad, 1 - momentum)
        return weight.grad.lerp(state["momentum"], momentum)


# Coefficients a, b, c of x ← a x + b (xxᵀ) x + c (xxᵀ)² x, one triple a step: Amsel et al. 2025,
# "The Polar Express", whose first steps inflate small singular values as far as can be.
_POLAR_EXPRESS = (
    (8.28721201814563, -23.595886519098837, 17.300387312530933),
    (4.107059111542203, -2.9478499167379106, 0.5448431082926601),
    (3.9486908534822946, -2.908902115962949, 0.5518191394370137),
    (3.3184196573706015, -2.488488024314874, 0.51004894012372),
    (2.300652019954817, -1.6689039845747493, 0.4188073119525673),
)


def orthogonalized(matrices: Tensor) -> Tensor:
    """Each matrix with its singular values pushed towards 1 by an odd matrix polynomial.

    Shape: (n, rows, cols) -> the same.
    """
    x = matrices.bfloat16() if matrices.is_cuda else matrices
    x = x / (x.norm(dim=(-2, -1), keepdim=True) * 1.01 + 1e-7)
    tall = x.shape[-2] > x.shape[-1]
    x = x.mT.contiguous() if tall else x
    for a, b, c in _POLAR_EXPRESS:
        gram = torch.bmm(x, x.mT)
        poly = torch.baddbmm(gram, gram, gram, beta=b, alpha=c)
        x = torch.baddbmm(x, poly, x, beta=a)
    return (x.mT if tall else x).to(matrices.dtype)


def build_optimizers(
    model: nn.Module, options: TrainingOptions, rates: Mapping[str, float] | None = None
) -> list[torch.optim.Optimizer]:
    """Muon for the matrices inside the layers and AdamW for the rest, or one optimizer for all.

    Tables (embeddings, output layers), biases and normalizations are AdamW's (Jordan et al. 2024).
    Adam is the one of Kingma & Ba 2015: weight decay is a part of the gradient, λ/2 ‖W‖² in the
    loss.

    Args:
        model: its parameters that need a gradient are optimized.
        options: the optimizer, its peak rate and its decay.
        rates: factors of the peak rate, by the parameter's name; 1 where none is given.
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
        optimizers.append(Muon(muon_groups, rate, weight_decay=options.weight_decay))
    else:
        groups += _groups(matrices, options.lr, options.weight_decay)
    if options.optimizer == "adam":
        optimizers.append(torch.optim.Adam(groups, lr=options.lr, fused=True))
    elif groups:
        adamw = torch.optim.AdamW(groups, lr=options.lr, betas=(0.9, 0.98), eps=1e-9, fused=True)
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


def set_learning_rate(optimizers: Iterable[torch.optim.Optimizer], factor: float) -> None:
    """Sets every learning rate to `factor` times its peak."""
    for optimizer in optimizers:
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
