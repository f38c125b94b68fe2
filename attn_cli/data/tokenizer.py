"""Text to token ids and back: SentencePiece, WordPiece and `tokenizer.json` behind one interface.

The libraries do the work; here are one set of names, special tokens, losslessness, reproducible
sampling, and refusals that say what is wrong with a file. Nothing here imports torch.
"""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from attn_cli.errors import DataError, UsageError

SIZE_LIMIT = 64 << 20  # bytes of a tokenizer file; the largest published ones have 34 MB
SPACE_MARK = "\u2581"  # SentencePiece writes a space so; decoding turns it into a space again
FILE_NAMES = ("tokenizer.model", "tokenizer.json", "vocab.txt")  # in a model directory
_SEED_LOCK = threading.Lock()  # SentencePiece has one seed for the whole process

Encode = Callable[[Sequence[str]], list[list[int]]]
_EncodeList = Callable[[list[str]], list[list[int]]]


class Tokenizer(ABC):
    """What every tokenizer can do.

    Special ids that a foreign tokenizer lacks are -1; those that attn trains have all of them.

    Attributes:
        file_name: its file's name inside a model directory.
        vocab_size: how many ids there are: 0 … vocab_size - 1.
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

    @abstractmethod
    def encode(self, texts: Sequence[str]) -> list[list[int]]:
        """The ids of each text, without bos and eos. Text never becomes a special token."""

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

    def check_ids(self, ids: Sequence[int]) -> None:
        """Raises DataError if an id is out of range."""
        if ids and (max(ids) >= self.vocab_size or min(ids) < 0):
            wrong = next(index for index in ids if not 0 <= index < self.vocab_size)
            raise DataError(f"no token {wrong}: ids are 0 to {self.vocab_size - 1}")

    def __reduce__(self) -> tuple[Any, ...]:
        return tokenizer_from_bytes, (self.file_name, self.to_bytes())


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
        except (RuntimeError, ValueError) as error:
            raise DataError(f"{name}: not a SentencePiece model, or a damaged one") from error
        model = self._model
        self.vocab_size = model.get_piece_size()
        self.pad_id, self.unk_id = model.pad_id(), model.unk_id()
        self.bos_id, self.eos_id = model.bos_id(), model.eos_id()
        self.mask_id, self.cls_id, self.sep_id = map(self._special, ("<mask>", "<cls>", "<sep>"))
        self.can_sample = self._samples()
        self._mark_ids = [self._byte_id(byte) for byte in SPACE_MARK.encode()]
        self._space_id = self._byte_id(0x20)
        self.is_lossless = self._space_id >= 0 and model.normalize(" a  b ") == "▁a▁▁b▁"

    def encode(self, texts: Sequence[str]) -> list[list[int]]:
        """The best segmentation of each text; see `Tokenizer.encode`."""
        return self._exactly(texts, lambda batch: self._model.encode(batch, num_threads=1))

    def sampler(self, alpha: float, seed: int) -> Encode:
        """Draws segmentations.

        BPE: merges are dropped with probability alpha (Provilkov et al. 2020, section 3). Unigram:
        P(segmentation)^alpha, normalized, over all of them (Kudo 2018, section 3.1).
        """
        if not self.can_sample:
            return super().sampler(alpha, seed)
        import sentencepiece

        # The generator belongs to the thread and reads the process-wide seed when that thread first
        # draws: so a thread of our own, and a first draw while nobody else can set the seed.
        pool = sentencepiece.ThreadPool(1)

        def draw(batch: list[str]) -> list[list[int]]:
            return self._model.encode(
                batch,
                enable_sampling=True,
                alpha=alpha,
                nbest_size=-1,
                num_threads=1,
                thread_pool=pool,
            )

        with _SEED_LOCK:
            sentencepiece.set_random_generator_seed(seed % (2**32 - 1))
            draw([self._longest_piece])
        return lambda texts: self._exactly(texts, draw)

    def decode(self, ids: Sequence[Sequence[int]]) -> list[str]:
        """Each sequence's text; see `Tokenizer.decode`."""
        for sequence in ids:
            self.check_ids(sequence)
        return self._model.decode(list(ids), num_threads=1) if ids else []

    @cached_property
    def vocabulary(self) -> list[str]:
        """All pieces in the order of their ids."""
        return [self._model.id_to_piece(index) for index in range(self.vocab_size)]

    def to_bytes(self) -> bytes:
        """The serialized model."""
        return self._raw

    def _exactly(self, texts: Sequence[str], encode: _EncodeList) -> list[list[int]]:
        """Encodes, with the two corrections that a lossless model needs."""
        if not self.is_lossless:
            return encode(list(texts))
        parts = [text.split(SPACE_MARK) for text in texts]
        encoded = iter(encode([part for row in parts for part in row]))
        results = []
        for row in parts:
            ids = self._with_space_bytes(next(encoded))
            for _ in row[1:]:
                ids = ids + self._mark_ids + self._with_space_bytes(next(encoded))
            results.append(ids)
        return results

    def _with_space_bytes(self, ids: list[int]) -> list[int]:
        """The bytes of U+2581 that stand for a space, as the byte of a space."""
        first, second, third = self._mark_ids
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

    @cached_property
    def _longest_piece(self) -> str:
        """A text that surely makes the sampler draw: it can be cut in more than one way."""
        return max(self.vocabulary, key=len).replace(SPACE_MARK, " ")

    def _samples(self) -> bool:
        try:
            self._model.encode("a", enable_sampling=True, alpha=1.0, nbest_size=-1)
        except RuntimeError:
            return False
        return True


class _HuggingFaceTokenizer(Tokenizer):
    """What the two kinds of tokenizers of the `tokenizers` library share."""

    def __init__(self, raw: bytes, tokenizer: Any, specials: Mapping[str, tuple[str, ...]]) -> None:
        self._raw = raw
        self._tokenizer = tokenizer
        self._tokenizer.no_truncation()
        self._tokenizer.no_padding()
        self._tokenizer.encode_special_tokens = True
        vocabulary = tokenizer.get_vocab(with_added_tokens=True)
        self.vocab_size = max(vocabulary.values(), default=-1) + 1
        for name, spellings in specials.items():
            known = [vocabulary[spelling] for spelling in spellings if spelling in vocabulary]
            setattr(self, name, known[0] if known else -1)
        self._skipped = {getattr(self, name) for name in specials if name != "unk_id"}

    def encode(self, texts: Sequence[str]) -> list[list[int]]:
        """Each text's ids; see `Tokenizer.encode`."""
        encodings = self._tokenizer.encode_batch_fast(list(texts), add_special_tokens=False)
        return [encoding.ids for encoding in encodings]

    def decode(self, ids: Sequence[Sequence[int]]) -> list[str]:
        """Each sequence's text; see `Tokenizer.decode`."""
        for sequence in ids:
            self.check_ids(sequence)
        kept = [[index for index in sequence if index not in self._skipped] for sequence in ids]
        return self._tokenizer.decode_batch(kept, skip_special_tokens=False)

    @cached_property
    def vocabulary(self) -> list[str]:
        """All pieces in the order of their ids; "" where an id is not taken."""
        pieces = [""] * self.vocab_size
        for piece, index in self._tokenizer.get_vocab(with_added_tokens=True).items():
            pieces[index] = piece
        return pieces

    def to_bytes(self) -> bytes:
        """The file's content."""
        return self._raw


class WordPieceTokenizer(_HuggingFaceTokenizer):
    """A WordPiece vocabulary, one piece a line, as BERT uses it (Devlin et al. 2019).

    [CLS] and [SEP] serve as bos and eos. A bare vocabulary does not say whether text is to be
    lower-cased: it is, if no piece has an upper-case letter.

    Raises:
        DataError: the bytes are no such vocabulary.
    """

    file_name = "vocab.txt"
    _SPECIALS = {
        "pad_id": ("[PAD]",),
        "unk_id": ("[UNK]",),
        "bos_id": ("[CLS]",),
        "eos_id": ("[SEP]",),
        "mask_id": ("[MASK]",),
        "cls_id": ("[CLS]",),
        "sep_id": ("[SEP]",),
    }

    def __init__(self, raw: bytes, name: str = file_name) -> None:
        vocabulary = _read_vocabulary(raw, name)
        words = [piece for piece in vocabulary if not piece.startswith("[")]
        self.lowercase = all(piece == piece.lower() for piece in words)
        super().__init__(raw, wordpiece_engine(vocabulary, self.lowercase), self._SPECIALS)


class JsonTokenizer(_HuggingFaceTokenizer):
    """A `tokenizer.json` of the `tokenizers` library, whatever is inside.

    Raises:
        DataError: the library refuses it.
    """

    file_name = "tokenizer.json"
    _SPECIALS = {
        "pad_id": ("[PAD]", "<pad>", "<|pad|>"),
        "unk_id": ("[UNK]", "<unk>"),
        "bos_id": ("<s>", "<bos>", "[CLS]", "<|begin_of_text|>", "<|endoftext|>"),
        "eos_id": ("</s>", "<eos>", "[SEP]", "<|end_of_text|>", "<|endoftext|>"),
        "mask_id": ("[MASK]", "<mask>"),
        "cls_id": ("[CLS]", "<cls>", "<s>"),
        "sep_id": ("[SEP]", "<sep>", "</s>"),
    }

    def __init__(self, raw: bytes, name: str = file_name) -> None:
        import tokenizers

        try:
            engine = tokenizers.Tokenizer.from_str(raw.decode("utf-8"))
        except (KeyboardInterrupt, SystemExit, MemoryError):
            raise
        except BaseException as error:  # a panic of the library's Rust code is no Exception
            raise DataError(f"{name}: not a tokenizer.json ({error})") from error
        super().__init__(raw, engine, self._SPECIALS)


def wordpiece_engine(vocabulary: dict[str, int], lowercase: bool) -> Any:
    """BERT's pipeline of the `tokenizers` library over a vocabulary."""
    from tokenizers import Tokenizer as Engine
    from tokenizers import decoders, models, normalizers, pre_tokenizers

    engine = Engine(models.WordPiece(vocabulary, unk_token="[UNK]", max_input_chars_per_word=100))
    engine.normalizer = normalizers.BertNormalizer(
        clean_text=True, handle_chinese_chars=True, strip_accents=None, lowercase=lowercase
    )
    engine.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    engine.decoder = decoders.WordPiece()
    return engine


def _read_vocabulary(raw: bytes, name: str) -> dict[str, int]:
    try:
        lines = raw.decode("utf-8-sig").removesuffix("\n").split("\n")
    except UnicodeDecodeError as error:
        raise DataError(f"{name}: not UTF-8 at byte {error.start + 1}") from error
    vocabulary: dict[str, int] = {}
    for number, line in enumerate(lines, 1):
        piece = line.removesuffix("\r")
        if not piece or piece in vocabulary:
            what = f"piece {piece!r} stands here twice" if piece else "a blank line"
            raise DataError(f"{name}:{number}: {what}; a vocabulary has one new piece a line")
        vocabulary[piece] = number - 1
    if "[UNK]" not in vocabulary:
        raise DataError(f"{name}: not a WordPiece vocabulary: it has no piece [UNK]")
    return vocabulary


_KINDS: dict[str, Callable[[bytes, str], Tokenizer]] = {
    ".model": SentencePieceTokenizer,
    ".json": JsonTokenizer,
    ".txt": WordPieceTokenizer,
}


def tokenizer_from_bytes(name: str, raw: bytes) -> Tokenizer:
    """Rebuilds a tokenizer from its file's name and content.

    Raises:
        DataError: the name's ending is unknown, or the content is not what the ending says.
    """
    kind = _KINDS.get(Path(name).suffix)
    if kind is None:
        raise DataError(f"{name}: unknown kind of tokenizer; known endings: {', '.join(_KINDS)}")
    if len(raw) > SIZE_LIMIT:
        raise DataError(f"{name}: larger than {SIZE_LIMIT >> 20} MiB; this is no tokenizer")
    return kind(raw, name)


def load_tokenizer(path: str) -> Tokenizer:
    """Loads a `.model`, a `vocab.txt`, a `tokenizer.json`, or a model directory that has one.

    Raises:
        DataError: there is none, it can't be read, or it is not what its ending says.
    """
    place = Path(path)
    if place.is_dir():
        found = [place / name for name in FILE_NAMES if (place / name).is_file()]
        if not found:
            raise DataError(f"{path}: no tokenizer in this directory ({', '.join(FILE_NAMES)})")
        place = found[0]
    try:
        if place.exists() and not place.is_file():
            raise DataError(f"{place}: not a file")
        with place.open("rb") as file:
            raw = file.read(SIZE_LIMIT + 1)
    except OSError as error:
        raise DataError(f"{place}: {error.strerror}") from error
    return tokenizer_from_bytes(str(place), raw)
