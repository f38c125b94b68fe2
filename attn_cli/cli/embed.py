"""`attn embed`: contextual vectors of lines."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from attn_cli.cli.console import Console
from attn_cli.cli.options import with_options
from attn_cli.config.embedding import EmbedCommand
from attn_cli.config.runtime import RuntimeOptions
from attn_cli.lines.columns import Columns
from attn_cli.lines.reading import LineReader
from attn_cli.lines.unusable import BadLines
from attn_cli.lines.writing import LineWriter
from attn_cli.wording import plural

if TYPE_CHECKING:
    from attn_cli.embed.sample import VectorSample


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
    attn embed -m bert --plot map.png -o vectors.npy text-label.tsv
    """  # noqa: D301, D403, D415 - help starts with a working pipe; \b keeps its lines
    embedding, device, console = options.embedding, options.device, Console(options.speech)
    bad = BadLines(console.warn, skip_bad=options.stream.skip_bad)
    columns = Columns.parse(options.stream.columns, 1)
    if embedding.plot:
        from attn_cli.viz.figures import check_picture
        from attn_cli.viz.points import check_scikit_learn

        check_picture(embedding.plot)
        check_scikit_learn()
    reader = LineReader(file)

    from attn_cli.device import set_up
    from attn_cli.embed.embedder import Embedder
    from attn_cli.embed.encoder import TokenEncoder
    from attn_cli.embed.lines import embed_lines
    from attn_cli.embed.npy import NpyWriter
    from attn_cli.embed.sample import VectorSample

    place = set_up(RuntimeOptions(threads=device.threads, device=device.device))
    embedder = Embedder(TokenEncoder.load(options.model.path, place), embedding)
    out, sample = LineWriter(), VectorSample()
    with ExitStack() as stack:
        if embedding.output:
            array = stack.enter_context(NpyWriter(Path(embedding.output), embedder.vector_shape))
        for window in embed_lines(embedder, reader, columns, bad, embedding.buffer):
            for line in window:
                if embedding.plot:
                    sample.add(line)
                if embedding.output:
                    array.write(line.found.vectors if line.found else None)
                else:
                    out.write(line.as_json())
            out.flush()
    if embedding.plot:
        _plot(options, sample, console)
    bad.finish("answered with a row of NaN" if embedding.output else "answered with an empty line")


def _plot(options: EmbedCommand, sample: VectorSample, console: Console) -> None:
    """Draws the map of the lines, if there are some."""
    from attn_cli.embed.sample import are_labels
    from attn_cli.viz.vector_map import draw_map

    path = str(options.embedding.plot)
    if not sample.n_seen:
        console.warn(f"{path}: no lines, no map")
        return
    vectors, texts, labels = sample.taken()
    if len(texts) < sample.n_seen:
        console.say(f"{path}: {len(texts):,} of {sample.n_seen:,} lines, drawn at random")
    if not are_labels(labels):
        kinds = plural(len(set(labels)), "value")
        console.say(f"{path}: {kinds} in the second column: no labels; --columns text,label picks")
        labels = []
    draw_map(
        path,
        f"{Path(options.model.path).resolve().name}: {plural(len(texts), 'line')}",
        vectors,
        texts,
        labels,
        projection=options.embedding.projection,
        named=options.embedding.plot_texts,
    )
