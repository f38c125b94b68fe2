"""Text to token ids and back: SentencePiece, WordPiece and `tokenizer.json` behind one interface.

The libraries do the work; here are one set of names, special tokens, losslessness, reproducible
sampling, and refusals that say what is wrong with a file. Nothing here imports torch.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from functools import cached_property
from typing import TYPE_CHECKING

from attn_cli.errors import DataError, UsageError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

ID_LIMIT = 1 << 24  # as many tokens as a model's configuration may have
SIZE_LIMIT = 64 << 20  # bytes of a tokenizer file; the largest published ones have 34 MB
TOO_LARGE = f"larger than {SIZE_LIMIT >> 20} MiB; this is no tokenizer"

Encode = Callable[[Sequence[str]], list[list[int]]]
Span = tuple[int, int]


class Tokenizer(ABC):
    """The interface of every tokenizer.

    Special ids that a foreign tokenizer lacks are -1; those that attn trains have all of them.

    Attributes:
        file_name: its file's name inside a model directory.
        vocab_size: how many ids there are: 0 … vocab_size - 1.
        kind: how it cuts words: bpe, unigram, wordpiece, word or char; another library's own name.
        remarks: what is odd about its file and does not prevent its use, for people to read.
        threads: how many `encode` may use for many texts.
    """

    file_name: str
    vocab_size: int
    pad_id: int
    unk_id: int
    bos_id: int
    eos_id: int
    mask_id: int
    cls_id: int
    sep_id: int
    can_sample: bool = False
    remarks: tuple[str, ...] = ()
    threads: int = 1

    @property
    @abstractmethod
    def kind(self) -> str:
        """See `Tokenizer`."""

    @property
    def traits(self) -> list[str]:
        """What else is to be known of it, in words: lossless, lower-cased, bytes."""
        return []

    @property
    def special_ids(self) -> dict[str, int]:
        """The id of each special token by its short name, such as `pad`; -1: there is none."""
        return {
            "pad": self.pad_id,
            "unk": self.unk_id,
            "bos": self.bos_id,
            "eos": self.eos_id,
            "mask": self.mask_id,
            "cls": self.cls_id,
            "sep": self.sep_id,
        }

    @abstractmethod
    def encode(self, texts: Sequence[str]) -> list[list[int]]:
        """The ids of each text, without bos and eos. Text never becomes a special token."""

    def encode_with_offsets(self, texts: Sequence[str]) -> list[tuple[list[int], list[Span]]]:
        """`encode`, and the characters that each token stands for: (first, end), both from 0.

        Spans are in order, and white space around a token belongs to none. Tokens that are parts of
        one character (its bytes, its letters after normalization) have all of it. Where nothing is
        left, as for a token that is a space, first equals end.
        """
        encoded = []
        for text, (ids, spans) in zip(texts, self._encode_with_offsets(texts), strict=True):
            whole = list(spans)
            for i in range(len(whole) - 2, -1, -1):
                (first, end), (following, until) = whole[i], whole[i + 1]
                if first == end == following:  # all but the last byte of a character
                    whole[i] = (first, until)
            encoded.append((ids, [_trimmed(text, *span) for span in whole]))
        return encoded

    def lacking(self, text: str) -> list[str]:
        """The parts of a text that have no piece, in order, each once."""
        ((ids, spans),) = self.encode_with_offsets([text])
        if self.unk_id < 0:  # what is unknown is left out
            covered = {at for first, end in spans for at in range(first, end)}
            parts = [c for at, c in enumerate(text) if at not in covered and not c.isspace()]
        else:
            lost = zip(ids, spans, strict=True)
            parts = [text[slice(*span)] for index, span in lost if index == self.unk_id]
        return list(dict.fromkeys(parts))

    def knows(self, ids: Sequence[int]) -> bool:
        """Whether some of these tokens stand for text: neither unknown nor white space alone."""
        known = [index for index in ids if index != self.unk_id]
        if not known or len(known) == len(ids):
            return bool(known)
        return any(text.strip() for text in self.decode([[index] for index in set(known)]))

    @abstractmethod
    def _encode_with_offsets(
        self, texts: Sequence[str]
    ) -> Iterable[tuple[list[int], Iterable[Span]]]:
        """The same as the library gives it: spans with their spaces, bytes without a character."""

    def sample(self, texts: Sequence[str], alpha: float, seed: int) -> list[list[int]]:
        """One random segmentation of each text; the same for the same texts, alpha and seed.

        Raises:
            UsageError: this kind of tokenizer knows only one segmentation.
        """
        return self.sampler(alpha, seed)(texts)

    def sampler(self, alpha: float, seed: int) -> Encode:
        """An `encode` that draws segmentations, for a stream of texts.

        What a text is given depends on the seed and on the texts before it, and not on how they
        were grouped into calls.

        Raises:
            UsageError: this kind of tokenizer knows only one segmentation.
        """
        raise UsageError(
            f"this tokenizer ({self.file_name}) has one segmentation only; "
            "sampling needs a SentencePiece model of type bpe or unigram"
        )

    @abstractmethod
    def decode(self, ids: Sequence[Sequence[int]]) -> list[str]:
        """The text of each sequence; special tokens are skipped, bytes that are no UTF-8 U+FFFD.

        Raises:
            DataError: an id is out of range.
        """

    @abstractmethod
    def to_bytes(self) -> bytes:
        """The content of its file."""

    @cached_property
    @abstractmethod
    def vocabulary(self) -> list[str]:
        """All pieces in the order of their ids."""

    @cached_property
    def _ids(self) -> dict[str, int]:
        return {piece: index for index, piece in enumerate(self.vocabulary)}

    @cached_property
    def reserved_ids(self) -> frozenset[int]:
        """Ids that stand for no text: special tokens, the unknown one, and holes."""
        holes = (index for index, piece in enumerate(self.vocabulary) if not piece)
        return frozenset({*self.special_ids.values(), *holes} - {-1})

    @property
    def never_written(self) -> tuple[int, ...]:
        """The special tokens that no output has: all but eos."""
        specials = (self.pad_id, self.unk_id, self.bos_id, self.mask_id, self.cls_id, self.sep_id)
        return tuple(index for index in specials if index >= 0 and index != self.eos_id)

    def word_starts(self, ids: NDArray[np.integer]) -> NDArray[np.bool_]:
        """The mask of the tokens that begin a word, as far as the pieces tell; the first one does.

        A word is what white space surrounds, and less where the tokenizer parts words at
        punctuation before it cuts them into pieces, as BERT's does.

        Shape: (n,) -> (n,).
        """
        begin, end = self._word_edges
        starts = begin[ids]
        starts[1:] |= end[ids[:-1]]
        starts[:1] = True
        return starts

    def begins_word(self, index: int) -> bool:
        """Whether a piece begins a word, as far as it tells."""
        return bool(self._word_edges[0][index])

    @cached_property
    def _word_edges(self) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
        """The masks of the ids that begin a word, and of those behind which one begins."""
        import numpy as np

        edges = [self._edges(index, piece) for index, piece in enumerate(self.vocabulary)]
        table = np.array(edges, bool).reshape(-1, 2)
        return table[:, 0], table[:, 1]

    @abstractmethod
    def _edges(self, index: int, piece: str) -> tuple[bool, bool]:
        """Whether a piece begins a word, and whether what follows it does."""

    def pieces(self, ids: Sequence[int]) -> list[str]:
        """The pieces with these ids.

        Raises:
            DataError: an id is out of range.
        """
        self.check_ids(ids)
        vocabulary = self.vocabulary
        return [vocabulary[index] for index in ids]

    def piece_ids(self, pieces: Iterable[str]) -> list[int]:
        """The ids of these pieces.

        Raises:
            DataError: one of them is not in the vocabulary.
        """
        try:
            return [self._ids[piece] for piece in pieces]
        except KeyError as error:
            raise DataError(f"no piece {error.args[0]!r} in the vocabulary") from None

    def require_specials(self, where: str) -> None:
        """Raises DataError if a token is lacking that every sequence-to-sequence model needs."""
        ids = {"padding": self.pad_id, "begin": self.bos_id, "end": self.eos_id}
        lacking = [name for name, index in ids.items() if not 0 <= index < self.vocab_size]
        if lacking:
            raise DataError(
                f"{where}: this tokenizer has no {' and no '.join(lacking)} token; attn tokenize "
                "train makes one that has"
            )

    def check_ids(self, ids: Sequence[int]) -> None:
        """Raises DataError if an id is out of range."""
        if ids and (max(ids) >= self.vocab_size or min(ids) < 0):
            wrong = next(index for index in ids if not 0 <= index < self.vocab_size)
            raise DataError(f"no token {wrong}: ids are 0 to {self.vocab_size - 1}")

    def __reduce__(self) -> tuple[type[Tokenizer], tuple[bytes, str]]:
        return type(self), (self.to_bytes(), self.file_name)


def _trimmed(text: str, first: int, end: int) -> Span:
    """A span without the white space around it; an empty one where it begins."""
    piece = text[first:end]
    left = len(piece) - len(piece.lstrip())
    return first + left, first + max(left, len(piece.rstrip()))
