"""Dropout that grows while the training data become known."""

from __future__ import annotations

from torch import nn

from attn_cli.nn.dropout import Dropout

_STEPS = 4  # a layer that is compiled is compiled anew for each probability


class DropoutWarmup:
    """Dropout that grows from 0 to each layer's own over the first passes over the training data.

    A model that has seen a sentence once or twice does not know it by heart: dropout, which is to
    keep it from that (Srivastava et al. 2014), is but noise then, and it learns sooner without.
    Morerio et al. 2017 (Curriculum dropout, eq. 3) let p grow with the updates; here it grows with
    the passes, so that a corpus that is read once has none, however many updates that takes. It
    grows in quarters of p.

    Args:
        model: whose dropout it is.
        passes: after which it is whole; 0: it is from the start.
    """

    def __init__(self, model: nn.Module, passes: float) -> None:
        self._passes = passes
        self._whole = [(layer, layer.p) for layer in model.modules() if isinstance(layer, Dropout)]

    def set(self, passed: float) -> None:
        """Sets all dropout to what it is after so many passes."""
        if not self._passes:
            return
        share = min(1.0, int(_STEPS * passed / self._passes) / _STEPS)
        for layer, p in self._whole:
            layer.p = p * share
