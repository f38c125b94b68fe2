"""A model without values: its parts, names and shapes before memory is taken, then its weights.

Modules make parameters by `torch.empty`, `zeros` or `ones` and give them values in place, and make
buffers on the CPU by name: so nothing of a model that is loaded is drawn, or allocated twice.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

# Of tensors and of `torch.nn.init`. On the meta device most of them would load `torch._dynamo`.
_VALUES = frozenset(
    ("normal_", "uniform_", "kaiming_uniform_", "constant_", "zero_", "fill_", "mul_", "div_")
)


class _NoValues(TorchFunctionMode):
    """What gives values to a tensor in place leaves it as it is."""

    def __torch_function__(
        self,
        func: Callable[..., object],
        types: Sequence[type],
        args: Sequence[object] = (),
        kwargs: Mapping[str, object] | None = None,
    ) -> object:
        kwargs = kwargs or {}
        if func.__name__ in _VALUES:
            return args[0] if args else kwargs["tensor"]
        return func(*args, **kwargs)


@contextmanager
def without_values() -> Iterator[None]:
    """A context in which a model is built of parameters on the meta device, without values."""
    with torch.device("meta"), _NoValues():
        yield


def shapes_of(model: nn.Module) -> dict[str, tuple[int, ...]]:
    """The name and shape of each parameter; of one that several modules share, once."""
    return {name: tuple(weight.shape) for name, weight in model.named_parameters()}


def give_values(model: nn.Module, tensors: Mapping[str, Tensor]) -> None:
    """Puts copies of these tensors in the place of the parameters of a model without values."""
    given: dict[int, nn.Parameter] = {}  # by the identity of the one it takes the place of
    for name, weight in list(model.named_parameters(remove_duplicate=False)):
        if id(weight) not in given:
            values = tensors[name].to(weight.dtype, copy=True)
            given[id(weight)] = nn.Parameter(values, requires_grad=weight.requires_grad)
        owner, _, leaf = name.rpartition(".")
        setattr(model.get_submodule(owner), leaf, given[id(weight)])
