"""A command's options: one typed bundle of groups, from the command line to a saved model.

`resolve` merges defaults < defaults of a mode < TOML file < command line into a `Command`, whose
fields are the groups; `saved` gives what of it a model keeps. Standard library only.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, TypeVar

from attn_cli.config import (
    Kind,
    Option,
    checked,
    field_types,
    from_dict,
    listed,
    load_toml,
    long_flags,
    required_names,
    to_dict,
    unknown_names,
)
from attn_cli.errors import DataError, UsageError

T = TypeVar("T")
CommandT = TypeVar("CommandT", bound="Command")


@dataclass(frozen=True)
class Mode:
    """What suits a command where it is asked for one thing rather than another.

    Attributes:
        suits: whether these options ask for it.
        defaults: option -> the default that suits it.
        said: when that is, as `--help` says it; "" for the usual case.
    """

    suits: Callable[[Mapping[str, object]], bool]
    defaults: Mapping[str, object]
    said: str = ""


@dataclass(frozen=True, kw_only=True)
class Command:
    """The options of a command; its fields are groups of options, made by `group()`.

    Attributes:
        name: of the command.
        modes: the one table of defaults that are not those of the option's declaration; where
            several modes suit, later ones win.
        given: the names of the options that a user gave, in a TOML file or on the command line.
    """

    name: ClassVar[str]
    modes: ClassVar[tuple[Mode, ...]] = ()
    given: frozenset[str] = dataclasses.field(default=frozenset(), compare=False, repr=False)


@dataclass(frozen=True)
class Group:
    """A group of a command's options, as `group()` declares it.

    Attributes:
        kind: its dataclass.
        panel: the heading under which `--help` shows it.
        saved: whether a trained model keeps these options, or which of them it keeps.
        rare: whether `--help` leaves all of them to `--help-all`.
        name: of the command's field.
    """

    kind: type
    panel: str
    saved: bool | Sequence[str]
    rare: bool
    name: str = ""


def group(
    kind: type[T], panel: str, *, saved: bool | Sequence[str] = True, rare: bool = False
) -> T:
    """Declares a group of a command's options; see `Group`."""
    metadata = {"group": Group(kind, panel, saved, rare)}
    return dataclasses.field(default_factory=kind, metadata=metadata)


def groups(command: type[Command]) -> list[Group]:
    """The groups of a command: its own, then those of the class that it is one of."""
    fields = {field.name: field for field in dataclasses.fields(command)}
    own = [name for name in vars(command).get("__annotations__", {}) if name in fields]
    return [
        dataclasses.replace(fields[name].metadata["group"], name=name)
        for name in dict.fromkeys([*own, *fields])
        if name in fields and "group" in fields[name].metadata
    ]


def options_of(command: type[Command]) -> dict[str, Option]:
    """Name -> option, of all groups."""
    kinds = [group.kind for group in groups(command)]
    return {field.name: field for kind in kinds for field in dataclasses.fields(kind)}


def kinds_of(command: type[Command]) -> dict[str, Kind]:
    """Name -> type of the option, of all groups."""
    return {
        name: kind for group in groups(command) for name, kind in field_types(group.kind).items()
    }


def toml_keys(command: type[Command]) -> dict[str, str]:
    """Key of a TOML file -> name of the option: a key is a long flag without its dashes."""
    return {
        flag.removeprefix("--"): name
        for name, field in options_of(command).items()
        for flag in long_flags(field)
    }


def defaults_for(command: type[Command], given: Mapping[str, object]) -> dict[str, object]:
    """The defaults that suit the given options, where they are not those of the declaration."""
    defaults: dict[str, object] = {}
    for mode in command.modes:
        if mode.suits(given):
            defaults |= mode.defaults
    return defaults


def saved(options: Command) -> dict[str, object]:
    """The options that decide a model as config.json keeps them: plain values, group by group."""
    sections: dict[str, object] = {}
    for group in groups(type(options)):
        section = to_dict(getattr(options, group.name))
        if not isinstance(group.saved, bool):
            section = {name: section[name] for name in group.saved}
        if group.saved:
            sections[group.name] = section
    return sections


def resolve(
    command: type[CommandT], given: Mapping[str, object] | None = None, toml_path: str | None = None
) -> CommandT:
    """Merges defaults < defaults of a mode < TOML file < command line into a command's options.

    Args:
        command: the bundle to fill in.
        given: the options that stood on the command line, by the names of their fields.
        toml_path: the file named by `--config`.

    Raises:
        UsageError: a bad value on the command line.
        DataError: the file can't be read, or has unknown or bad options.
    """
    given = dict(given or {})
    filed = _filed(command, toml_path)
    for name, field in options_of(command).items():
        if field.default is dataclasses.MISSING and name not in filed | given:
            raise UsageError(f"{long_flags(field)[0]} is missing")
    defaults = defaults_for(command, filed | given)
    filled: dict[str, Any] = {}
    for group in groups(command):
        kind, names = group.kind, field_types(group.kind)
        from_file = {key: v for key, v in (defaults | filed).items() if key in names}
        if filed.keys() & names.keys():  # a message about the file alone names the file
            needed = {key: v for key, v in given.items() if key in required_names(kind)}
            from_dict(kind, needed | from_file, str(toml_path))
        merged = from_file | {key: value for key, value in given.items() if key in names}
        try:
            filled[group.name] = from_dict(kind, merged, command.name, typed=True)
        except DataError as error:
            raise UsageError(str(error)) from error
    return command(**filled, given=frozenset(filed | given))


def _filed(command: type[Command], toml_path: str | None) -> dict[str, object]:
    """The options of a TOML file, by name; `n-best` may also be written `n_best`."""
    names = toml_keys(command)
    filed = load_toml(toml_path)
    strange = [key for key in filed if key.replace("_", "-") not in names]
    if unknown := unknown_names(strange, names):
        raise DataError(f"{toml_path}: {listed(unknown)}")
    by_name: dict[str, str] = {}
    for key in filed:
        other = by_name.setdefault(names[key.replace("_", "-")], key)
        if other != key:
            raise DataError(f"{toml_path}: {other} and {key} are one option; leave one of them out")
    options, kinds = options_of(command), kinds_of(command)
    values: dict[str, object] = {}
    problems: list[str] = []
    for name, key in by_name.items():
        values[name], problem = checked(name, filed[key], kinds[name], options[name].metadata)
        problems += [problem] if problem else []
    if problems:
        raise DataError(f"{toml_path}: {listed(problems)}")
    return values
