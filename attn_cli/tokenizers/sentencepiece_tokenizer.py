"""SentencePiece models as tokenizers, with true losslessness and reproducible sampling."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from functools import cached_property

from attn_cli.errors import DataError
from attn_cli.tokenizers.sentencepiece_model import (
    BPE,
    BYTE,
    CHAR,
    CONTROL,
    NORMAL,
    UNIGRAM,
    UNKNOWN,
    UNUSED,
    USER_DEFINED,
    WORD,
    ModelParts,
    read_model,
)
from attn_cli.tokenizers.subword_sampling import (
    SPACE_MARK,
    BpeDropout,
    Pieces,
    SubwordSampler,
    UnigramSampler,
)
from attn_cli.tokenizers.tokenizer import Encode, Span, Tokenizer

_MANY = 256  # texts that are worth starting threads for
_EncodeList = Callable[[list[str]], list[list[int]]]


class SentencePieceTokenizer(Tokenizer):
    """A SentencePiece model: bpe, unigram, char or word (Kudo and Richardson 2018).

    A model with byte fallback that keeps all spaces is made truly lossless. Two gaps of
    SentencePiece itself are closed for such a model: a literal U+2581, which would come back as a
    space, is written as its three bytes; and a space inside an unknown word, which would come back
    as U+2581, as the byte 0x20.

    Raises:
        DataError: the bytes are no SentencePiece model.
    """

    file_name = "tokenizer.model"

    def __init__(self, raw: bytes, name: str = file_name) -> None:
        import sentencepiece

        sentencepiece.set_min_log_level(2)
        self._raw = raw
        self._model = sentencepiece.SentencePieceProcessor()
        try:
            self._model.LoadFromSerializedProto(raw)
            size = self._model.get_piece_size()
            self._model.id_to_piece(list(range(size)))  # text that is no UTF-8 shows here, not in
            self._model.decode([[max(0, self._model.unk_id())]])  # the middle of a stream
        except (RuntimeError, ValueError) as error:
            raise DataError(f"{name}: not a SentencePiece model, or a damaged one") from error
        model = self._model
        self.vocab_size = model.get_piece_size()
        self.pad_id, self.unk_id = model.pad_id(), model.unk_id()
        self.bos_id, self.eos_id = model.bos_id(), model.eos_id()
        self.mask_id, self.cls_id, self.sep_id = map(self._special, ("<mask>", "<cls>", "<sep>"))
        self._space_mark_ids = [self._byte_id(byte) for byte in SPACE_MARK.encode()]
        self._space_id = self._byte_id(0x20)
        self._last_sampler: tuple[float, SubwordSampler] | None = None
        self.is_lossless = self._space_id >= 0 and model.normalize(" a  b ") == "▁a▁▁b▁"

    @property
    def kind(self) -> str:
        """The TrainerSpec's model_type."""
        names = {UNIGRAM: "unigram", BPE: "bpe", WORD: "word", CHAR: "char"}
        return names.get(self._parts.model_type, f"type {self._parts.model_type}")

    @property
    def traits(self) -> list[str]:
        """See `Tokenizer`."""
        found = {
            "lossless": self.is_lossless,
            "unknown characters as bytes": self._space_id >= 0 and not self.is_lossless,
            "lower-cased": "A" not in self._model.normalize("A"),
        }
        return [name for name, there in found.items() if there]

    def encode(self, texts: Sequence[str]) -> list[list[int]]:
        """The best segmentation of each text; see `Tokenizer.encode`."""
        threads = self.threads if len(texts) >= _MANY else 1
        return self._exactly(texts, lambda batch: self._model.encode(batch, num_threads=threads))

    def _encode_with_offsets(self, texts: Sequence[str]) -> Iterator[tuple[list[int], list[Span]]]:
        """Offsets by the library; what `_exactly` puts in or takes away is done with spans here."""
        for text in texts:
            ids: list[int] = []
            spans: list[Span] = []
            parts = text.split(SPACE_MARK) if self.is_lossless else [text]
            at = 0
            for number, part in enumerate(parts):
                if number:
                    ids += self._space_mark_ids
                    spans += [(at, at + 1)] * len(self._space_mark_ids)
                    at += 1
                (mapped,) = self._model.encode([part], return_type="offset_mapping", num_threads=1)
                begin = len(ids)
                for index, (first, end) in zip(mapped["ids"], mapped["offsets"], strict=True):
                    ids.append(index)
                    spans.append((at + first, at + end))
                    # See `_with_space_bytes`.
                    if self.is_lossless and ids[max(begin, len(ids) - 3) :] == self._space_mark_ids:
                        ids[-3:], spans[-3:] = [self._space_id], [(spans[-3][0], at + end)]
                at += len(part)
            yield ids, spans

    def sampler(self, alpha: float, seed: int) -> Encode:
        """Draws segmentations.

        BPE: merges are dropped with probability alpha (Provilkov et al. 2020, section 3). Unigram:
        P(segmentation)^alpha, normalized, over all of them (Kudo 2018, section 3.1).
        """
        if not self.can_sample:
            return super().sampler(alpha, seed)
        generator = random.Random(seed)
        subword = self._subword_sampler(alpha)
        normalize = self._model.normalize
        return lambda texts: self._exactly(
            texts, lambda batch: [subword.draw(normalize(text), generator) for text in batch]
        )

    def decode(self, ids: Sequence[Sequence[int]]) -> list[str]:
        """Each sequence's text; see `Tokenizer.decode`."""
        try:
            return self._model.decode(list(ids), num_threads=1) if ids else []
        except (IndexError, TypeError):
            for sequence in ids:
                self.check_ids(sequence)
            raise

    @cached_property
    def vocabulary(self) -> list[str]:
        """All pieces in the order of their ids."""
        return [self._model.id_to_piece(index) for index in range(self.vocab_size)]

    @cached_property
    def reserved_ids(self) -> frozenset[int]:
        """Ids that stand for no text; see `Tokenizer.reserved_ids`."""
        kinds = {CONTROL, UNKNOWN, UNUSED}
        types = enumerate(self._parts.piece_types)
        return frozenset(index for index, kind in types if kind in kinds)

    def to_bytes(self) -> bytes:
        """The serialized model."""
        return self._raw

    def _edges(self, index: int, piece: str) -> tuple[bool, bool]:
        """A word begins at its space: U+2581, or a byte of white space."""
        if self._model.is_byte(index):
            piece = chr(int(piece[3:5], 16))
            return piece.isascii() and piece.isspace(), False
        return piece[:1] == SPACE_MARK or piece[:1].isspace(), False

    def _exactly(self, texts: Sequence[str], encode: _EncodeList) -> list[list[int]]:
        """Encodes, with the two corrections that a lossless model needs."""
        if not self.is_lossless:
            return encode(list(texts))
        parts = [text.split(SPACE_MARK) for text in texts]
        encoded = iter(encode([part for row in parts for part in row]))
        results = []
        for row in parts:
            ids = list(self._with_space_bytes(next(encoded)))
            for _ in row[1:]:
                ids += self._space_mark_ids
                ids += self._with_space_bytes(next(encoded))
            results.append(ids)
        return results

    def _with_space_bytes(self, ids: list[int]) -> list[int]:
        """The bytes of U+2581 that stand for a space, as the byte of a space."""
        first, second, third = self._space_mark_ids
        if first not in ids:
            return ids
        result: list[int] = []
        for index in ids:
            result.append(index)
            if index == third and result[-3:] == [first, second, third]:
                result[-3:] = [self._space_id]
        return result

    def _special(self, piece: str) -> int:
        index = self._model.piece_to_id(piece)
        return index if self._model.is_control(index) else -1

    def _byte_id(self, byte: int) -> int:
        index = self._model.piece_to_id(f"<0x{byte:02X}>")
        return index if self._model.is_byte(index) else -1

    @property
    def can_sample(self) -> bool:  # type: ignore[override]
        """Whether it is a bpe or unigram model whose pieces all lie within words."""
        known = {NORMAL, UNKNOWN, CONTROL, USER_DEFINED, BYTE}
        return (
            self._parts.model_type in (BPE, UNIGRAM)
            and known.issuperset(self._parts.piece_types)
            and " " not in self._model.normalize("a b")
            and not any(SPACE_MARK in piece.lstrip(SPACE_MARK) for piece in self._of_kind(NORMAL))
            and not any(SPACE_MARK in symbol for symbol in self._of_kind(USER_DEFINED))
        )

    @cached_property
    def _parts(self) -> ModelParts:
        return read_model(self._raw)

    def _of_kind(self, wanted: int) -> dict[str, int]:
        """The ids of the pieces of one kind: those that text is cut into, or a user's symbols."""
        types = zip(self.vocabulary, self._parts.piece_types, strict=True)
        return {piece: index for index, (piece, kind) in enumerate(types) if kind == wanted}

    def _subword_sampler(self, alpha: float) -> SubwordSampler:
        """The sampler of this strength; the last one is kept for what it remembers."""
        if self._last_sampler is None or self._last_sampler[0] != alpha:
            kind = BpeDropout if self._parts.model_type == BPE else UnigramSampler
            normal, symbols = self._of_kind(NORMAL), self._of_kind(USER_DEFINED)
            scores = {piece: self._model.get_score(index) for piece, index in normal.items()}
            byte_ids = tuple(map(self._byte_id, range(256))) if self._space_id >= 0 else ()
            pieces = Pieces(normal, scores, self.unk_id, byte_ids, symbols)
            self._last_sampler = alpha, kind(pieces, alpha)
        return self._last_sampler[1]
