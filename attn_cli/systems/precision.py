"""What `decode --precision` asks of models that only answer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from torch import nn

from attn_cli.device import use_int8
from attn_cli.models.directory import WEIGHTS, is_int8
from attn_cli.nn.prepared import prepare


def in_int8(paths: str, precision: str, device: torch.device) -> tuple[bool, ...]:
    """Which of the directories `paths`, joined by commas, compute in 8 bits.

    Raises:
        UsageError: int8 is asked for on another device than a CPU.
    """
    return tuple(
        # Where there are no weights, whoever loads them says why.
        use_int8(precision, device, stored=(path / WEIGHTS).exists() and is_int8(path))
        for path in map(Path, paths.split(","))
    )


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
    several = zip(models, paths.split(","), in_int8(paths, precision, device), strict=True)
    for model, path, int8 in several:
        if not prepare(model, int8=int8) and int8 and say:
            say(
                f"{path}: no product of it is faster in int8 with this PyTorch on this machine: it "
                "computes in float32"
            )
