"""Every option of every command, on one page of Markdown, from the program's own parser.

    python examples/reference.py > examples/reference.md

It is what `attn COMMAND --help-all` says, with everyday options before rarer ones.
"""

from __future__ import annotations

import inspect
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import typer  # noqa: E402
from typer.core import TyperGroup, TyperOption  # noqa: E402

from attn_cli.cli import app  # noqa: E402

if TYPE_CHECKING:
    from typer._click import Command, Context

LAST_GROUP = "Running"  # where options stand that belong to no group, as --help
EXAMPLES = "\b\n"  # what begins the paragraph of examples in a command's help
HEAD = """# Reference: every option of every command

Made by `python examples/reference.py > examples/reference.md` from the program's own parser; a test
(`tests/examples/test_reference.py`) keeps it fresh. The groups are those of `attn COMMAND --help`,
which shows the everyday options; the rarer ones of `--help-all` come last in each command.

Every option can also stand in a TOML file (`--config FILE.toml`): the key is the long flag without
its dashes, a switch is `true` or `false`, the command line wins. `by size` and the like in the
column of defaults mean that it is decided from the model and the data, and said.
"""


@dataclass(frozen=True)
class Row:
    """An option, as a line of a table."""

    group: str
    rare: bool
    flags: str
    values: str
    default: str
    help: str


def reference() -> str:
    """The page."""
    group = typer.main.get_command(app)
    found = list(commands(group, context(group, "attn")))
    links = [f"[{ctx.command_path.removeprefix('attn ')}](#{anchor(ctx)})" for ctx, _ in found]
    parts = [HEAD, f"{' · '.join(links)}\n"]
    parts += [section(ctx, command) for ctx, command in found]
    return "\n".join(parts)


def commands(group: Any, ctx: Context) -> Iterator[tuple[Context, Command]]:
    """The commands of a group, those of groups inside it in their place."""
    for name in group.list_commands(ctx):
        _, command, _ = group.resolve_command(ctx, [name])
        own = context(command, name, ctx)
        if isinstance(command, TyperGroup):
            yield from commands(command, own)
        else:
            yield own, command


def context(command: Any, name: str, parent: Context | None = None) -> Context:
    """Where a command stands, without its arguments."""
    found: Context = command.context_class(
        command, info_name=name, parent=parent, **command.context_settings
    )
    return found


def anchor(ctx: Context) -> str:
    """Where a link to a command leads."""
    return ctx.command_path.replace(" ", "-")


def section(ctx: Context, command: Command) -> str:
    """A command: what it does, examples, a table for each group, everyday options first."""
    rows = [row for param in command.get_params(ctx) if (row := as_row(param))]
    groups = list(dict.fromkeys(row.group for row in rows))
    groups.sort(key=lambda name: name == LAST_GROUP)
    usage = " ".join([ctx.command_path, *command.collect_usage_pieces(ctx)])
    parts = [f"## {ctx.command_path}\n", f"`{usage}`\n", *described(command.help or "")]
    for rare in (False, True):
        if rare and any(row.rare for row in rows):
            parts.append(f"Rarer options of `{ctx.command_path}`:\n")
        for name in groups:
            chosen = [row for row in rows if row.group == name and row.rare == rare]
            if chosen:
                parts.append(table(name, chosen))
    return "\n".join(parts)


def described(text: str) -> list[str]:
    """A command's help: what it says, then the pipe that it begins with and its examples."""
    first, *paragraphs = inspect.cleandoc(text).split("\n\n")
    examples = first.splitlines()
    prose = []
    for paragraph in paragraphs:
        if paragraph.startswith(EXAMPLES):
            examples += paragraph.removeprefix(EXAMPLES).splitlines()
        else:
            prose.append(f"{escaped(paragraph)}\n")
    lines = "\n".join(line.strip() for line in examples)
    return [*prose, f"```sh\n{lines}\n```\n"]


def as_row(param: Any) -> Row | None:
    """The line of an option; None for an argument, which the usage shows."""
    if not isinstance(param, TyperOption):
        return None
    said = re.fullmatch(r"(.*?)(?: \[([^\[]*)\])?", param.help or "", re.DOTALL)
    assert said is not None
    default = said[2] or ""
    off = default == "off"  # what is off is not switched off by anybody
    opts = sorted(param.opts, key=lambda flag: flag.startswith("--"))  # --help's are a set
    flags = [code(*opts), *([] if off else [code(*param.secondary_opts)])]
    values = "" if param.is_flag else code(*(param.metavar or "TEXT").split("|"))
    return Row(
        group=param.rich_help_panel or LAST_GROUP,
        rare=param.hidden,
        flags=" / ".join(filter(None, flags)),
        values=f"{values}; repeatable" if param.multiple else values,
        default=escaped(default),
        help=escaped(said[1]),
    )


def table(name: str, rows: list[Row]) -> str:
    """The options of a group."""
    lines = [f"| {name} | values | default | |", "| --- | --- | --- | --- |"]
    lines += [f"| {row.flags} | {row.values} | {row.default} | {row.help} |" for row in rows]
    return "\n".join(lines) + "\n"


def code(*words: str) -> str:
    """Words as they are typed."""
    return ", ".join(f"`{word}`" for word in words)


def escaped(text: str) -> str:
    """A text on one line, without what Markdown would read as its own; code stays code."""
    parts = " ".join(text.split()).replace("|", "\\|").split("`")
    parts[::2] = [part.replace("*", "\\*").replace("<", "&lt;") for part in parts[::2]]
    return "`".join(parts)


if __name__ == "__main__":
    sys.stdout.write(reference())
