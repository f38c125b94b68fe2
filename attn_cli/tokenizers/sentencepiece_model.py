"""What a SentencePiece model file says of itself and the library does not tell.

The file is a protocol buffer (`sentencepiece_model.proto`); the few fields that matter here are
read straight from the wire format, so that no protobuf package is needed.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

_SPACE_MARK = "\u2581"
UNIGRAM, BPE, WORD, CHAR = 1, 2, 3, 4  # TrainerSpec.ModelType
NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE = range(1, 7)  # SentencePiece.Type
_ROLES = {"unk": 45, "bos": 46, "eos": 47, "pad": 48}  # fields of TrainerSpec


@dataclass(frozen=True)
class ModelParts:
    """The kind of a model, and the type of each of its pieces."""

    model_type: int
    piece_types: list[int]


@dataclass(frozen=True)
class Normalization:
    """What a model does to a text before it cuts it.

    Attributes:
        charsmap: which characters become which, as the library compiles it; empty: none.
        add_dummy_prefix: whether a space is put before the text.
        remove_extra_whitespaces: whether runs of spaces become one, and none stands at the ends.
        escape_whitespaces: whether a space is written as U+2581.
    """

    charsmap: bytes = b""
    add_dummy_prefix: bool = True
    remove_extra_whitespaces: bool = True
    escape_whitespaces: bool = True


@dataclass(frozen=True)
class Piece:
    """A piece of a model that is made.

    Attributes:
        text: the piece.
        kind: its type; None: it is as in the model that the new one is made of.
        score: its score.
    """

    text: str
    kind: int | None = None
    score: float = 0.0

    @property
    def message(self) -> bytes:
        """SentencePiece of the protocol buffer."""
        head = _sized(1, self.text.encode("utf-8")) + b"\x15" + struct.pack("<f", self.score)
        return head + bytes([3 << 3, self.kind or NORMAL])


def read_model(raw: bytes) -> ModelParts:
    """Reads a model that the library has accepted, so that its framing is sound."""
    model_type = UNIGRAM
    piece_types = []
    for number, value in _fields(raw):
        if number == 1 and isinstance(value, bytes):
            piece_types.append(_integer(value, 3, NORMAL))
        elif number == 2 and isinstance(value, bytes):
            model_type = _integer(value, 3, model_type)  # what is said again counts
    return ModelParts(model_type, piece_types)


def normalization_of(raw: bytes) -> Normalization:
    """The NormalizerSpec of a model that the library has accepted."""
    found: dict[int, int | bytes] = {}
    for number, value in _fields(raw):
        if number == 3 and isinstance(value, bytes):
            found |= dict(_fields(value))
    charsmap = found.get(2, b"")
    flags = [bool(found.get(number, 1)) for number in (3, 4, 5)]
    return Normalization(charsmap if isinstance(charsmap, bytes) else b"", *flags)


def with_words(raw: bytes, words: Sequence[str], *, alone: bool) -> bytes:
    """The model with these words as further pieces, where they are none yet.

    Messages of a protocol buffer may be joined: what is repeated is read one after the other.

    Args:
        raw: a model of words.
        words: the words, which hold no space.
        alone: whether a word may also stand without a space before it, at the beginning of a line.
    """
    pieces = {
        piece
        for number, message in _fields(raw)
        if number == 1 and isinstance(message, bytes)
        for piece in _strings(message)
    }
    for word in words:
        for piece in (_SPACE_MARK + word, word)[: 1 + alone]:
            if piece not in pieces:
                message = _sized(1, piece.encode("utf-8")) + b"\x15" + struct.pack("<f", 0.0)
                raw += _sized(1, message)
    return raw


def renumbered(raw: bytes, pieces: Sequence[Piece], roles: Mapping[str, str]) -> bytes:
    """The model with these pieces alone, in this order, which cuts texts as it did.

    Args:
        raw: a model.
        pieces: those of its own as they are, and others.
        roles: which pieces are `unk`, `bos`, `eos` and `pad`.
    """
    own: dict[str, bytes] = {}
    rest = bytearray()
    for number, value in _fields(raw):
        if number == 1 and isinstance(value, bytes):
            own |= dict.fromkeys(_strings(value), value)
        elif isinstance(value, bytes):
            rest += _sized(number, value)
    new = b"".join(_sized(1, own[p.text] if p.kind is None else p.message) for p in pieces)
    # What a message says again counts: TrainerSpec.unk_piece, bos_piece, eos_piece and pad_piece.
    names = (_sized(_ROLES[role], text.encode("utf-8")) for role, text in roles.items())
    return new + bytes(rest) + _sized(2, b"".join(names))


def scored_pieces(raw: bytes) -> dict[str, tuple[float, int]]:
    """The score and the type of each piece, in the order of their ids."""
    found: dict[str, tuple[float, int]] = {}
    for number, message in _fields(raw):
        if number == 1 and isinstance(message, bytes):
            scores = [v for n, v in _fields(message) if n == 2 and isinstance(v, bytes)]
            score = struct.unpack("<f", scores[-1])[0] if scores else 0.0
            kind = _integer(message, 3, NORMAL)
            found |= dict.fromkeys(_strings(message), (score, kind))
    return found


def _strings(message: bytes) -> Iterator[str]:
    """The texts in the first field of a message."""
    for number, value in _fields(message):
        if number == 1 and isinstance(value, bytes):
            yield value.decode("utf-8")


def _sized(number: int, content: bytes) -> bytes:
    """A field of bytes."""
    head = bytearray()
    for value in (number << 3 | 2, len(content)):
        while value > 0x7F:
            head.append(value & 0x7F | 0x80)
            value >>= 7
        head.append(value)
    return bytes(head) + content


def _integer(message: bytes, wanted: int, default: int) -> int:
    """The last value of an integer field in a message."""
    for number, value in _fields(message):
        if number == wanted and isinstance(value, int):
            default = value
    return default


def _fields(message: bytes) -> Iterator[tuple[int, int | bytes]]:
    """The field numbers and values of a message, in their order."""
    at = 0
    while at < len(message):
        key, at = _varint(message, at)
        wire_type = key & 7
        if wire_type == 0:
            value, at = _varint(message, at)
            yield key >> 3, value
        else:
            size = {1: 8, 5: 4}.get(wire_type, 0)
            if wire_type == 2:
                size, at = _varint(message, at)
            yield key >> 3, message[at : at + size]
            at += size


def _varint(message: bytes, at: int) -> tuple[int, int]:
    """A number in groups of seven bits, lowest first, and the offset behind it."""
    value = shift = 0
    while True:
        byte = message[at]
        value |= (byte & 0x7F) << shift
        at += 1
        if byte < 0x80:
            return value, at
        shift += 7
