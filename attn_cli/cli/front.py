"""How the program lists its commands and a command its options, in help and to a shell's Tab."""

from __future__ import annotations

import functools
import importlib
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING

import typer
from typer.core import TyperArgument, TyperCommand, TyperGroup, TyperOption

if TYPE_CHECKING:
    from typer._click import Command, Context, HelpFormatter, Parameter
    from typer._click.shell_completion import CompletionItem
else:
    Command = TyperCommand.__base__

SETTINGS = {"help_option_names": ["-h", "--help"], "max_content_width": 100}
_LAST_PANEL = "Running"  # where options go that no group declares, as --help


class _TakesTexts(Command):
    """A command that takes values as they stand on the command line.

    Typer would have pydantic convert them, whose import takes longer than all else before a short
    command runs; `options.with_options` converts them and `config.resolve` checks them.
    """

    def parse_args(self, ctx: Context, args: list[str]) -> list[str]:
        """Reads the command line."""
        for param in self.get_params(ctx):
            param.process_value = functools.partial(_as_given, param)  # type: ignore[method-assign]
        return super().parse_args(ctx, args)


def _as_given(param: Parameter, ctx: Context, value: object) -> object:
    required = isinstance(param, TyperArgument) and param.required
    if required and value in (None, ()) and not ctx.resilient_parsing:
        ctx.fail(f"Missing argument '{param.metavar or param.name}'.")
    return param.callback(ctx, param, value) if param.callback else value


class OptionsCommand(_TakesTexts, TyperCommand):
    """A command whose help has a heading for each group of options, the rare ones left out."""

    def format_options(self, ctx: Context, formatter: HelpFormatter) -> None:
        """Writes the options, panel by panel."""
        panels: dict[str, list[tuple[str, str]]] = {}
        n_rare = 0
        for param in self.get_params(ctx):
            if not isinstance(param, TyperOption):
                continue
            n_rare += param.hidden
            record = param.get_help_record(ctx)
            if record is None:
                continue
            flags, text = record
            if text.endswith(" [off]"):  # what is off is not switched off by anybody
                flags, text = re.sub(r" / --no-\S+", "", flags), text.removesuffix(" [off]")
            panels.setdefault(param.rich_help_panel or _LAST_PANEL, []).append((flags, text))
        panels[_LAST_PANEL] = panels.pop(_LAST_PANEL)
        for panel, rows in panels.items():
            with formatter.section(panel):
                formatter.write_dl(rows)
        if n_rare:
            formatter.write_paragraph()
            formatter.write_text(f"{n_rare} rarer options: {ctx.command_path} --help-all")

    def shell_complete(self, ctx: Context, incomplete: str) -> list[CompletionItem]:
        """Offers rare options too."""
        show_all(self)
        return _undescribed(super().shell_complete(ctx, incomplete))


def show_all(command: Command) -> None:
    """Makes rare options as visible as others."""
    for param in command.params:
        if isinstance(param, TyperOption):
            param.hidden = False


def _undescribed(items: list[CompletionItem]) -> list[CompletionItem]:
    """The items without their help, for which Typer would import rich: a Tab must be quick."""
    for item in items:
        item.help = None
    return items


class CommandGroup(_TakesTexts, TyperGroup):
    """A group whose help lists commands before options."""

    def format_options(self, ctx: Context, formatter: HelpFormatter) -> None:
        """Writes the commands, then the options."""
        self.format_commands(ctx, formatter)
        records = [param.get_help_record(ctx) for param in self.get_params(ctx)]
        with formatter.section("Options"):
            formatter.write_dl([record for record in records if record is not None])

    def shell_complete(self, ctx: Context, incomplete: str) -> list[CompletionItem]:
        """Offers commands and options."""
        return _undescribed(super().shell_complete(ctx, incomplete))


class LateGroup(CommandGroup):
    """A group that knows what its commands do, and imports one when it is called.

    Attributes:
        places: command -> where its function, or its Typer app of subcommands, is, as
            module:name.
    """

    places: Mapping[str, str]

    def resolve_command(
        self, ctx: Context, args: list[str]
    ) -> tuple[str | None, Command | None, list[str]]:
        """The command that the arguments begin with, and the rest of them."""
        name, command, rest = super().resolve_command(ctx, args)
        if name is None or command is None:
            return name, command, rest
        module, attribute = self.places[name].split(":")
        target = getattr(importlib.import_module(module), attribute)
        if not isinstance(target, typer.Typer):
            app = typer.Typer(
                add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False
            )
            app.command(name, cls=OptionsCommand)(target)
            target = app
        return name, typer.main.get_command(target), rest
