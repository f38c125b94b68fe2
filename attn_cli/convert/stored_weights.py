"""One of our own model directories with its matrices in 16 or in 8 bits."""

from __future__ import annotations

import dataclasses
import math
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from torch import Tensor

from attn_cli.convert.output import is_ours, replace_directory
from attn_cli.convert.sample_outputs import said_difference, sample_outputs
from attn_cli.errors import DataError
from attn_cli.files import inside
from attn_cli.model_files import SCALE, facts_of, read_header
from attn_cli.models.directory import (
    CONFIG,
    NOTE,
    WEIGHTS,
    ModelConfig,
    is_int8,
    load_model,
    write_config,
    write_weights,
)
from attn_cli.models.storage import narrowed

_SAID = "its weights are stored in int8 (attn convert --precision int8)"
_TYPES = {"float16": torch.float16, "bfloat16": torch.bfloat16}
_OF_FILES = {"F16": "float16", "BF16": "bfloat16", "I8": "int8"}
_CPU = torch.device("cpu")


@dataclasses.dataclass(frozen=True)
class Stored:
    """How the weights of a directory are stored.

    Attributes:
        precision: of the matrices: "float32", "float16", "bfloat16" or "int8".
        facts: what is told of them; see `model_files.facts_of`.
        count: how many numbers there are, scales left out.
        size: of the file in bytes.
    """

    precision: str
    facts: Mapping[str, object]
    count: int
    size: int

    @classmethod
    def read(cls, folder: Path) -> Stored:
        """Reads the header of a directory's weights.

        Raises:
            DataError: they are missing, foreign or damaged.
        """
        file = inside(folder, WEIGHTS)
        header = read_header(file)
        weights = [v for name, v in header.tensors.items() if not name.endswith(SCALE)]
        types = {each["dtype"] for each in weights}
        precision = next((ours for theirs, ours in _OF_FILES.items() if theirs in types), "float32")
        count = sum(math.prod(each["shape"]) for each in weights)
        return cls(precision, facts_of(header), count, file.stat().st_size)

    @property
    def note(self) -> str:
        """What a user must know of them, but how they are stored."""
        note = self.facts.get(NOTE, "")
        return note.removesuffix(_SAID).removesuffix("; ") if isinstance(note, str) else ""


def to_precision(
    folder: Path,
    output: Path,
    say: Callable[[str], None],
    *,
    precision: str,
    tell: Callable[[str], None],
    overwrite: bool = False,
) -> None:
    """Writes a model directory with its matrices in fewer bits; all else is copied.

    Args:
        folder: the model directory.
        output: the directory to write.
        say: is told nothing.
        precision: "float16", "bfloat16" or "int8".
        tell: is told of the sizes, and of how far outputs differ.
        overwrite: whether a model in `output` may be replaced.

    Raises:
        DataError: the directory is damaged, its weights are in 8 bits already, or too large.
        UsageError: `output` holds a model.
    """
    _, model = load_model(folder, _CPU)
    if is_int8(folder):
        raise DataError(f"{folder}: {_SAID}: {precision} would not bring back what they were")
    before = Stored.read(folder)
    with replace_directory(output, folder, overwrite) as stage:
        write_stored(stage, dict(model.named_parameters()), before, precision, str(folder))
        copy_files(folder, stage, {WEIGHTS})
    tell(said_sizes(output, before, Stored.read(output)))
    if known := sample_outputs(model):
        del model  # of a large one there is room for one
        tell(f"{output}: {said_difference(known, sample_outputs(load_model(output, _CPU)[1]))}")


def write_stored(
    folder: Path, tensors: Mapping[str, Tensor], before: Stored, precision: str, where: str
) -> None:
    """Writes weights as a precision stores them, with what is told of those they were made of.

    Args:
        folder: the directory.
        tensors: the weights, in float32.
        before: the weights that they were made of.
        precision: of the matrices.
        where: what messages call the model.

    Raises:
        DataError: float16 has no such numbers.
    """
    facts = {**before.facts, NOTE: before.note}
    if precision == "int8":
        tensors = narrowed(tensors)
        facts[NOTE] = "; ".join(filter(None, (before.note, _SAID)))
    elif precision in _TYPES:
        tensors = {name: _halved(where, name, tensors[name], precision) for name in tensors}
    if not facts[NOTE]:
        del facts[NOTE]
    write_weights(folder, tensors, facts)


def _halved(where: str, name: str, tensor: Tensor, precision: str) -> Tensor:
    """A matrix in 16 bits; vectors (biases, norms) take no room, and stay as they are."""
    if tensor.dim() < 2:
        return tensor
    found = tensor.detach().to(_TYPES[precision])
    if not bool(torch.isfinite(found).all()):
        most = torch.finfo(found.dtype).max
        raise DataError(
            f"{where}: tensor {name!r} has weights beyond {most:,.0f}, the largest number of "
            f"{precision}; --precision bfloat16 holds them"
        )
    return found


def copy_files(folder: Path, stage: Path, leave: set[str]) -> None:
    """Copies what attn wrote into a model directory, but what is so called."""
    for file in sorted(folder.iterdir()):
        if file.is_file() and is_ours(file) and file.name not in leave:
            shutil.copyfile(inside(folder, file.name), stage / file.name)


def write_changed(
    stage: Path, folder: Path, config: ModelConfig, tensors: Mapping[str, Tensor], leave: set[str]
) -> None:
    """Writes a model made of that in a folder: stored as it, with its files but those left out."""
    before = Stored.read(folder)
    write_stored(stage, tensors, before, before.precision, str(folder))
    copy_files(folder, stage, {WEIGHTS, CONFIG, *leave})
    write_config(stage, config)


def said_sizes(output: Path, before: Stored, after: Stored) -> str:
    """The sizes before and after, in words."""
    share = after.size / max(1, before.size)
    counts = f"{before.count:,} weights before, {after.count:,} after; "
    return (
        f"{output}: {counts if before.count != after.count else ''}{before.size:,} bytes in "
        f"{before.precision} before, {after.size:,} in {after.precision} after ({share:.1%})"
    )
