"""`attn decode`: whatever the model does with a line, one line in, one line out."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from attn_cli.cli.console import Console
from attn_cli.cli.options import with_options
from attn_cli.config.decoding import DecodeCommand
from attn_cli.lines.notices import Notices
from attn_cli.lines.reading import LineReader
from attn_cli.lines.writing import ByteWriter, LineWriter


@with_options(DecodeCommand)
def decode_command(
    file: Annotated[str, typer.Argument(metavar="FILE", show_default=False)] = "-",
    *,
    options: DecodeCommand,
) -> None:
    """attn decode --beam 5 < test.tsv | attn score --bleu

    Decode lines with a model: one line in, one line out, in order. The first column is
    decoded, further columns pass through behind the results.

    \b
    attn decode new.txt > new.de.txt
    attn decode --n-best 5 --format json new.txt
    attn decode --prefix --constraints < source-prefix-phrases.tsv
    attn decode -m model-a,model-b test.tsv
    tail -f log.txt | attn decode --scores
    attn decode --split < paragraphs.txt
    attn decode --markup html page.html > page.de.html
    attn decode -m tagger test.conll | attn score --span-f1 --columns 2,3
    attn decode -m reader dev-v2.0.json > predictions.json
    attn decode --scores graph -m topics
    attn decode -m electra new.txt
    """  # noqa: D301, D403, D415 - help starts with a working pipe; \b keeps its lines
    console = Console(options.speech)
    bad = Notices(console.warn, skip_bad=options.stream.skip_bad)
    inside = (Path(file) / name for name in ("nodes.tsv", "nodes.tsv.gz"))  # of a graph directory
    reader = LineReader(next((str(path) for path in inside if path.is_file()), file))

    from attn_cli.ranks import Ranks
    from attn_cli.systems.base import DecodeJob, open_decoder

    job = DecodeJob(
        model=options.model.path,
        search=options.search,
        decoding=options.decoding,
        stream=options.stream,
        runtime=options.runtime,
        bad=bad,
        given=options.given,
    )
    with Ranks.all_together():
        decoder = open_decoder(job)
    if options.decoding.markup is not None:
        for pieces in decoder.results(reader):
            ByteWriter().write_text("".join(pieces))
    else:
        out = LineWriter()
        for lines in decoder.results(reader):
            out.write_lines(lines)
    bad.finish(bad.outcome)
