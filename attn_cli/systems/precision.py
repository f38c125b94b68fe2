"""What `decode --precision` asks of models that only answer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from torch import nn

from attn_cli.device import use_int8
from attn_cli.models.directory import is_int8
from attn_cli.nn.prepared import prepare


def prepare_models(
    models: Sequence[nn.Module],
    paths: str,
    precision: str,
    device: torch.device,
    say: Callable[[str], None] | None = None,
) -> None:
    """Makes models fast, in place; their weights may not change after that.

    Args:
        models: read from the directories.
        paths: these, joined by commas.
        precision: the option's value.
        device: where the models are.
        say: is told where int8 is no faster.

    Raises:
        UsageError: int8 is asked for on another device than a CPU.
    """
    for model, path in zip(models, paths.split(","), strict=True):
        int8 = use_int8(precision, device, stored=is_int8(Path(path)))
        if not prepare(model, int8=int8) and int8 and say:
            say(
                f"{path}: no product of it is faster in int8 with this PyTorch on this machine: it "
                "computes in float32"
            )
