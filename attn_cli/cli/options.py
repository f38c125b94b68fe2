"""Option dataclasses -> Typer flags: each option is declared once, in `attn_cli.config`."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from dataclasses import MISSING, Field, fields
from typing import Annotated, Any

import typer

from attn_cli.config import Command, defaults_for, field_types, groups, resolve, said_default

ConfigFile = Annotated[
    str | None,
    typer.Option("--config", metavar="FILE.toml", help="Options from a TOML file; flags win."),
]

_METAVARS: dict[type, str] = {int: "N", float: "X", str: "TEXT"}
_KEYWORD = inspect.Parameter.KEYWORD_ONLY


def with_options(command: type[Command]) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Gives a function the flags of a command's options, and `--config`.

    The decorated function declares its arguments as Typer wants them, and one parameter `options`,
    which receives the filled-in `command`. A flag that is not given stays None until `resolve`
    fills in the TOML file's value or a default.
    """

    def decorate(function: Callable[..., None]) -> Callable[..., None]:
        own = inspect.signature(function, eval_str=True).parameters
        flags = [
            _parameter(command, field, *field_types(kind)[field.name])
            for kind in groups(command).values()
            for field in fields(kind)
        ]
        names = {flag.name for flag in flags}

        @functools.wraps(function)
        def wrapper(config: str | None, **values: Any) -> None:
            given = {k: v for k, v in values.items() if k in names and v not in (None, [], ())}
            arguments = {k: v for k, v in values.items() if k not in names}
            function(**arguments, options=resolve(command, given, config))

        kept = [p.replace(kind=_KEYWORD) for p in own.values() if p.name != "options"]
        config = inspect.Parameter("config", _KEYWORD, default=None, annotation=ConfigFile)
        wrapper.__signature__ = inspect.Signature([*kept, *flags, config])  # type: ignore[attr-defined]
        wrapper.__annotations__ = {p.name: p.annotation for p in [*kept, *flags, config]}
        return wrapper

    return decorate


def _parameter(
    command: type[Command], field: Field[Any], plain: type, _optional: bool, many: bool
) -> inspect.Parameter:
    meta = field.metadata
    dashed = field.name.replace("_", "-")
    flag = meta["flag"] or (f"--{dashed}/--no-{dashed}" if plain is bool else f"--{dashed}")
    shown = _shown_default(command, field, one_way=plain is bool and "/" not in flag)
    annotation: Any = Annotated[
        (list[plain] if many else plain) | None,  # type: ignore[valid-type]
        typer.Option(
            *flag.split(","),
            # Typer would put a default that it is told in words into parentheses.
            help=f"{meta['help']} [{shown}]" if shown else meta["help"],
            show_default=False,
            metavar="|".join(meta["choices"]) or _METAVARS.get(plain),
        ),
    ]
    return inspect.Parameter(field.name, _KEYWORD, default=None, annotation=annotation)


def _shown_default(command: type[Command], field: Field[Any], *, one_way: bool) -> str:
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
