"""Documents as tokens, and the spans of them that become inputs: segment pairs, full sentences.

An input is a pair of spans (the second may be empty) of one flat array of tokens; nothing is copied
until a batch is made. Shapes: N tokens, S sentences, E examples.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from random import Random
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from attn_cli.tokenizers.tokenizer import Tokenizer

_LINES = 4096  # tokenized at a time
_LINE_CHARS = 4096  # a longer line is cut at spaces: a tokenizer needs much memory for each
_TRIES = 10  # to find another document
_ROW_BITS = 32

FOLLOWS, RANDOM = 0, 1  # labels of next-sentence prediction, as BERT numbers them

# A document's lines, the number of its row and the number of the document.
Document = tuple[Sequence[str], int, int]


@dataclass(frozen=True)
class TokenizedDocuments:
    """Documents, tokenized.

    Attributes:
        ids: the tokens of all sentences. Shape: (N,).
        starts: which of them begin a word. Shape: (N,).
        keys: what tells a token from all others of the corpus: its row and place. Shape: (N,).
        bounds: where sentences begin, and N. Shape: (S + 1,).
        firsts: the number of each document's first sentence, and S.
        numbers: of the documents: rows with the same number are parts of one. Shape as the rows'.
    """

    ids: NDArray[np.int32]
    starts: NDArray[np.bool_]
    keys: NDArray[np.uint64]
    bounds: NDArray[np.int64]
    firsts: NDArray[np.int64]
    numbers: NDArray[np.int64]


class EncodedDocument(NamedTuple):
    """A document's tokens.

    Attributes:
        ids: of all its sentences. Shape: (N,).
        begins: where sentences begin, and N. Shape: (S + 1,).
        row: the number of its row.
        number: of the document that the row is a part of.
    """

    ids: NDArray[np.int32]
    begins: NDArray[np.int64]
    row: int
    number: int


def encoded(documents: Sequence[Document], tokenizer: Tokenizer) -> list[EncodedDocument]:
    """Tokenizes documents."""
    found = []
    for sentences, (_, row, number) in zip(_encoded(documents, tokenizer), documents, strict=True):
        begins = np.cumsum([0, *map(len, sentences)])
        ids = np.fromiter((i for sentence in sentences for i in sentence), np.int32, begins[-1])
        found.append(EncodedDocument(ids, begins, row, number))
    return found


def joined(
    documents: Sequence[EncodedDocument],
    tokenizer: Tokenizer,
    longest: int,
    end_id: int | None = None,
) -> TokenizedDocuments:
    """Documents side by side; a sentence of more than `longest` tokens becomes several.

    Args:
        documents: at least one.
        tokenizer: of their text.
        longest: tokens of a sentence.
        end_id: what is put after a document's last token, if anything.
    """
    ids: list[NDArray[np.int32]] = []
    starts: list[NDArray[np.bool_]] = []
    keys: list[NDArray[np.uint64]] = []
    bounds, firsts, numbers = [0], [0], []
    for flat, begins, row, number in documents:
        marks = tokenizer.word_starts(flat)
        marks[begins[:-1]] = True
        if end_id is not None and len(begins) > 1:
            flat, marks = np.append(flat, np.int32(end_id)), np.append(marks, True)
        ids.append(flat)
        starts.append(marks)
        keys.append(np.uint64(row << _ROW_BITS) + np.arange(len(flat), dtype=np.uint64))
        offset = bounds[-1]
        for begin, end in zip(begins[:-1].tolist(), begins[1:].tolist(), strict=True):
            bounds += [offset + at for at in range(begin + longest, end, longest)]
            bounds.append(offset + end)
        bounds[-1] = offset + len(flat)  # with the end
        firsts.append(len(bounds) - 1)
        numbers.append(number)
    return TokenizedDocuments(
        np.concatenate(ids or [np.empty(0, np.int32)]),
        np.concatenate(starts or [np.empty(0, bool)]),
        np.concatenate(keys or [np.empty(0, np.uint64)]),
        *(np.array(part, np.int64) for part in (bounds, firsts, numbers)),
    )


def _encoded(documents: Sequence[Document], tokenizer: Tokenizer) -> Iterator[list[list[int]]]:
    """The tokens of each document's sentences, without empty ones."""
    waiting: list[list[str]] = []
    count = 0
    for lines, _, _ in documents:
        waiting.append([part for line in lines for part in line_parts(line)])
        count += len(waiting[-1])
        if count >= _LINES:
            yield from _encode_all(waiting, tokenizer)
            waiting, count = [], 0
    yield from _encode_all(waiting, tokenizer)


def _encode_all(waiting: list[list[str]], tokenizer: Tokenizer) -> Iterator[list[list[int]]]:
    encoded = iter(tokenizer.encode([line for lines in waiting for line in lines]))
    for lines in waiting:
        yield [ids for ids in (next(encoded) for _ in lines) if ids]


def line_parts(line: str) -> list[str]:
    """A line, cut into parts of bounded length: after a space where there is one."""
    parts = []
    while len(line) > _LINE_CHARS:
        cut = line.rfind(" ", _LINE_CHARS // 2, _LINE_CHARS) + 1 or _LINE_CHARS
        parts.append(line[:cut])
        line = line[cut:]
    return [*parts, line]


# Spans of one input: where A begins and ends, where B does, and the label of the pair.
Spans = tuple[int, int, int, int, int]


def segment_pairs(
    source: TokenizedDocuments, max_tokens: int, short_seq: float, seeds: Sequence[int]
) -> list[Spans]:
    """Pairs of segments for next-sentence prediction, as BERT makes them (Devlin et al. 2019, A.2).

    Sentences are gathered until they fill an input, and cut in two at random; every other time the
    second part is replaced by sentences of another document, and goes back to be used next. Unlike
    BERT, a chunk has two sentences wherever its document has, so that a lone one is not always
    paired with a stranger.

    Args:
        source: documents whose sentences have at most `max_tokens` / 2 tokens.
        max_tokens: of a pair.
        short_seq: the share of pairs that are aimed at a random shorter length.
        seeds: one for each document; further documents only lend segments.
    """
    maker = _PairMaker(source, max_tokens, short_seq)
    return [pair for i, seed in enumerate(seeds) for pair in maker.of_document(i, Random(seed))]


class _PairMaker:
    def __init__(self, source: TokenizedDocuments, max_tokens: int, short_seq: float) -> None:
        self._bounds: list[int] = source.bounds.tolist()
        self._firsts: list[int] = source.firsts.tolist()
        self._numbers: list[int] = source.numbers.tolist()
        self._max_tokens = max_tokens
        self._short_seq = short_seq

    def of_document(self, document: int, random: Random) -> Iterator[Spans]:
        first, last = self._firsts[document], self._firsts[document + 1]
        at = first
        while at < last:
            target = self._max_tokens
            if random.random() < self._short_seq:
                target = random.randint(2, target)
            end = self._gathered(at, last, target, 2)
            alone = end - at == 1
            begin = at - 1 if alone and at > first else at  # with the sentence before it
            middle = begin + random.randint(1, max(1, end - begin - 1))
            stranger = None
            if end - begin == 1 or random.random() < 0.5:
                room = target - (self._bounds[middle] - self._bounds[begin])
                stranger = self._stranger(document, room, random)
            if stranger is not None:
                yield self._fitted(begin, middle, *stranger, RANDOM, random)
                at = end if alone else middle
            else:
                if end - begin > 1:  # nobody else's segment, and none of its own: no pair
                    yield self._fitted(begin, middle, middle, end, FOLLOWS, random)
                at = end

    def _gathered(self, at: int, last: int, target: int, least: int) -> int:
        """The end of the sentences from `at` on that reach `target` tokens."""
        end = at
        while end < last and (end - at < least or self._bounds[end] - self._bounds[at] < target):
            end += 1
        return end

    def _stranger(self, document: int, room: int, random: Random) -> tuple[int, int] | None:
        """Sentences of another document, from a random one on; None if no other is found."""
        for _ in range(_TRIES):
            other = random.randrange(len(self._numbers))
            first, last = self._firsts[other], self._firsts[other + 1]
            if first < last and self._numbers[other] != self._numbers[document]:
                at = random.randrange(first, last)
                return at, self._gathered(at, last, room, 1)
        return None

    def _fitted(self, a: int, a_end: int, b: int, b_end: int, label: int, random: Random) -> Spans:
        """The spans of two runs of sentences, cut at random ends until they fit."""
        spans = [[self._bounds[a], self._bounds[a_end]], [self._bounds[b], self._bounds[b_end]]]
        excess = sum(end - begin for begin, end in spans) - self._max_tokens
        for _ in range(excess):
            longer = spans[spans[0][1] - spans[0][0] <= spans[1][1] - spans[1][0]]
            if random.random() < 0.5:
                longer[0] += 1
            else:
                longer[1] -= 1
        return (*spans[0], *spans[1], label)  # type: ignore[return-value]


def full_sentences(source: TokenizedDocuments, max_tokens: int, end_id: int) -> list[Spans]:
    """Runs of sentences that fill an input, across documents (Liu et al. 2019, FULL-SENTENCES).

    Args:
        source: documents of sentences of at most `max_tokens`, each ending in `end_id`.
        max_tokens: of a run.
        end_id: not needed at the end of a run.
    """
    bounds = source.bounds
    spans: list[Spans] = []
    at = 0
    while at < len(bounds) - 1:
        following = int(np.searchsorted(bounds, bounds[at] + max_tokens, side="right")) - 1
        begin, end = int(bounds[at]), int(bounds[following])
        end -= source.ids[end - 1] == end_id
        if end > begin:
            spans.append((begin, int(end), 0, 0, FOLLOWS))
        at = following
    return spans
