"""Word vectors from text files, word2vec's or GloVe's, for the tokens that are words.

A line is a word and its numbers, parted by spaces; word2vec's first line says how many words and
numbers there are. The file is read line by line: only the vectors of known tokens are kept.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from attn_cli.errors import DataError
from attn_cli.lines.reading import LineReader
from attn_cli.lines.rows import Rows
from attn_cli.lines.unusable import BadLines
from attn_cli.tokenizers.tokenizer import Tokenizer
from attn_cli.wording import plural, some

_DIGITS = re.compile(r"[0-9]+")
_WIDEST = 1 << 14  # numbers in a vector
_TOGETHER = 8192  # words that are cut into tokens in one call


@dataclass(frozen=True)
class WordVectors:
    """Vectors of some tokens.

    Attributes:
        ids: the tokens, sorted. Shape: (n,).
        vectors: Shape: (n, width).
        vocab_size: how many tokens there are in all.
        words: how many words the file has.
        again: where words stand that stood there before: the first vector is taken.
    """

    ids: NDArray[np.int64]
    vectors: NDArray[np.float32]
    vocab_size: int
    words: int
    again: Sequence[str] = ()

    @property
    def coverage(self) -> str:
        """The number of tokens that have a vector, in words."""
        share = len(self.ids) / self.vocab_size
        return (
            f"{len(self.ids):,} of {plural(self.vocab_size, 'token')} ({share:.1%}) start from "
            f"{plural(self.words, 'word')} with {self.vectors.shape[1]} numbers each"
            + (f"; {some(self.again, 3)} a second time: the first is taken" if self.again else "")
        )


def read_word_vectors(path: str, tokenizer: Tokenizer, bad: BadLines) -> WordVectors:
    """The vectors of the tokens that are whole words; of several spellings of one, their mean.

    Args:
        path: the file, a `.gz` file, or `-`.
        tokenizer: says which words are one token.
        bad: is told of lines that can't be used.

    Raises:
        DataError: the file can't be read, has no vector for any token, or has unusable lines that
            are not accepted.
    """
    sums: dict[int, NDArray[np.float64]] = {}
    counts: dict[int, int] = {}
    spelt: set[str] = set()  # of the words that are a token
    again: list[str] = []
    n_words = 0
    with LineReader(path) as reader:
        for words, lines, numbers in _groups(reader, bad):
            n_words += len(words)
            for word, line, ids, vector in zip(
                words, lines, tokenizer.encode(words), numbers, strict=True
            ):
                if len(ids) == 1 and ids[0] not in tokenizer.reserved_ids:
                    if word in spelt:
                        again.append(f"{word} in line {line:,}")
                        continue
                    spelt.add(word)
                    sums[ids[0]] = sums.get(ids[0], 0.0) + vector.astype(np.float64)
                    counts[ids[0]] = counts.get(ids[0], 0) + 1
    bad.finish("left out", "no vector is taken")
    if not sums:
        raise DataError(f"{path}: none of {plural(n_words, 'word')} is one token of this model's")
    ids = sorted(sums)
    vectors = np.stack([sums[index] / counts[index] for index in ids]).astype(np.float32)
    return WordVectors(np.array(ids), vectors, tokenizer.vocab_size, n_words, again)


def fitted_to(vectors: NDArray[np.float32], width: int, scale: float) -> NDArray[np.float32]:
    """Vectors of another width, with numbers of another size.

    Wider ones lose the directions in which they differ least (principal components); narrower ones
    leave the further numbers as they are. The shape of what they say to each other is kept.

    Args:
        vectors: Shape: (n, any).
        width: that is wanted; fewer where the vectors have, or differ in, fewer.
        scale: their root mean square.

    Returns:
        Shape: (n, at most width).
    """
    if vectors.shape[1] > width:
        centred = vectors - vectors.mean(0)
        _, axes = np.linalg.eigh(centred.T.astype(np.float64) @ centred)
        vectors = (centred @ axes[:, ::-1][:, :width]).astype(np.float32)
    size = float(np.sqrt(np.square(vectors, dtype=np.float64).mean()))
    return vectors * np.float32(scale / size) if size > 0 else vectors


def _groups(
    reader: LineReader, bad: BadLines
) -> Iterator[tuple[list[str], list[int], NDArray[np.float32]]]:
    """Words, the numbers of their lines, and their vectors, thousands at a time."""
    width = 0
    lines: list[int] = []
    words: list[str] = []
    rows: list[NDArray[np.float32]] = []
    for row in Rows(reader, None, bad, blank=lambda text: False):
        if row.error:
            continue
        fields = row.line.text.rstrip().split(" ")
        if row.number == 1 and len(fields) == 2 and all(_DIGITS.fullmatch(f) for f in fields):
            continue  # word2vec's header
        if not width and 2 < len(fields) <= _WIDEST + 1:
            width = len(fields) - 1 if _vector(fields, len(fields) - 1) is not None else 0
        vector = _vector(fields, width)
        if vector is None:
            row.refuse(f"not a word and {plural(width, 'number')}" if width else "no word vector")
            continue
        words.append(" ".join(fields[:-width]))
        lines.append(row.number)
        rows.append(vector)
        if len(words) == _TOGETHER:
            yield words, lines, np.stack(rows)
            words, lines, rows = [], [], []
    if words:
        yield words, lines, np.stack(rows)


def _vector(fields: list[str], width: int) -> NDArray[np.float32] | None:
    """The last numbers of a line; None where they are not finite numbers. Words may have spaces."""
    if not width or len(fields) <= width or not " ".join(fields[:-width]).strip():
        return None
    try:
        vector = np.array([float(field) for field in fields[-width:]], np.float32)
    except ValueError:
        return None
    return vector if np.isfinite(vector).all() else None
