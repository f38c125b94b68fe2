"""The layers of a deep stack, as the engines see them."""

from __future__ import annotations

from collections.abc import Iterator

from torch import nn


class StackLayer(nn.Module):
    """A layer of a deep stack: what is gathered, computed again or compiled by itself.

    In training its weights are used by its `forward` alone.
    """


def stack_layers(module: nn.Module) -> Iterator[StackLayer]:
    """All such layers inside a module, in order."""
    return (layer for layer in module.modules() if isinstance(layer, StackLayer))
