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

_CHANGES = frozenset({"--precision", "--tokenizer", "--trim-vocabulary"})
_OTHERS = _CHANGES | {"--to", "--task", "--scheme"}


@with_options(ConvertCommand)
def convert_command(
    directories: Annotated[list[str], typer.Argument(metavar="DIR", show_default=False)],
    *,
    options: ConvertCommand,
) -> None:
    """attn convert bert-base-uncased -o bert && attn embed -m bert < lines.txt

    Read a Hugging Face directory of a BERT (bare, with pre-training heads, or fine-tuned), an
    ELECTRA discriminator, a GPT-2 or a Marian translator (OPUS-MT) as a model directory; or write
    one with --to: huggingface (translators, post-norm ones, as Marian), ctranslate2 (translators;
    needs CTranslate2 installed), or onnx (encoders, models of tasks, translators; needs onnx
    installed). With --shortlist, copy a translator of attn and add the table that decode
    --shortlist reads; --precision, --tokenizer and --trim-vocabulary change a model of attn; of
    several ones the mean of their weights is written. Nothing is downloaded, pickles are refused.
    Prints the written directory.

    \b
    attn convert gpt2 -o gpt && echo "Once upon" | attn decode -m gpt
    attn convert nli-model --task pair -o nli
    attn convert opus-mt-en-de -o en-de && attn decode -m en-de < lines.txt
    attn convert attn-model --precision int8 -o smaller && attn decode -m smaller < lines.txt
    attn convert attn-model --precision float16 --dev dev.tsv -o half
    attn convert attn-model --trim-vocabulary train.tsv.gz -o slim
    attn convert attn-model --tokenizer new.model -o for-finetuning
    attn convert run-1 run-2 run-3 -o mean
    attn convert attn-model --to huggingface -o for-transformers
    attn convert attn-model --shortlist train.tsv -o fast && attn decode -m fast --shortlist
    attn convert attn-model --to ctranslate2 --precision int8 -o for-ctranslate2
    attn convert attn-model --to onnx -o for-onnxruntime
    """  # noqa: D301, D403, D415 - help starts with a working pipe; \b keeps its lines
    converting = options.converting
    folders = [Path(directory) for directory in directories]
    for folder in folders:
        if not folder.is_dir():
            what = (
                "a file, not the directory of a model" if folder.exists() else "no such directory"
            )
            raise UsageError(f"{folder}: {what}")
    if converting.to != "attn" and converting.output is None:
        raise UsageError(f"--to {converting.to} needs -o DIR")
    output = Path(converting.output or os.environ.get("ATTN_MODEL") or "attn-model")
    console = Console(options.speech)
    if converting.dev is not None:
        _check_dev(converting.dev, folders, converting)
    _convert(folders, output, converting, console)
    if converting.dev is not None:
        from attn_cli.systems.comparing import compare

        compare(folders, output, converting.dev, console.warn, console.say)
    print(output)


def _check_dev(dev: str, folders: list[Path], converting: ConvertOptions) -> None:
    """Raises UsageError or DataError if there is nothing to compare, or nothing to do it on."""
    alike = converting.to == "attn" and (len(folders) > 1 or changed(converting, among=_CHANGES))
    if not alike:
        raise UsageError(
            "--dev compares models of attn before and after: with --precision, --tokenizer, "
            "--trim-vocabulary, or the average of several"
        )
    if not Path(dev).is_file():
        raise UsageError(f"--dev {dev}: no such file; it is read more than once")

    from attn_cli.systems.comparing import require_answers, require_lines

    require_lines(dev)
    for folder in folders:
        require_answers(folder)


def _convert(
    folders: list[Path], output: Path, converting: ConvertOptions, console: Console
) -> None:
    """Writes the directory."""
    say, overwrite = console.warn, converting.overwrite
    if converting.shortlist is None and changed(converting, among={"--shortlist-size"}):
        raise UsageError("--shortlist-size: needs --shortlist FILE")
    if len(folders) > 1:
        why = "several directories are averaged as they are; convert first, or what comes out"
        _refuse(why, converting, _OTHERS | {"--shortlist"})

        from attn_cli.convert.averages import average

        average(folders, output, say, tell=console.say, overwrite=overwrite)
    elif converting.shortlist is not None:
        why = "--shortlist copies a translator of attn as it is; convert first, then make the "
        _refuse(f"{why}shortlist of what came out", converting, _OTHERS)

        from attn_cli.systems.translation.shortlist import add_shortlist

        size = converting.shortlist_size
        add_shortlist(folders[0], output, converting.shortlist, say, size=size, overwrite=overwrite)
    else:
        from attn_cli.convert.formats import convert

        convert(folders[0], output, converting, say, console.say)


def _refuse(why: str, converting: ConvertOptions, others: frozenset[str]) -> None:
    """Raises UsageError for options that ask for another conversion at the same time."""
    if given := changed(converting, among=others):
        raise UsageError(f"{', '.join(given)}: {why}")
