"""Tokens written in a line, pieces or ids with a space between them, and read back."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from functools import partial

from attn_cli.errors import DataError
from attn_cli.tokenizers.tokenizer import Tokenizer

_NOT_IDS = re.compile(r"[^0-9 ]")
_ESCAPES = {" ": r"\x20", "\t": r"\t", "\n": r"\n", "\r": r"\r", "\ufeff": r"\ufeff"}
_UNWRITABLE = re.compile(f"[{''.join(_ESCAPES)}]")


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
    names = list(map(str, range(tokenizer.vocab_size)))
    if unit == "pieces":
        names = _written(tokenizer)
    name_of = names.__getitem__

    def lines(texts: Sequence[str]) -> list[str]:
        return [" ".join(map(name_of, ids)) for ids in encode(texts)]

    return lines


def line_decoder(
    tokenizer: Tokenizer, unit: str
) -> Callable[[Sequence[str]], list[str | DataError]]:
    """A function from lines of tokens to texts; what can't be read is answered by its error.

    Args:
        tokenizer: knows the pieces.
        unit: "pieces" or "ids".
    """
    if unit == "ids":
        read = partial(_read_ids, tokenizer)
    else:
        read = partial(
            _read_pieces, {name: index for index, name in enumerate(_written(tokenizer))}
        )

    def texts(lines: Sequence[str]) -> list[str | DataError]:
        sequences: list[list[int]] = []
        errors: dict[int, DataError] = {}
        for position, line in enumerate(lines):
            try:
                sequences.append(read(line))
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


def _read_pieces(ids: Mapping[str, int], line: str) -> list[int]:
    try:
        return [ids[piece] for piece in line.split(" ") if piece]
    except KeyError as error:
        raise DataError(f"no piece {error.args[0]!r} in the vocabulary") from None


def _written(tokenizer: Tokenizer) -> list[str]:
    r"""How each piece is written in a line of pieces: as it is, if it can.

    A space in a piece is written `\x20`, a tab `\t`, a line end `\n`, and so on: pieces of foreign
    tokenizers may hold them, attn's own never do. A piece that looks like another one so written
    has its `\` doubled until it does not.
    """
    names = list(tokenizer.vocabulary)
    odd = [index for index, piece in enumerate(names) if _UNWRITABLE.search(piece)]
    if not odd:
        return names
    taken = set(names)
    for index in odd:
        name = _UNWRITABLE.sub(lambda match: _ESCAPES[match[0]], names[index])
        while name in taken:
            name = name.replace("\\", "\\\\")
        taken.add(name)
        names[index] = name
    return names


def _one_line(text: str) -> str:
    r"""Ids can spell a tab or a line end, which would break the line; a `\r` inside is text."""
    return text.replace("\t", " ").replace("\n", " ")
