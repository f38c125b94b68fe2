"""WordPiece vocabularies and `tokenizer.json`, by the `tokenizers` library."""

from __future__ import annotations

import json
import re
from collections.abc import Container, Iterator, Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING

from attn_cli.errors import DataError
from attn_cli.tokenizers.tokenizer import ID_LIMIT, Span, Tokenizer
from attn_cli.wording import plural

if TYPE_CHECKING:
    from tokenizers import Tokenizer as Engine

_CLEANUP = re.compile(r'"cleanup"\s*:\s*true')
SPECIAL_IDS = "special_ids"
_REMARKS = 5  # of a vocabulary are made one by one
_UNUSED = re.compile(r"\[unused\d+\]")


class _HuggingFaceTokenizer(Tokenizer):
    """The shared part of the two kinds of tokenizers of the `tokenizers` library."""

    def __init__(
        self,
        raw: bytes,
        engine: Engine,
        specials: Mapping[str, tuple[str, ...]],
        name: str,
        given: Mapping[str, int] | None = None,
    ) -> None:
        self._raw = raw
        self._engine = engine
        padding = engine.padding or {}
        engine.no_truncation()
        engine.no_padding()
        engine.encode_special_tokens = True
        vocabulary = engine.get_vocab(with_added_tokens=True)
        self.vocab_size = max(vocabulary.values(), default=-1) + 1
        if self.vocab_size > ID_LIMIT:
            raise DataError(f"{name}: has a token {self.vocab_size - 1}; the largest is {ID_LIMIT}")
        ids = {
            special: next((vocabulary[s] for s in spellings if s in vocabulary), -1)
            for special, spellings in specials.items()
        }
        if ids["pad"] < 0 and 0 <= padding.get("pad_id", -1) < self.vocab_size:
            ids["pad"] = padding["pad_id"]  # a file may name another special token for it
        for special, index in (given or {}).items():
            if not 0 <= index < self.vocab_size:
                raise DataError(f"{name}: {SPECIAL_IDS}: {special} has no token {index}")
            ids[special] = index
        self.pad_id, self.unk_id = ids["pad"], ids["unk"]
        self.bos_id, self.eos_id = ids["bos"], ids["eos"]
        self.mask_id, self.cls_id, self.sep_id = ids["mask"], ids["cls"], ids["sep"]
        self._skipped = {index for special, index in ids.items() if special != "unk"}

    def encode(self, texts: Sequence[str]) -> list[list[int]]:
        """Each text's ids; see `Tokenizer.encode`."""
        encodings = self._engine.encode_batch_fast(list(texts), add_special_tokens=False)
        return [encoding.ids for encoding in encodings]

    def _encode_with_offsets(self, texts: Sequence[str]) -> Iterator[tuple[list[int], list[Span]]]:
        for encoding in self._engine.encode_batch(list(texts), add_special_tokens=False):
            yield encoding.ids, encoding.offsets

    def decode(self, ids: Sequence[Sequence[int]]) -> list[str]:
        """Each sequence's text; see `Tokenizer.decode`."""
        for sequence in ids:
            self.check_ids(sequence)
        kept = [[index for index in sequence if index not in self._skipped] for sequence in ids]
        return self._engine.decode_batch(kept, skip_special_tokens=False)

    @cached_property
    def vocabulary(self) -> list[str]:
        """All pieces in the order of their ids; "" where an id is not taken."""
        pieces = [""] * self.vocab_size
        for piece, index in self._engine.get_vocab(with_added_tokens=True).items():
            pieces[index] = piece
        return pieces

    @cached_property
    def reserved_ids(self) -> frozenset[int]:
        """Ids that stand for no text; see `Tokenizer.reserved_ids`."""
        added = self._engine.get_added_tokens_decoder().items()
        special = {index for index, token in added if token.special}
        unused = {i for i, piece in enumerate(self.vocabulary) if _UNUSED.fullmatch(piece)}
        return super().reserved_ids | special | unused

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
        "pad": ("[PAD]",),
        "unk": ("[UNK]",),
        "bos": ("[CLS]",),
        "eos": ("[SEP]",),
        "mask": ("[MASK]",),
        "cls": ("[CLS]",),
        "sep": ("[SEP]",),
    }

    def __init__(self, raw: bytes, name: str = file_name) -> None:
        vocabulary, self.remarks = read_vocabulary(raw, name)
        words = [piece for piece in vocabulary if not piece.startswith("[")]
        self.lowercase = all(piece == piece.lower() for piece in words)
        super().__init__(raw, wordpiece_engine(vocabulary, self.lowercase), self._SPECIALS, name)

    @property
    def kind(self) -> str:
        """See `Tokenizer`."""
        return "wordpiece"

    @property
    def traits(self) -> list[str]:
        """See `Tokenizer`."""
        return ["lower-cased"] if self.lowercase else []

    def _edges(self, index: int, piece: str) -> tuple[bool, bool]:
        """`##` continues a word."""
        return not piece.startswith("##"), False


class JsonTokenizer(_HuggingFaceTokenizer):
    """A `tokenizer.json` of the `tokenizers` library, whatever is inside.

    Special tokens are found by their spelling. A key of ours, `special_ids`, which stands first in
    the file, gives the ids of those that are spelled otherwise.

    Raises:
        DataError: the library refuses it.
    """

    file_name = "tokenizer.json"
    _SPECIALS = {
        "pad": ("[PAD]", "<pad>", "<|pad|>"),
        "unk": ("[UNK]", "<unk>"),
        "bos": ("<s>", "<bos>", "[CLS]", "<|begin_of_text|>", "<|endoftext|>"),
        "eos": ("</s>", "<eos>", "[SEP]", "<|end_of_text|>", "<|endoftext|>"),
        "mask": ("[MASK]", "<mask>"),
        "cls": ("[CLS]", "<cls>", "<s>"),
        "sep": ("[SEP]", "<sep>", "</s>"),
    }

    def __init__(self, raw: bytes, name: str = file_name) -> None:
        import tokenizers

        given: dict[str, int] = {}
        try:
            text, given = _special_ids(raw.decode("utf-8"), self._SPECIALS)
            engine = tokenizers.Tokenizer.from_str(_untidied(text))
        except (KeyboardInterrupt, SystemExit, MemoryError):
            raise
        except BaseException as error:  # a panic of the library's Rust code is no Exception
            raise DataError(f"{name}: not a tokenizer.json ({error})") from error
        super().__init__(raw, engine, self._SPECIALS, name, given)

    @property
    def kind(self) -> str:
        """The class of the library's model, such as BPE."""
        return type(self._engine.model).__name__.lower()

    @property
    def traits(self) -> list[str]:
        """See `Tokenizer`."""
        normalizer = self._engine.normalizer
        found = ["lower-cased"] if normalizer and "A" not in normalizer.normalize_str("A") else []
        return found + (["of bytes"] if self._word_marks[2].startswith("Ġ") else [])

    def _edges(self, index: int, piece: str) -> tuple[bool, bool]:
        """A word is marked at its inner pieces, at its last one, or at the space before it."""
        prefix, suffix, spaces = self._word_marks
        if prefix:
            return not piece.startswith(prefix), False
        if suffix:
            return False, piece.endswith(suffix)
        return not spaces or piece[:1] in spaces, False

    @cached_property
    def _word_marks(self) -> tuple[str, str, str]:
        """The marks that continue a word, that end one, and that stand for a space."""
        parts = json.loads(self._raw)
        model = parts["model"]
        prefix = model.get("continuing_subword_prefix") or ""
        suffix = model.get("end_of_word_suffix") or ""
        spaces = ""
        if any(piece.startswith("▁") for piece in self.vocabulary):
            spaces = "▁"
        elif "ByteLevel" in json.dumps([parts.get("pre_tokenizer"), parts.get("decoder")]):
            spaces = "ĠĊĉ"  # how byte-level vocabularies write a space, a line end and a tab
        return prefix, suffix, spaces


def wordpiece_engine(
    vocabulary: dict[str, int],
    lowercase: bool,
    *,
    strip_accents: bool | None = None,
    chinese: bool = True,
    unknown: str = "[UNK]",
) -> Engine:
    """BERT's pipeline of the `tokenizers` library over a vocabulary.

    Args:
        vocabulary: pieces and their ids.
        lowercase: whether text is lower-cased.
        strip_accents: whether accents are removed; None: where text is lower-cased.
        chinese: whether each Chinese character is a word.
        unknown: the piece that stands for a word that can't be spelled.
    """
    from tokenizers import Tokenizer as Engine
    from tokenizers import decoders, models, normalizers, pre_tokenizers

    engine = Engine(models.WordPiece(vocabulary, unk_token=unknown, max_input_chars_per_word=100))
    engine.normalizer = normalizers.BertNormalizer(
        clean_text=True,
        handle_chinese_chars=chinese,
        strip_accents=strip_accents,
        lowercase=lowercase,
    )
    engine.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    engine.decoder = decoders.WordPiece(cleanup=False)
    return engine


def _special_ids(text: str, known: Container[str]) -> tuple[str, dict[str, int]]:
    """A tokenizer.json without the key that is ours, and what that holds."""
    if not text.startswith(f'{{"{SPECIAL_IDS}"'):
        return text, {}
    values = json.loads(text)
    ids = values.pop(SPECIAL_IDS)
    if not isinstance(ids, dict) or not all(
        name in known and type(index) is int for name, index in ids.items()
    ):
        raise ValueError(f"{SPECIAL_IDS}: names of special tokens and their ids are needed")
    return json.dumps(values, ensure_ascii=False), ids


def _untidied(text: str) -> str:
    """A tokenizer.json whose decoder leaves spaces where they are.

    The library's "cleanup" takes the space before `? ! . ,` and in `do n't`: rules of English,
    which are wrong in other languages and in tokenized text.
    """
    if not _CLEANUP.search(text):
        return text
    values = json.loads(text)
    waiting = [values.get("decoder")]
    while waiting:
        decoder = waiting.pop()
        if isinstance(decoder, dict):
            if "cleanup" in decoder:
                decoder["cleanup"] = False
            nested = decoder.get("decoders")
            waiting += nested if isinstance(nested, list) else []
    return json.dumps(values, ensure_ascii=False)


def read_vocabulary(
    raw: bytes, name: str, unknown: str = "[UNK]"
) -> tuple[dict[str, int], tuple[str, ...]]:
    """The pieces of a vocab.txt and their ids, and what is odd about the file, in words.

    The number of its line is a piece's id. As in every other reader of such files, of equal lines
    the last one counts, and a blank line takes an id.

    Raises:
        DataError: it is no UTF-8, or has no unknown token.
    """
    try:
        lines = raw.decode("utf-8-sig").removesuffix("\n").split("\n")
    except UnicodeDecodeError as error:
        raise DataError(f"{name}: not UTF-8 at byte {error.start + 1}") from error
    vocabulary: dict[str, int] = {}
    odd: list[str] = []
    for index, line in enumerate(lines):
        piece = line.removesuffix("\r")
        where = f"{name}:{index + 1}"
        if not piece:
            odd.append(f"{where}: a blank line: no piece has the id {index}")
        elif piece in vocabulary:
            first = vocabulary[piece]
            odd.append(
                f"{where}: piece {piece[:80]!r} again, as in line {first + 1}: its id is {index}, "
                f"and {first} stands for nothing"
            )
        vocabulary[piece] = index
    if unknown not in vocabulary:
        raise DataError(f"{name}: not a WordPiece vocabulary: it has no piece {unknown}")
    if len(odd) > _REMARKS:
        odd[_REMARKS:] = [f"{name}: {plural(len(odd) - _REMARKS, 'further line')} of these kinds"]
    return vocabulary, tuple(odd)
