"""PyTorch's own optimizers without its compiler, whose import is a third of a short training.

Methods of `torch.optim` are wrapped for `torch.compile`: the first call of one imports
`torch._dynamo` and sympy, a second of computing. Nothing here compiles an optimizer, so these
classes call what is inside of the wrappers. Where a version of PyTorch wraps nothing, nothing
changes.
"""

from __future__ import annotations

from inspect import unwrap

import torch


class PlainOptimizer(torch.optim.Optimizer):
    """What its subclasses, named first among their bases, do not wrap."""

    add_param_group = unwrap(torch.optim.Optimizer.add_param_group)
    state_dict = unwrap(torch.optim.Optimizer.state_dict)
    load_state_dict = unwrap(torch.optim.Optimizer.load_state_dict)


class Adam(PlainOptimizer, torch.optim.Adam):
    """Adam (Kingma & Ba 2015)."""

    step = torch.no_grad()(unwrap(torch.optim.Adam.step))


class AdamW(PlainOptimizer, torch.optim.AdamW):
    """Adam whose weight decay is not a part of the gradient (Loshchilov & Hutter 2019)."""

    step = torch.no_grad()(unwrap(torch.optim.AdamW.step))
