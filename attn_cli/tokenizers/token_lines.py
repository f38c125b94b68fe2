"""Tokens written in a line, pieces or ids with a space between them, and read back."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from attn_cli.errors import DataError
from attn_cli.lines.writing import one_field
from attn_cli.tokenizers.tokenizer import Tokenizer

_NOT_IDS = re.compile(r"[^0-9 ]")


def line_encoder(
    tokenizer: Tokenizer, unit: str, alpha: float | None, seed: int
) -> Callable[[Sequence[str]], list[str]]:
    """A function from texts to lines of tokens.

    Args:
        tokenizer: cuts the texts.
        unit: "pieces" or "ids".
        alpha: draws segmentations with this strength; None takes the best.
        seed: of the drawing; the result depends on the order of the texts, not on their grouping.

    Raises:
        UsageError: the tokenizer can't draw.
    """
    encode = tokenizer.encode if alpha is None else tokenizer.sampler(alpha, seed)
    # A piece of a foreign tokenizer may hold a tab or a line end; attn's own never do.
    names = list(map(str, range(tokenizer.vocab_size)))
    if unit == "pieces":
        names = [one_field(piece) for piece in tokenizer.vocabulary]

    def lines(texts: Sequence[str]) -> list[str]:
        return [" ".join([names[index] for index in ids]) for ids in encode(texts)]

    return lines


def line_decoder(
    tokenizer: Tokenizer, unit: str
) -> Callable[[Sequence[str]], list[str | DataError]]:
    """A function from lines of tokens to texts; what can't be read is answered by its error.

    Args:
        tokenizer: knows the pieces.
        unit: "pieces" or "ids".
    """
    read = _read_ids if unit == "ids" else _read_pieces

    def texts(lines: Sequence[str]) -> list[str | DataError]:
        sequences: list[list[int]] = []
        errors: dict[int, DataError] = {}
        for position, line in enumerate(lines):
            try:
                sequences.append(read(tokenizer, line))
            except DataError as error:
                errors[position] = error
                sequences.append([])
        decoded = tokenizer.decode(sequences)
        return [errors.get(position, _one_line(text)) for position, text in enumerate(decoded)]

    return texts


def _read_ids(tokenizer: Tokenizer, line: str) -> list[int]:
    if wrong := _NOT_IDS.search(line):
        word = next(word for word in line.split(" ") if wrong[0] in word)
        raise DataError(f"{word[:40]!r} is no token id: ids are 0 to {tokenizer.vocab_size - 1}")
    try:
        ids = [int(word) for word in line.split()]
    except ValueError as error:  # thousands of digits
        raise DataError("a number of thousands of digits is no token id") from error
    tokenizer.check_ids(ids)
    return ids


def _read_pieces(tokenizer: Tokenizer, line: str) -> list[int]:
    return tokenizer.piece_ids([piece for piece in line.split(" ") if piece])


def _one_line(text: str) -> str:
    r"""Ids can spell a tab or a line end, which would break the line; a `\r` inside is text."""
    return text.replace("\t", " ").replace("\n", " ")
