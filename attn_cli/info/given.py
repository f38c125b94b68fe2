"""Which options a training was given: those that config.json keeps and that are no default."""

from __future__ import annotations

import dataclasses
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from attn_cli.config import checked, field_types, listed, long_flags, unknown_names
from attn_cli.config.command import Command, defaults_for, groups, kinds_of, options_of
from attn_cli.config.finetuning import FinetuneCommand
from attn_cli.config.pretraining import PretrainCommand
from attn_cli.config.translation import TrainMtCommand
from attn_cli.errors import DataError
from attn_cli.model_files import AVERAGED, CONFIG, DATA, EXAMPLES

_TRAININGS: tuple[type[Command], ...] = (TrainMtCommand, PretrainCommand, FinetuneCommand)


@dataclass(frozen=True)
class Given:
    """A training command, and its options that are not as they are by themselves.

    Attributes:
        command: its name; "" where the options are those of no training that this version knows.
        options: name of the option -> its value.
        flags: the same as they stand on a command line.
    """

    command: str = ""
    options: Mapping[str, object] = field(default_factory=dict)
    flags: list[str] = field(default_factory=list)


def given_options(sections: Mapping[str, object], folder: Path) -> Given:
    """Compares what config.json keeps of a training's options with their defaults.

    Args:
        sections: the options, group by group.
        folder: the model directory that they were read from.

    Raises:
        DataError: a value is none that the option can have.
    """
    where = str(folder / CONFIG)
    there = sections.keys() - {DATA, EXAMPLES, AVERAGED}
    for command in _TRAININGS:
        kept = [group for group in groups(command) if group.saved]
        if there == {group.name for group in kept}:
            break
    else:
        return Given()
    values: dict[str, object] = {}
    for group in kept:
        section = sections[group.name]
        if not isinstance(section, dict):
            raise DataError(f"{where}: options: {group.name!r} is no object")
        if unknown := unknown_names(section, field_types(group.kind)):
            raise DataError(f"{where}: {group.name}: {listed(unknown)}")
        values |= {name: tuple(v) if isinstance(v, list) else v for name, v in section.items()}
    fields, kinds = options_of(command), kinds_of(command)
    known = [name for name in fields if name in values]
    for name in known:
        # A default may be a value that cannot be given: chosen by the corpus, for one.
        if values[name] != fields[name].default:
            values[name], problem = checked(name, values[name], kinds[name], fields[name].metadata)
            if problem:
                raise DataError(f"{where}: options: {problem}")
    # What suits a model to start from is decided by its architecture, which this one shares: no
    # file outside of the directory is read.
    init = {"init": str(folder)} if values.get("init") else {}
    usual = {name: fields[name].default for name in known}
    usual |= defaults_for(command, values | init)
    options = {name: values[name] for name in known if values[name] != usual[name]}
    return Given(
        command.name,
        options,
        [text for name, value in options.items() for text in _flags(fields[name], value)],
    )


def without_folders(given: Given) -> list[str]:
    """The flags for a page that others read: files by their names alone."""
    command = next(command for command in _TRAININGS if command.name == given.command)
    fields = options_of(command)
    short = {
        name: Path(value).name
        if fields[name].metadata["place"] and isinstance(value, str)
        else value
        for name, value in given.options.items()
    }
    return [text for name, value in short.items() for text in _flags(fields[name], value)]


def _flags(option: dataclasses.Field[object], value: object) -> list[str]:
    """An option as it stands on a command line."""
    flag = long_flags(option)[0]
    if isinstance(value, bool):
        _, _, off = (option.metadata["flag"] or "").partition("/")
        return [flag if value else off or f"--no-{flag.removeprefix('--')}"]
    if value is None:  # a default of a mode was taken back
        return []
    values = value if isinstance(value, tuple) else (value,)
    return [
        f"{flag} {shlex.quote(f'{each:g}' if isinstance(each, float) else str(each))}"
        for each in values
    ]
