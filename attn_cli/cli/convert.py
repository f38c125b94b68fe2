"""`attn convert`: other projects' models in, and ours out."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from attn_cli.cli.console import Console
from attn_cli.cli.options import with_options
from attn_cli.config import changed
from attn_cli.config.converting import ConvertCommand, ConvertOptions
from attn_cli.errors import UsageError


@with_options(ConvertCommand)
def convert_command(
    directory: Annotated[str, typer.Argument(metavar="DIR", show_default=False)],
    *,
    options: ConvertCommand,
) -> None:
    """attn convert bert-base-uncased -o bert && attn embed -m bert < lines.txt

    Read a Hugging Face directory of a BERT (bare, with pre-training heads, or fine-tuned), an
    ELECTRA discriminator, a GPT-2 or a Marian translator (OPUS-MT) as a model directory; or write
    one with --to: huggingface (translators, post-norm ones, as Marian), ctranslate2 (translators;
    needs CTranslate2 installed), or onnx (encoders, models of tasks, translators; needs onnx
    installed). With --shortlist, copy a translator of attn and add the table that decode
    --shortlist reads. Nothing is downloaded, pickles are refused. Prints the written directory.

    \b
    attn convert gpt2 -o gpt && echo "Once upon" | attn decode -m gpt
    attn convert nli-model --task pair -o nli
    attn convert opus-mt-en-de -o en-de && attn decode -m en-de < lines.txt
    attn convert attn-model --precision int8 -o smaller && attn decode -m smaller < lines.txt
    attn convert attn-model --to huggingface -o for-transformers
    attn convert attn-model --shortlist train.tsv -o fast && attn decode -m fast --shortlist
    attn convert attn-model --to ctranslate2 --precision int8 -o for-ctranslate2
    attn convert attn-model --to onnx -o for-onnxruntime
    """  # noqa: D301, D403, D415 - help starts with a working pipe; \b keeps its lines
    converting = options.converting
    folder = Path(directory)
    if not folder.is_dir():
        raise UsageError(f"{directory}: no such directory")
    if converting.to != "attn" and converting.output is None:
        raise UsageError(f"--to {converting.to} needs -o DIR")
    output = Path(converting.output or os.environ.get("ATTN_MODEL") or "attn-model")

    say = Console(options.speech).warn

    if converting.shortlist is not None:
        _refuse_beside_shortlist(converting)

        from attn_cli.systems.translation.shortlist import add_shortlist

        size, overwrite = converting.shortlist_size, converting.overwrite
        add_shortlist(folder, output, converting.shortlist, say, size=size, overwrite=overwrite)
    else:
        if changed(converting, among={"--shortlist-size"}):
            raise UsageError("--shortlist-size: needs --shortlist FILE")

        from attn_cli.convert.formats import convert

        convert(folder, output, converting, say)
    print(output)


def _refuse_beside_shortlist(converting: ConvertOptions) -> None:
    """Raises UsageError for options that ask for another conversion at the same time."""
    others = {"--to", "--task", "--scheme", "--precision"}
    if given := changed(converting, among=others):
        raise UsageError(
            f"{', '.join(given)}: --shortlist copies a translator of attn as it is; convert first, "
            "then make the shortlist of what came out"
        )
