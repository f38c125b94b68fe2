"""One of our own model directories with its matrices in 8 bits."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch

from attn_cli.convert.output import is_ours, replace_directory
from attn_cli.errors import DataError
from attn_cli.files import inside, write_atomically
from attn_cli.models.directory import (
    NOTE,
    WEIGHTS,
    is_int8,
    load_model,
    note_of,
    write_weights,
)
from attn_cli.models.storage import narrowed

_SAID = "its weights are stored in int8 (attn convert --precision int8)"


def to_int8(
    folder: Path, output: Path, say: Callable[[str], None], *, overwrite: bool = False
) -> None:
    """Writes a model directory with its matrices in 8 bits; all else is copied.

    Args:
        folder: the model directory.
        output: the directory to write.
        say: is told nothing.
        overwrite: whether a model in `output` may be replaced.

    Raises:
        DataError: the directory is damaged, or has such weights already.
        UsageError: `output` holds a model.
    """
    _, model = load_model(folder, torch.device("cpu"))
    if is_int8(folder):
        raise DataError(f"{folder}: {_SAID}")
    tensors = narrowed(dict(model.named_parameters()))
    note = note_of(folder)
    meta = {NOTE: f"{note}; {_SAID}" if note else _SAID}
    with replace_directory(output, folder, overwrite) as stage:
        write_weights(stage, tensors, meta)
        for file in sorted(folder.iterdir()):
            if file.is_file() and is_ours(file) and file.name != WEIGHTS:
                write_atomically(stage / file.name, inside(folder, file.name).read_bytes())
