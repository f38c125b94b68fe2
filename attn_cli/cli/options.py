"""Option dataclasses -> Typer flags: each option is declared once, in `attn_cli.config`."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping
from dataclasses import MISSING, Field, fields
from typing import Annotated, Any

import typer

from attn_cli.config import field_types, load_toml, resolve

ConfigFile = Annotated[
    str | None,
    typer.Option("--config", metavar="FILE.toml", help="Options from a TOML file; flags win."),
]

_METAVARS: dict[type, str] = {int: "N", float: "X", str: "TEXT"}


def with_options(
    *groups: type,
    name: str | None = None,
    instead: Callable[[Mapping[str, Any]], Mapping[type, type]] | None = None,
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Gives a command the flags of the option dataclasses `groups`, and `--config`.

    The decorated function declares its arguments as Typer wants them, and one parameter `options`,
    which receives a list with one filled-in instance per group. Messages call the command `name`,
    or what the function is called without `_command`. A flag that is not given stays
    None until `resolve` fills in the TOML file's value or the dataclass's default. `instead` says,
    from what was given, which groups are filled in as another dataclass: the same fields with
    defaults that suit what is asked for.
    """

    def decorate(function: Callable[..., None]) -> Callable[..., None]:
        own = inspect.signature(function, eval_str=True).parameters
        flags = [parameter for group in groups for parameter in _parameters(group)]
        names = {flag.name for flag in flags}
        command = name or function.__name__.removesuffix("_command").replace("_", "-")

        @functools.wraps(function)
        def wrapper(config: str | None, **values: Any) -> None:
            given = {k: v for k, v in values.items() if k in names and v not in (None, [], ())}
            arguments = {k: v for k, v in values.items() if k not in names}
            other = instead(load_toml(config) | given) if instead else {}
            used = [other.get(group, group) for group in groups]
            function(**arguments, options=resolve(used, given, config, command))

        keyword = inspect.Parameter.KEYWORD_ONLY
        kept = [p.replace(kind=keyword) for p in own.values() if p.name != "options"]
        config = inspect.Parameter("config", keyword, default=None, annotation=ConfigFile)
        wrapper.__signature__ = inspect.Signature([*kept, *flags, config])  # type: ignore[attr-defined]
        wrapper.__annotations__ = {p.name: p.annotation for p in [*kept, *flags, config]}
        return wrapper

    return decorate


def _parameters(group: type) -> list[inspect.Parameter]:
    types = field_types(group)
    return [_parameter(field, *types[field.name]) for field in fields(group)]


def _parameter(field: Field, plain: type, _optional: bool, many: bool) -> inspect.Parameter:
    meta = field.metadata
    dashed = field.name.replace("_", "-")
    flag = meta.get("flag") or (f"--{dashed}/--no-{dashed}" if plain is bool else f"--{dashed}")
    names = [part.strip() for part in flag.split(",")]
    shown = meta.get("show") or _shown_default(field)
    annotation: Any = Annotated[
        (list[plain] if many else plain) | None,  # type: ignore[valid-type]
        typer.Option(
            *names,
            # Typer would put a default that it is told in words into parentheses.
            help=f"{meta['help']} [{shown}]" if shown else meta["help"],
            show_default=False,
            metavar="|".join(meta["choices"]) or _METAVARS.get(plain),
        ),
    ]
    keyword = inspect.Parameter.KEYWORD_ONLY
    return inspect.Parameter(field.name, keyword, default=None, annotation=annotation)


def _shown_default(field: Field) -> str:
    if field.default is MISSING or field.default in (None, "", ()):
        return ""
    if isinstance(field.default, bool):
        one_way = "/" not in (field.metadata.get("flag") or "/")  # `--json`: absent is off
        return "on" if field.default else "" if one_way else "off"
    return str(field.default)
