"""`attn info`: what is in a model directory."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from attn_cli.cli.options import with_options
from attn_cli.config import changed
from attn_cli.config.describing import InfoCommand
from attn_cli.errors import DataError, UsageError
from attn_cli.lines.writing import LineWriter

if TYPE_CHECKING:
    from attn_cli.info.description import Description


@with_options(InfoCommand)
def info_command(
    directory: Annotated[str | None, typer.Argument(metavar="DIR", show_default=False)] = None,
    *,
    options: InfoCommand,
) -> None:
    """attn info attn-model

    Say what is in a model directory: its task, architecture and parameters, its tokenizer, what it
    was trained on and by which options, the figures of its best validation and the learning curve.
    Without DIR: $ATTN_MODEL, else attn-model. Nothing is loaded: the weights themselves are
    not checked. NAME<TAB>VALUE lines; --json has all of it.

    \b
    attn info attn-model --plot curve.png
    attn info attn-model --json | jq .best
    attn info attn-model --card --language en,de --license mit -o attn-model/README.md
    """  # noqa: D301, D403, D415 - help starts with a working pipe; \b keeps its lines
    info = options.info
    if info.json and info.card:
        raise UsageError("--json and --card: one of them")
    if not info.card and (vain := changed(options.card)):
        raise UsageError(f"{', '.join(vain)}: only a card says it: add --card")

    from attn_cli.info.description import describe

    if info.plot:
        from attn_cli.viz.figures import check_picture

        check_picture(info.plot)
    description = describe(Path(directory or os.environ.get("ATTN_MODEL") or "attn-model"))
    if info.plot:
        _plot(description, info.plot)
    text = _text(description, options)
    if info.output:
        from attn_cli.files import write_atomically

        write_atomically(Path(info.output), text.encode("utf-8", "replace"))
    else:
        LineWriter().write_lines(text.removesuffix("\n").split("\n"))
    if problems := description.curve.problems:
        more = f" (and {len(problems) - 1:,} more such lines)" if len(problems) > 1 else ""
        raise DataError(f"{problems[0]}{more}: left out of the curve")


def _text(description: Description, options: InfoCommand) -> str:
    """What is printed or written, by the options."""
    if options.info.json:
        return json.dumps(description.to_json(), ensure_ascii=False, indent=1) + "\n"

    from attn_cli.info.text import described, printable
    from attn_cli.systems.base import SYSTEMS

    task = description.config["task"] if description.config else ""
    called = SYSTEMS[task].called if task in SYSTEMS else ""
    if description.is_bare:
        called = "an encoder without an output layer"
    rows = list(described(description, called))
    if options.info.card:
        if description.config is None:
            raise UsageError(f"{description.path}: a card is of a model; here is a tokenizer alone")

        from attn_cli.info.card import CardFields, card

        told, asked = description.given.options, options.card
        language = asked.language or told.get("language")
        license_name = asked.license or told.get("license")
        fields = CardFields(
            asked.name or description.path.resolve().name,
            tuple(str(language).split(",")) if language else (),
            str(license_name or ""),
        )
        return card(description, fields, called or f"a model of the task {task}", rows)
    aligned = not options.info.output and sys.stdout.isatty()
    names = [f"{name:<14}" if aligned else f"{name}\t" for name, _ in rows]
    values = [printable(value) for _, value in rows]
    return "".join(f"{name}{value}\n" for name, value in zip(names, values, strict=True))


def _plot(description: Description, path: str) -> None:
    """Draws the learning curve.

    Raises:
        DataError: there is none.
    """
    from attn_cli.info.validations import DEV, require_validations
    from attn_cli.viz.curve import CurvePanel, draw_curve

    curve = description.curve
    require_validations(curve, description.path)
    losses = [name for name in ("train_loss", "train_nll", f"{DEV}loss") if name in curve.names]
    panels = [CurvePanel("loss", {name: curve.series(name) for name in losses})]
    panels += [
        CurvePanel(name.removeprefix(DEV), {name: curve.series(name)})
        for name in curve.names
        if name.startswith(DEV) and name not in losses
    ]
    draw_curve(path, description.path.resolve().name, curve.steps, panels, curve.best_step)
