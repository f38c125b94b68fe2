"""`attn tokenize`: make a tokenizer, and turn text into pieces or ids and back."""

from __future__ import annotations

import os
from functools import partial
from typing import TYPE_CHECKING, Annotated

import typer

from attn_cli.cli.console import Console
from attn_cli.cli.front import CommandGroup, OptionsCommand
from attn_cli.cli.options import with_options
from attn_cli.cli.stream import answer_lines, texts_of
from attn_cli.config.tokenizing import (
    TokenizeDecodeCommand,
    TokenizeEncodeCommand,
    TokenizerPathOptions,
    TokenizeTrainCommand,
)
from attn_cli.threads import at_hand
from attn_cli.workers import Crew

if TYPE_CHECKING:
    from attn_cli.tokenizers.tokenizer import Tokenizer

app = typer.Typer(
    cls=CommandGroup,
    add_completion=False,
    no_args_is_help=True,
    rich_markup_mode=None,
    help="""attn tokenize train train.tsv && attn tokenize encode -t tokenizer.model < new.txt

    Make a tokenizer, and turn text into pieces or ids and back: one line in, one line out.
    """,
)

Files = Annotated[list[str] | None, typer.Argument(metavar="FILE", show_default=False)]


@app.command("train", cls=OptionsCommand, short_help="Train a tokenizer on text.")
@with_options(TokenizeTrainCommand)
def train_command(files: Files = None, *, options: TokenizeTrainCommand) -> None:
    """attn tokenize train train.en train.de -o tokenizer.model

    Train a tokenizer on text; every column of a TSV file is text unless --columns picks. A big
    corpus is sampled at random. Prints the path of what was written.

    \b
    attn tokenize train train.tsv --type unigram --vocab-size 4000
    attn tokenize train train.tsv --lossless -o exact.model
    attn tokenize train wiki.txt.gz --type wordpiece --lowercase -o vocab.txt
    """
    from attn_cli.files import write_atomically
    from attn_cli.tokenizers.tokenizer_training import train_tokenizer

    console, path = Console(options.speech), options.path
    tokenizer = train_tokenizer(
        texts_of(files or [], options.stream, console),
        options.tokenizer,
        seed=options.seed.seed,
        threads=options.cpu.threads,
        say=console.say,
    )
    write_atomically(path, tokenizer.to_bytes())
    print(path)


@app.command("encode", cls=OptionsCommand, short_help="Text to pieces or ids.")
@with_options(TokenizeEncodeCommand)
def encode_command(files: Files = None, *, options: TokenizeEncodeCommand) -> None:
    """attn tokenize encode -t tokenizer.model < new.txt > new.pieces

    Write each line's pieces or ids, separated by spaces. Further columns pass through.

    \b
    attn tokenize encode -t attn-model --as ids new.txt
    attn tokenize encode -t tokenizer.model --sample 0.1 --seed 7 < train.en
    """
    from attn_cli.tokenizers.token_lines import line_encoder

    console = Console(options.speech)
    tokenizer = _loaded(options.tokenizer, console)
    tokenizer.threads = at_hand(options.cpu.threads)
    # Hugging Face's tokenizers read it when they cut their first texts.
    os.environ["RAYON_NUM_THREADS"] = str(tokenizer.threads)
    alpha = options.sampling.sample
    encode = line_encoder(tokenizer, options.unit.unit, alpha, options.seed.seed)
    # What is drawn for a text depends on those before it.
    crew = Crew(tokenizer.threads if alpha is None else 1, partial(_take_one_thread, tokenizer))
    answer_lines(files or [], encode, options.stream, console, crew)


@app.command("decode", cls=OptionsCommand, short_help="Pieces or ids to text.")
@with_options(TokenizeDecodeCommand)
def decode_command(files: Files = None, *, options: TokenizeDecodeCommand) -> None:
    """attn tokenize decode -t tokenizer.model < new.pieces > new.txt

    Turn each line's pieces or ids back into text. Further columns pass through.

    \b
    attn tokenize decode -t tokenizer.model --as ids < new.ids
    """
    from attn_cli.tokenizers.token_lines import line_decoder

    console = Console(options.speech)
    decode = line_decoder(_loaded(options.tokenizer, console), options.unit.unit)
    crew = Crew(at_hand(options.cpu.threads))
    answer_lines(files or [], decode, options.stream, console, crew)


def _take_one_thread(tokenizer: Tokenizer) -> None:
    tokenizer.threads = 1


def _loaded(options: TokenizerPathOptions, console: Console) -> Tokenizer:
    from attn_cli.tokenizers.tokenizer_files import load_tokenizer

    tokenizer = load_tokenizer(options.tokenizer)
    for remark in tokenizer.remarks:
        console.warn(remark)
    return tokenizer
