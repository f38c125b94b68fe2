"""Options of tokenizer training and of the `tokenize` commands."""

from __future__ import annotations

import re
from dataclasses import MISSING, dataclass
from pathlib import Path
from typing import ClassVar

from attn_cli.config import option, refuse_unread
from attn_cli.config.command import Command, group
from attn_cli.config.runtime import SeedOptions, SpeechOptions, StreamOptions, ThreadOptions
from attn_cli.errors import UsageError

SENTENCEPIECE_TYPES = ("bpe", "unigram", "char", "word")
CONTROL_SYMBOLS = ("<pad>", "<unk>", "<s>", "</s>", "<mask>", "<cls>", "<sep>")
WORDPIECE_SYMBOLS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
UNITS = ("pieces", "ids")
DEFAULT_VOCAB_SIZE = 8000
_BYTE_PIECE = re.compile("<0x[0-9A-F]{2}>")


@dataclass(frozen=True, kw_only=True)
class TokenizerOptions:
    """What tokenizer is made from a text."""

    type: str = option(
        "auto",
        "Kind of pieces; auto: bpe for few words, else unigram; recordings: char.",
        choices=("auto", "bpe", "unigram", "wordpiece", "char", "word"),
        flag="--type,--tokenizer-type",
    )
    vocab_size: int | None = option(
        None,
        "Pieces in the vocabulary.",
        low=8,
        high=1 << 24,
        show=f"{DEFAULT_VOCAB_SIZE}, in a training by model size; fewer for a small text",
    )
    symbols: str | None = option(
        None,
        "Texts that stay one piece wherever they stand, as tags: <2de>,<url> (with a word "
        "vocabulary: words).",
    )
    coverage: float = option(
        1.0,
        "Share of the text's characters that get a piece of their own (0.9995: Chinese, web text).",
        low=0.98,
        high=1.0,
        rare=True,
    )
    lossless: bool = option(
        False,
        "decode(encode(x)) = x for every line: spaces kept, bytes for unseen characters.",
        rare=True,
    )
    byte_fallback: bool | None = option(
        None,
        "Write characters without a piece as bytes (256 pieces).",
        show="with --lossless or a coverage below 1",
        rare=True,
    )
    lowercase: bool = option(False, "Lower-case and strip accents, as uncased BERT (wordpiece).")
    sample_lines: int = option(
        1_000_000,
        "Train on a random sample of at most so many texts.",
        low=1,
        high=1 << 32,
        rare=True,
    )

    def __post_init__(self) -> None:
        if self.type == "wordpiece" and (self.lossless or self.byte_fallback):
            raise ValueError(
                "wordpiece can't be lossless, nor fall back to bytes; choose --type bpe, unigram, "
                "char or word"
            )
        if self.lowercase and self.type != "wordpiece":
            raise ValueError("--lowercase is for --type wordpiece")
        if self.lossless and self.byte_fallback is False:
            raise ValueError("--lossless needs --byte-fallback")
        for symbol in self.own_symbols:
            if problem := _symbol_problem(symbol):
                raise ValueError(f"--symbols: {problem}")
        if len(set(self.own_symbols)) < len(self.own_symbols):
            raise ValueError("--symbols: one of them stands there twice")

    @property
    def own_symbols(self) -> tuple[str, ...]:
        """The texts that stay one piece."""
        return tuple(self.symbols.split(",")) if self.symbols is not None else ()

    @property
    def file_name(self) -> str:
        """What the tokenizer's file is called.

        A vocab.txt can't say that a piece is not to be cut at its punctuation.
        """
        if self.type != "wordpiece":
            return "tokenizer.model"
        return "tokenizer.json" if self.own_symbols else "vocab.txt"

    @property
    def n_pieces(self) -> int:
        """The vocabulary's size, decided."""
        return self.vocab_size or DEFAULT_VOCAB_SIZE

    @property
    def with_bytes(self) -> bool:
        """Whether the 256 byte pieces are part of the vocabulary.

        With a coverage of 1 every character of the training text has a piece: bytes would never be
        seen in training, and would only make a small vocabulary smaller.
        """
        if self.byte_fallback is not None:
            return self.byte_fallback
        return self.lossless or (self.coverage < 1 and self.type not in ("word", "wordpiece"))


def refuse_kind(init: str | None, tokenizer: str | None, options: TokenizerOptions) -> None:
    """Raises UsageError if a tokenizer is described though it is there already.

    Args:
        init: the model directory to start from, which has one.
        tokenizer: the tokenizer that is taken.
        options: what tokenizer is made where it has to be.
    """
    if init:
        refuse_unread(f"--init {init} brings its tokenizer, and", options)
    elif tokenizer:
        refuse_unread(f"--tokenizer {tokenizer} is there already, and", options)


def _symbol_problem(symbol: str) -> str | None:
    if not symbol:
        return "an empty one (one comma too many?)"
    if any(character.isspace() or character == "\u2581" for character in symbol):
        return f"{symbol!r} holds white space, or a mark of it"
    if not symbol.isprintable():
        return f"{symbol!r} holds invisible characters"
    if symbol in CONTROL_SYMBOLS or symbol in WORDPIECE_SYMBOLS or _BYTE_PIECE.fullmatch(symbol):
        return f"{symbol} is a special token already, which no text becomes"
    if symbol.startswith("##"):
        return f"{symbol} begins with ##, the mark of a word's inner pieces"
    return None


@dataclass(frozen=True, kw_only=True)
class UnitOptions:
    """How tokens are written in a line."""

    unit: str = option("pieces", "How tokens are written.", choices=UNITS, flag="--as,--unit")


@dataclass(frozen=True, kw_only=True)
class SamplingOptions:
    """Subword regularization."""

    sample: float | None = option(
        None,
        "Draw one of the possible segmentations: with this dropout of merges (bpe), or this "
        "smoothing exponent (unigram; 0 draws evenly).",
        low=0.0,
        high=1.0,
        show="off: the best one",
    )


@dataclass(frozen=True, kw_only=True)
class TokenizerOutputOptions:
    """Where a tokenizer goes."""

    output: str | None = option(
        None,
        "File to write.",
        flag="-o,--output",
        show="tokenizer.model; for wordpiece vocab.txt, with symbols tokenizer.json",
        place="FILE",
    )


@dataclass(frozen=True, kw_only=True)
class TokenizerPathOptions:
    """Which tokenizer is used."""

    tokenizer: str = option(
        MISSING,
        "A SentencePiece .model, a WordPiece vocab.txt, a tokenizer.json, or a model directory.",
        flag="-t,--tokenizer",
        place="FILE|DIR",
    )


@dataclass(frozen=True, kw_only=True)
class TokenizeTrainCommand(Command):
    """All options of `attn tokenize train`."""

    name: ClassVar[str] = "tokenize train"

    output: TokenizerOutputOptions = group(TokenizerOutputOptions, "Tokenizer")
    tokenizer: TokenizerOptions = group(TokenizerOptions, "Tokenizer")
    stream: StreamOptions = group(StreamOptions, "Lines")
    seed: SeedOptions = group(SeedOptions, "Running")
    cpu: ThreadOptions = group(ThreadOptions, "Running")
    speech: SpeechOptions = group(SpeechOptions, "Running")

    @property
    def path(self) -> Path:
        """Where the tokenizer goes; its ending must be the one that it is loaded by.

        Raises:
            UsageError: it can't go there.
        """
        kind, standard = self.tokenizer.type, Path(self.tokenizer.file_name)
        path = Path(self.output.output or standard)
        if path.suffix != standard.suffix or path.is_dir():
            kind = f"{kind} with symbols" if self.tokenizer.own_symbols else kind
            raise UsageError(
                f"--output {path}: a tokenizer of type {kind} is a file *{standard.suffix}"
            )
        if not path.parent.is_dir():
            raise UsageError(f"--output {path}: there is no directory {path.parent}")
        return path


@dataclass(frozen=True, kw_only=True)
class TokenizeEncodeCommand(Command):
    """All options of `attn tokenize encode`."""

    name: ClassVar[str] = "tokenize encode"

    tokenizer: TokenizerPathOptions = group(TokenizerPathOptions, "Tokenizer")
    unit: UnitOptions = group(UnitOptions, "Tokenizer")
    sampling: SamplingOptions = group(SamplingOptions, "Tokenizer")
    stream: StreamOptions = group(StreamOptions, "Lines")
    seed: SeedOptions = group(SeedOptions, "Running")
    cpu: ThreadOptions = group(ThreadOptions, "Running")
    speech: SpeechOptions = group(SpeechOptions, "Running")


@dataclass(frozen=True, kw_only=True)
class TokenizeDecodeCommand(Command):
    """All options of `attn tokenize decode`."""

    name: ClassVar[str] = "tokenize decode"

    tokenizer: TokenizerPathOptions = group(TokenizerPathOptions, "Tokenizer")
    unit: UnitOptions = group(UnitOptions, "Tokenizer")
    stream: StreamOptions = group(StreamOptions, "Lines")
    cpu: ThreadOptions = group(ThreadOptions, "Running")
    speech: SpeechOptions = group(SpeechOptions, "Running")
