"""Option dataclasses -> Typer flags: each option is declared once, in `attn_cli.config`."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import MISSING, fields
from typing import Annotated, Any

import typer

from attn_cli.cli.front import show_all
from attn_cli.config import NO_NAME, Kind, Option, long_flags, said_default, shown
from attn_cli.config.command import (
    Command,
    Group,
    defaults_for,
    groups,
    kinds_of,
    options_of,
    resolve,
)
from attn_cli.errors import EndedElsewhereError, UsageError
from attn_cli.threads import says_usage

ConfigFile = Annotated[
    str | None,
    typer.Option("--config", metavar="FILE.toml", help="Options from a TOML file; flags win."),
]


def _print_all(ctx: typer.Context, wanted: bool) -> None:
    if wanted:
        show_all(ctx.command)
        print(ctx.get_help())
        raise typer.Exit


HelpAll = Annotated[
    bool,
    typer.Option(
        "--help-all",
        callback=_print_all,
        is_eager=True,
        expose_value=False,
        help="Show this, with the rarer options, and exit.",
    ),
]

_METAVARS: dict[type, str] = {int: "N", float: "X", str: "TEXT"}
_KEYWORD = inspect.Parameter.KEYWORD_ONLY


def with_options(command: type[Command]) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Gives a function the flags of a command's options, and `--config`.

    Where some of them are rare, it also gets `--help-all`. The decorated function declares its
    arguments as Typer wants them, and one parameter `options`, which receives the filled-in
    `command`. Typer passes texts on, and None for a flag that is not given, until `resolve` fills
    in the TOML file's value or a default.
    """

    def decorate(function: Callable[..., None]) -> Callable[..., None]:
        own = inspect.signature(function, eval_str=True).parameters
        types = kinds_of(command)
        flags = [
            _parameter(command, group, field, types[field.name])
            for group in groups(command)
            for field in fields(group.kind)
        ]
        declared = options_of(command)

        @functools.wraps(function)
        def wrapper(config: str | None, **values: object) -> None:
            arguments = {name: values[name] for name in values.keys() & own.keys()}
            given = {
                name: _converted(value, declared[name], types[name])
                for name, value in values.items()
                if name in declared and value not in (None, [], ())
            }
            try:
                _require_names(arguments)
                options = resolve(command, given, config)
            except UsageError:
                if says_usage():
                    raise
                raise EndedElsewhereError(UsageError.exit_code) from None
            function(**arguments, options=options)

        kept = [p.replace(kind=_KEYWORD) for p in own.values() if p.name != "options"]
        shown = [*kept, *flags]
        shown.append(inspect.Parameter("config", _KEYWORD, default=None, annotation=ConfigFile))
        if any(group.rare for group in groups(command)) or any(
            field.metadata["rare"] for field in declared.values()
        ):
            shown.append(inspect.Parameter("help_all", _KEYWORD, default=False, annotation=HelpAll))
        wrapper.__signature__ = inspect.Signature(shown)  # type: ignore[attr-defined]
        wrapper.__annotations__ = {p.name: p.annotation for p in shown}
        return wrapper

    return decorate


def _require_names(arguments: Mapping[str, object]) -> None:
    """Raises UsageError if the name of a file or directory is empty."""
    for value in arguments.values():
        if value == "" or (isinstance(value, list) and "" in value):
            raise UsageError(f"an argument is {NO_NAME}")


def _converted(value: object, field: Option, kind: Kind) -> object:
    """What stood on the command line, as a number where the option is one.

    Raises:
        typer.BadParameter: it is none.
    """
    if kind.plain not in (int, float) or not isinstance(value, str):
        return value
    try:
        return kind.plain(value)
    except ValueError:
        noun = "integer" if kind.plain is int else "number"
        message = f"{shown(value)} is not a valid {noun}."
        raise typer.BadParameter(message, param_hint=f"'{long_flags(field)[0]}'") from None


def _parameter(
    command: type[Command], group: Group, field: Option, kind: Kind
) -> inspect.Parameter:
    plain = kind.plain
    meta = field.metadata
    dashed = field.name.replace("_", "-")
    flag = meta["flag"] or (f"--{dashed}/--no-{dashed}" if plain is bool else f"--{dashed}")
    shown = _shown_default(command, field, one_way=plain is bool and "/" not in flag)
    annotation: Any = Annotated[
        bool | None if plain is bool else list[str] | None if kind.many else str | None,
        typer.Option(
            *flag.split(","),
            # Typer would put a default that it is told in words into parentheses.
            help=f"{meta['help']} [{shown}]" if shown else meta["help"],
            show_default=False,
            metavar="|".join(meta["choices"]) or meta["place"] or _METAVARS.get(plain),
            autocompletion=_completing(meta["choices"]) if meta["choices"] else None,
            rich_help_panel=group.panel,
            hidden=meta["rare"] or group.rare,
        ),
    ]
    return inspect.Parameter(field.name, _KEYWORD, default=None, annotation=annotation)


def _completing(choices: Sequence[str]) -> Callable[[str], list[str]]:
    def complete(incomplete: str) -> list[str]:
        return [choice for choice in choices if choice.startswith(incomplete)]

    return complete


def _shown_default(command: type[Command], field: Option, *, one_way: bool) -> str:
    """The default of an option, and those that suit the command's modes, in words."""
    usual = defaults_for(command, {}).get(field.name, MISSING)
    shown = said_default(field.default if usual is MISSING else usual)
    if usual is MISSING and field.metadata["show"]:
        shown = field.metadata["show"]
    if one_way and shown == "off":  # `--json`: absent is off
        shown = ""
    others = [
        f"{mode.said} {said_default(mode.defaults[field.name])}"
        for mode in command.modes
        if mode.said and field.name in mode.defaults
    ]
    return "; ".join([shown, *others] if shown else others)
