"""A command's options as keyword arguments: flags with underscores, `max_len` for `--max-len`."""

from __future__ import annotations

import dataclasses
import inspect
import os
import textwrap
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Generic, TypeAlias, TypeVar

from attn_cli.config import Kind, listed, said_default, unknown_names
from attn_cli.config.command import (
    CommandT,
    defaults_for,
    groups,
    kinds_of,
    options_of,
    resolve,
    toml_keys,
)
from attn_cli.errors import UsageError

StrPath: TypeAlias = str | os.PathLike[str]
Value: TypeAlias = str | int | float | bool | os.PathLike[str] | Sequence[str] | None

F = TypeVar("F", bound=Callable[..., object])
_ALIASES = {"beam_size": "beam"}  # what other libraries call an option
_WIDTH = 92


@dataclass(frozen=True)
class Keywords(Generic[CommandT]):
    """The options of a command that a function takes.

    Attributes:
        command: the bundle that they are of.
        but: names of options that the function does not take.
    """

    command: type[CommandT]
    but: frozenset[str] = frozenset()

    @property
    def names(self) -> dict[str, str]:
        """Keyword -> name of the option."""
        names = {
            key.replace("-", "_"): name
            for key, name in toml_keys(self.command).items()
            if name not in self.but
        }
        return names | {alias: name for alias, name in _ALIASES.items() if name in names}

    def resolve(
        self,
        given: Mapping[str, Value],
        fixed: Mapping[str, object] | None = None,
        config: StrPath | None = None,
    ) -> CommandT:
        """The command's options; those that are not given have the defaults of the command line.

        Args:
            given: keyword -> value; None: not given.
            fixed: options that the function itself decides, by name.
            config: a TOML file, as `--config` takes it; what is given wins.

        Raises:
            UsageError: an unknown keyword or a bad value.
            DataError: the file can't be read, or has unknown or bad options.
        """
        names, kinds = self.names, kinds_of(self.command)
        if unknown := unknown_names(given, names):
            raise UsageError(listed(unknown))
        values: dict[str, object] = {}
        for keyword, value in given.items():
            name = names[keyword]
            if value is None:
                continue
            if name in values:
                raise UsageError(f"{keyword}: is {name}, which is given too; leave one of them out")
            values[name] = _plain(value, kinds[name])
        fixed = fixed or {}
        toml = None if config is None else os.fspath(config)
        options = resolve(self.command, {**fixed, **values}, toml)
        return dataclasses.replace(options, given=options.given.difference(fixed))

    def documented(self, function: F) -> F:
        """Adds what the options are to a function's docstring."""
        function.__doc__ = f"{inspect.cleandoc(function.__doc__ or '')}\n\n{self._table()}\n"
        return function

    def _table(self) -> str:
        """The everyday options with what they do, and the names of the rarer ones."""
        rare_groups = [group.kind for group in groups(self.command) if group.rare]
        rare = {field.name for kind in rare_groups for field in dataclasses.fields(kind)}
        usual = defaults_for(self.command, {})
        everyday, rarer = [], []
        for name, field in options_of(self.command).items():
            if name in self.but:
                continue
            if name in rare or field.metadata["rare"]:
                rarer.append(name)
                continue
            said = said_default(usual.get(name, field.default)) or field.metadata["show"]
            text = f"{name}: {field.metadata['help']}" + (f" [{said}]" if said else "")
            everyday += textwrap.wrap(
                text, _WIDTH, initial_indent="    ", subsequent_indent=" " * 8
            )
        lines = [f"Options, as those of `attn {self.command.name}`:", *everyday]
        if rarer:
            text = f"Rarer ones, see `attn {self.command.name} --help-all`: {', '.join(rarer)}."
            lines += ["", *textwrap.wrap(text, _WIDTH)]
        return "\n".join(lines)


def _plain(value: Value, kind: Kind) -> object:
    """A value as options take it: a path as a text, one text as a list where that is wanted."""
    if isinstance(value, os.PathLike):
        value = os.fspath(value)
    if not kind.many:
        return value
    if isinstance(value, str):
        return [value]
    if isinstance(value, Sequence):
        return [os.fspath(text) if isinstance(text, os.PathLike) else text for text in value]
    return value
