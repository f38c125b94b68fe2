"""`attn attend`: what a model attends to."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from attn_cli.cli.console import Console
from attn_cli.cli.options import with_options
from attn_cli.config.attending import AttendCommand
from attn_cli.lines.unusable import BadLines
from attn_cli.lines.writing import LineWriter


@with_options(AttendCommand)
def attend_command(
    file: Annotated[str, typer.Argument(metavar="FILE", show_default=False)] = "-",
    *,
    options: AttendCommand,
) -> None:
    """attn attend -o page.html < new.txt

    Show what a model attends to while it reads each line: a translator from its output to the
    source, an encoder between tokens, a model of nodes along the edges of a graph. A classifier's
    text is shaded as it stands, with the answer above it. All that is drawn of a line is drawn on
    one scale, which a bar tells.

    \b
    attn attend --words new.txt
    attn attend --kind encoder --layer 2 --head all new.txt > weights.tsv
    attn attend --pairs -o picture.png source-target.tsv
    attn attend -m additive,dot --pairs -o both.png source-target.tsv
    attn attend --pairs --attribute --word 3 source-target.tsv
    attn attend -m topics -o topics.svg graph

    The table has a line for each weight: line, layer, head, row, its token, column, its token,
    weight, and where there are several, the model. Lines, layers and heads count from 1, rows and
    columns from 0. The rows of cross and decoder attention are the target's tokens as they are
    about to be said. Attributions are layer 1, head "attribution": how much a token adds to a
    probability, below 0 if it takes away; they sum to what the text changes. With --output, each
    line is answered by where its picture is.
    """  # noqa: D301, D403, D415 - help starts with a working pipe; \b keeps its lines
    console = Console(options.speech)
    bad = BadLines(console.warn, skip_bad=options.stream.skip_bad)

    from attn_cli.systems.base import open_map_source
    from attn_cli.viz.job import AttendJob, attend

    job = AttendJob(
        model=options.model.path,
        options=options.attending,
        stream=options.stream,
        runtime=options.runtime,
        bad=bad,
        say=console.warn,
        on_terminal=sys.stdout.isatty(),
    )
    out = LineWriter()
    for lines in attend(job, open_map_source, file):
        out.write_lines(lines)
    bad.finish("answered with an empty line")
