"""Dropout that grows as the training data become known."""

from __future__ import annotations

from torch import nn

from attn_cli.nn.dropout import Dropout

MOST = 0.3  # what it grows to
_STEP = 0.05  # a layer that is compiled is compiled anew for each probability


class DropoutClimb:
    """p - 0.05 + climb · passes, to 0.3 at most, in the place of each dropout p of a model.

    In its first passes over the training data a model learns what all of them have in common, and
    dropout is but noise; the more often it has seen them, the more it learns by heart, which
    dropout keeps it from (Srivastava et al. 2014). Morerio et al. 2017 (Curriculum dropout) let p
    grow with the updates; here it grows with the passes, so that a corpus that is read once has
    little, however many updates that takes. It grows in steps of 0.05; p above 0.3 is reached and
    not passed.

    Args:
        model: whose dropout it is.
        climb: what p grows by with each pass; 0: all stay as they are.
    """

    def __init__(self, model: nn.Module, climb: float) -> None:
        self._climb = climb
        self._usual = [
            (module, module.p) for module in model.modules() if isinstance(module, Dropout)
        ]

    def set(self, passes: float) -> None:
        """Sets all dropout to what it is after so many passes over the training data."""
        if not self._climb:
            return
        steps = round(self._climb * passes / _STEP) - 1
        for module, usual in self._usual:
            grown = round(usual + steps * _STEP, 4)
            module.p = min(max(grown, 0.0), max(usual, MOST))
