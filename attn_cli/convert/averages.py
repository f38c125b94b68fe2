"""The mean of several models: one whose weights are those of all of them, averaged.

Models of one training, or of several that began with the same weights, lie close together, and
their mean is often better than any (Izmailov et al. 2018; Wortsman et al. 2022).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from torch import Tensor

from attn_cli.convert.output import is_ours, replace_directory
from attn_cli.convert.stored_weights import Stored, copy_files
from attn_cli.errors import DataError, UsageError
from attn_cli.files import inside
from attn_cli.model_files import AVERAGED, LOG
from attn_cli.models.directory import (
    CONFIG,
    NOTE,
    WEIGHTS,
    ModelConfig,
    load_model,
    read_config,
    write_config,
    write_weights,
)
from attn_cli.models.shortlist import SHORTLIST
from attn_cli.wording import plural

_OWN = {CONFIG, WEIGHTS, LOG, SHORTLIST}  # of each model; their other files must be the same
_LEAST = 0.5  # correlation of weights: of models that began apart it is near 0, of others near 1
_CPU = torch.device("cpu")


def average(
    folders: Sequence[Path],
    output: Path,
    say: Callable[[str], None],
    *,
    tell: Callable[[str], None],
    overwrite: bool = False,
) -> None:
    """Writes the mean of the weights of some models; one that is named twice counts twice.

    Args:
        folders: the model directories, of one architecture, configuration and tokenizer.
        output: the directory to write.
        say: is told of models that have little in common.
        tell: is told what was averaged.
        overwrite: whether a model in `output` may be replaced.

    Raises:
        DataError: a directory is damaged, or differs from the first in what must be the same.
        UsageError: `output` holds a model, or is one of them.
    """
    first = read_config(folders[0])
    for folder in folders[1:]:
        if output.exists() and output.resolve() == folder.resolve():
            raise UsageError(f"{output}: is one of the models to average; choose another -o")
        if difference := _difference(folders[0], first, folder, read_config(folder)):
            raise DataError(
                f"{folder}: no average with {folders[0]}: {difference}; models of one "
                "architecture, configuration and tokenizer have one"
            )
    tensors = _mean(folders, say)
    names = [str(folder) for folder in folders]
    options = {**first.options, AVERAGED: names}
    notes = dict.fromkeys(filter(None, (Stored.read(folder).note for folder in folders)))
    with replace_directory(output, folders[0], overwrite) as stage:
        write_weights(stage, tensors, {NOTE: "; ".join(notes)} if notes else {})
        copy_files(folders[0], stage, _OWN - ({SHORTLIST} if _same_shortlist(folders) else set()))
        write_config(stage, dataclasses.replace(first, options=options, finished=True))
    tell(f"{output}: the mean of {plural(len(folders), 'model')}: {', '.join(names)}")


def _mean(folders: Sequence[Path], say: Callable[[str], None]) -> dict[str, Tensor]:
    """The mean of each weight; sums are kept in float64, so that their order does not matter."""
    total: dict[str, Tensor] = {}
    first: dict[str, Tensor] = {}
    for number, folder in enumerate(folders):
        _, model = load_model(folder, _CPU)
        weights = {name: weight.detach() for name, weight in model.named_parameters()}
        first = first or weights
        if number and (close := _correlation(first, weights)) < _LEAST:
            say(
                f"{folder}: its weights have little in common with those of {folders[0]} "
                f"(correlation {close:.2f}): models that did not begin with the same weights have "
                "no mean that works"
            )
        for name, weight in weights.items():
            total[name] = total[name] + weight.double() if number else weight.double()
    return {name: (weight / len(folders)).float() for name, weight in total.items()}


def _correlation(left: dict[str, Tensor], right: dict[str, Tensor]) -> float:
    """The cosine of the angle between the matrices of two models."""
    names = [name for name, weight in left.items() if weight.dim() > 1]
    products = [
        sum(float((a[name].double() * b[name].double()).sum()) for name in names)
        for a, b in ((left, right), (left, left), (right, right))
    ]
    both = (products[1] * products[2]) ** 0.5
    return products[0] / both if both else 1.0


def _difference(folder: Path, first: ModelConfig, other: Path, config: ModelConfig) -> str:
    """The first thing that two models must share and do not, in words; "": nothing."""
    for what in ("arch", "task"):
        here, there = vars(config)[what], vars(first)[what]
        if here != there:
            return f"its {what} is {here}, there {there}"
    here, there = vars(config.model), vars(first.model)
    for name in here:
        if here[name] != there[name]:
            return f"its {name} is {here[name]}, there {there[name]}"
    if config.heads != first.heads:
        return _of_heads(first, config)
    ours, theirs = _shared_files(other), _shared_files(folder)
    for name in sorted(ours | theirs):
        if name not in ours & theirs:
            return f"{name} is in one of them alone"
        if inside(folder, name).read_bytes() != inside(other, name).read_bytes():
            return f"its {name} is another one"
    return ""


def _of_heads(first: ModelConfig, config: ModelConfig) -> str:
    """How the output layers of two models differ, in words."""
    here, there = ([head.name for head in each.heads] for each in (config, first))
    if here != there:
        return f"its output layers are {', '.join(here) or 'none'}, there {', '.join(there)}"
    pairs = zip(config.heads, first.heads, strict=True)
    ours, theirs = next((ours, theirs) for ours, theirs in pairs if ours != theirs)
    name = next(name for name, value in vars(ours).items() if value != vars(theirs)[name])
    values = vars(ours)[name], vars(theirs)[name]
    return f"{name} of its output layer {ours.name} is {values[0]}, there {values[1]}"


def _shared_files(folder: Path) -> set[str]:
    files = (file for file in folder.iterdir() if file.is_file() and is_ours(file))
    return {file.name for file in files} - _OWN


def _same_shortlist(folders: Sequence[Path]) -> bool:
    files = [inside(folder, SHORTLIST) for folder in folders]
    return all(file.exists() for file in files) and len({file.read_bytes() for file in files}) == 1
