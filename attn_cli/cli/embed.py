"""`attn embed`: contextual vectors of lines."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import Annotated

import typer

from attn_cli.cli.console import Console
from attn_cli.cli.options import with_options
from attn_cli.config.embedding import EmbedCommand
from attn_cli.config.runtime import RuntimeOptions
from attn_cli.lines.columns import Columns
from attn_cli.lines.reading import LineReader
from attn_cli.lines.unusable import BadLines
from attn_cli.lines.writing import LineWriter


@with_options(EmbedCommand)
def embed_command(
    file: Annotated[str, typer.Argument(metavar="FILE", show_default=False)] = "-",
    *,
    options: EmbedCommand,
) -> None:
    """attn embed -m bert --normalize < lines.txt > vectors.jsonl

    Write a contextual vector for each line, or for each of its tokens or words: one line of
    JSON a line, or rows of a NumPy file. Long lines are read in windows; nothing is cut off.

    \b
    attn embed -m bert -o vectors.npy lines.txt
    attn embed -m bert --words --layer sum4 < lines.txt
    attn embed -m bert --pool cls --layer all < lines.txt
    """  # noqa: D301, D403, D415 - help starts with a working pipe; \b keeps its lines
    embedding, device = options.embedding, options.device
    bad = BadLines(Console(options.speech).warn, skip_bad=options.stream.skip_bad)
    columns = Columns.parse(options.stream.columns, 1)
    reader = LineReader(file)

    from attn_cli.device import set_up
    from attn_cli.embed.embedder import Embedder
    from attn_cli.embed.encoder import TokenEncoder
    from attn_cli.embed.lines import embed_lines
    from attn_cli.embed.npy import NpyWriter

    place = set_up(RuntimeOptions(threads=device.threads, device=device.device))
    embedder = Embedder(TokenEncoder.load(options.model.path, place), embedding)
    out = LineWriter()
    with ExitStack() as stack:
        if embedding.output:
            array = stack.enter_context(NpyWriter(Path(embedding.output), embedder.vector_shape))
        for window in embed_lines(embedder, reader, columns, bad, embedding.buffer):
            for line in window:
                if embedding.output:
                    array.write(line.found.vectors if line.found else None)
                else:
                    out.write(line.as_json())
            out.flush()
    bad.finish("answered with a row of NaN" if embedding.output else "answered with an empty line")
