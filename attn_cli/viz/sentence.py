"""A text as itself: which of an axis's labels each piece of it stands for.

Shapes: S labels, P pieces.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from attn_cli.viz.maps import Axis, Weights

# What tokenizers write at the beginning of a word, inside it, and at its end.
_BEFORE, _INSIDE, _BEHIND = "\u2581\u0120", "##", "</w>"


@dataclass(frozen=True)
class Piece:
    """A part of a text that is shaded as one.

    Attributes:
        text: as it stands in the text.
        first: the first label that it stands for.
        end: where they end.
        spaced: whether a space stands before it.
    """

    text: str
    first: int
    end: int
    spaced: bool


def pieces_of(axis: Axis) -> list[Piece]:
    """The tokens of an axis as they stand in the text; whole words where tokens do not spell them.

    A tokenizer that writes bytes, or lower case, has tokens that are no part of the word.
    """
    pieces: list[Piece] = []
    first = 0
    for word, size in axis.words or [(label, 1) for label in axis.labels]:
        bare = [_bare(label) for label in axis.labels[first : first + size]]
        if "".join(bare) == word:
            start = first
            for place, text in enumerate(bare, first):
                if text or place == first + size - 1:  # a mark alone goes with what follows
                    pieces.append(Piece(text, start, place + 1, spaced=start == first))
                    start = place + 1
        else:
            pieces.append(Piece(word, first, first + size, spaced=True))
        first += size
    return pieces


def values_of(pieces: Sequence[Piece], row: Weights) -> Weights:
    """The sum of the weights of each piece's labels. Shape: (S,) -> (P,)."""
    if not pieces:
        return row[:0]
    return np.add.reduceat(row, [piece.first for piece in pieces])


def chunks_of(pieces: Sequence[Piece], values: Weights) -> list[tuple[str, bool, float]]:
    """What is drawn in one go: text, whether a space stands before it, value.

    A piece that holds spaces, as a sentence does, is one chunk a word: lines may end there.
    """
    return [
        (word, piece.spaced or place > 0, float(value))
        for piece, value in zip(pieces, values, strict=True)
        for place, word in enumerate(piece.text.split(" "))
    ]


def _bare(label: str) -> str:
    return label.lstrip(_BEFORE).removeprefix(_INSIDE).removesuffix(_BEHIND)
