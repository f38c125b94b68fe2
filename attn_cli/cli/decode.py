"""`attn decode`: whatever the model does with a line, one line in, one line out."""

from __future__ import annotations

from typing import Annotated

import typer

from attn_cli.cli.console import Console
from attn_cli.cli.options import with_options
from attn_cli.config.decoding import DecodeOptions, SearchOptions
from attn_cli.config.runtime import ModelOptions, RuntimeOptions, SpeechOptions, StreamOptions
from attn_cli.errors import UsageError
from attn_cli.text import BadLines, Columns, LineReader, LineWriter


@with_options(
    ModelOptions, SearchOptions, DecodeOptions, StreamOptions, RuntimeOptions, SpeechOptions
)
def decode_command(
    file: Annotated[str, typer.Argument(metavar="[FILE]", show_default=False)] = "-",
    *,
    options: list,
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
    """  # noqa: D301, D403, D415 - help starts with a working pipe; \b keeps its lines
    model, search, decoding, stream, runtime, speech = options
    if search.n_best > 1 and decoding.format == "text":
        raise UsageError(f"--n-best {search.n_best} needs --format moses or --format json")
    console = Console(speech)
    bad = BadLines(console.warn, skip_bad=stream.skip_bad)
    columns = Columns.parse(stream.columns, 1 + decoding.prefix + decoding.constraints)
    reader = LineReader(file)

    from attn_cli.decode.stream import LineDecoder
    from attn_cli.decode.translator import Translator
    from attn_cli.device import set_up

    translator = Translator.load(model.path, set_up(runtime))
    decoder = LineDecoder(translator, search, decoding, bad, console.warn, runtime.seed)
    out = LineWriter()
    for lines in decoder.lines(reader, columns):
        for line in lines:
            out.write(line)
        out.flush()
    bad.finish("answered with an empty line")
