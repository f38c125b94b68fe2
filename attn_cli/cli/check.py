"""`attn check`: what is wrong with data, before a night is spent on it."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from attn_cli.cli.console import Console
from attn_cli.cli.options import with_options
from attn_cli.config.checking import CheckCommand


@with_options(CheckCommand)
def check_command(
    data: Annotated[str, typer.Argument(metavar="DATA", show_default=False)] = "-",
    *,
    options: CheckCommand,
) -> None:
    """attn check train.tsv --dev dev.tsv && attn train-mt train.tsv --dev dev.tsv

    Look at data before training: examples that stand in two parts (leaks: the same, the same
    input, or nearly), duplicates, empty and copied sides, odd ratios of lengths, wrong scripts,
    labels seen once or in one part alone, encodings. Prints what was found: how many, their share,
    the numbers of the first (12 = dev:7: line 12 is line 7 of dev). The status is 1 if an example
    stands in two parts, else 3 if lines can't be used. With --filter it is 1 if dev and test share
    one, as DATA is then written without those that leak.

    \b
    attn check train.tsv --task classify --columns text,label --dev dev.tsv --test test.tsv
    attn check train.conll --task tag --dev dev.conll --json
    attn check train-v2.0.json --task qa --dev dev-v2.0.json
    paste train.en train.fr | attn check --dev dev.tsv --filter > clean.tsv
    """  # noqa: D301, D403, D415 - help starts with a working pipe; \b keeps its lines
    from attn_cli.check.checking import Checker, part_files
    from attn_cli.cli.check_report import as_json, table
    from attn_cli.errors import AttnError
    from attn_cli.lines.unusable import BadLines
    from attn_cli.lines.writing import ByteWriter, LineWriter
    from attn_cli.wording import plural

    checking, console = options.checking, Console(options.speech)
    skip_bad = options.stream.skip_bad
    bad = {
        name: BadLines(console.warn, skip_bad=skip_bad or (checking.filter and name == "train"))
        for name in ("train", "dev", "test")
    }
    with part_files(data, checking) as files:
        checker = Checker(files, checking, options.stream.columns, console.say)
        reports = checker.run(bad)
        if checking.filter:
            ByteWriter().write_all(checker.filtered())
    out = sys.stderr if checking.filter else sys.stdout
    told = (
        [as_json(checker.task, checking, reports)]
        if checking.json
        else table(reports, aligned=out.isatty())
    )
    if checking.filter:
        print("\n".join(told), file=sys.stderr, flush=True)
    else:
        LineWriter().write_lines(told)
    held_out = reports[1:]
    leaks = checker.held_out_leaks if checking.filter else sum(r.leaks for r in held_out)
    if leaks:
        remedy = "" if checking.filter else "; --filter writes DATA without them"
        raise AttnError(
            f"leaks: {plural(leaks, 'example')} of {' and '.join(r.name for r in held_out)} in "
            f"another part, or nearly so{remedy}"
        )
    for each in bad.values():
        each.finish("left out of the check")
