"""Low-rank adaptation (Hu et al. 2022): W + (α/r) B A, of which A and B alone learn.

Shapes: N matrices in a stack (or none), O outputs, I inputs, r rank.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from attn_cli.nn.attention import MultiHeadAttention
from attn_cli.nn.transformer import FeedForward

_ALPHA = 2.0  # α/r: what B A is multiplied with, whatever the rank
_NAME = "parametrizations"


class LowRank(nn.Module):
    """ΔW = (α/r) B A (Hu et al. 2022, 4.1): A from a normal distribution, B from 0.

    Args:
        weight: W. Shape: (O, I) or (N, O, I).
        rank: r.
    """

    def __init__(self, weight: Tensor, rank: int) -> None:
        super().__init__()
        *stack, outputs, inputs = weight.shape
        self.down = nn.Parameter(torch.randn(*stack, rank, inputs) / inputs**0.5)  # A
        self.up = nn.Parameter(torch.zeros(*stack, outputs, rank))  # B

    def forward(self, weight: Tensor) -> Tensor:
        """W + ΔW. Shape: as W."""
        return weight + _ALPHA * (self.up @ self.down)


def adapt(module: nn.Module, rank: int) -> int:
    """Gives the attention and feed-forward matrices inside a module low-rank updates.

    Their own values learn no more.

    Returns:
        How many matrices, or stacks of them, there are.
    """
    places = list(_places(module))
    for owner, name in places:
        weight = getattr(owner, name)
        weight.requires_grad_(False)
        update = LowRank(weight, rank).to(weight.device)
        parametrize.register_parametrization(owner, name, update)
    return len(places)


def _places(module: nn.Module) -> Iterator[tuple[nn.Module, str]]:
    """The matrices that are adapted: their modules and names."""
    for part in module.modules():
        if isinstance(part, MultiHeadAttention):
            if part.in_weight is not None:
                yield part, "in_weight"
            if isinstance(part.out_proj, nn.Linear):
                yield part.out_proj, "weight"
        elif isinstance(part, FeedForward):
            yield part.linear1, "weight"
            yield part.linear2, "weight"


def is_update(name: str) -> bool:
    """Whether a parameter's name is that of a low-rank factor."""
    return name.endswith((".0.down", ".0.up")) and _NAME in name


@torch.no_grad()
def plain_weights(model: nn.Module) -> dict[str, Tensor]:
    """The parameters of a model as one without low-rank updates has them: ΔW added to W."""
    weights: dict[str, Tensor] = {}
    for name, weight in model.named_parameters():
        path, _, rest = name.partition(f"{_NAME}.")
        if not rest:
            weights[name] = weight
        elif rest.endswith(".original"):
            own = rest.removesuffix(".original")
            weights[path + own] = getattr(model.get_submodule(path.removesuffix(".")), own)
    return weights
