"""The tokenizers of a Marian directory as SentencePiece models of ours, and back.

There a text is cut by source.spm or target.spm, and vocab.json gives each piece its number, the
same for both sides where there is no target_vocab.json. Here a model's pieces are numbered by
themselves: the same models, their pieces in the order of the vocabulary.
"""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from attn_cli.config import shown
from attn_cli.convert.huggingface_specials import CONFIG, SETTINGS, TokenizerSettings
from attn_cli.errors import DataError
from attn_cli.files import inside, read_bounded, write_atomically
from attn_cli.tokenizers.byte_level_files import json_object
from attn_cli.tokenizers.sentencepiece_model import (
    CONTROL,
    NORMAL,
    UNKNOWN,
    UNUSED,
    USER_DEFINED,
    Piece,
    renumbered,
    scored_pieces,
)
from attn_cli.tokenizers.sentencepiece_tokenizer import SentencePieceTokenizer
from attn_cli.tokenizers.tokenizer import SIZE_LIMIT, TOO_LARGE, Tokenizer

_SOURCE, _TARGET = "source.spm", "target.spm"
_VOCABULARY, _TARGET_VOCABULARY = "vocab.json", "target_vocab.json"
_CLASS = "MarianTokenizer"
_USUAL = {"unk": "<unk>", "eos": "</s>", "pad": "<pad>"}
_LANGUAGE = re.compile(r">>[^<>]+<<")  # what a text begins with, where it says its target language
_SPACE = "\u2581"
_PENALTY = 10.0  # by which an unknown character is worse than the worst piece, in unigram models


@dataclass(frozen=True)
class MarianTokenizers:
    """What is read of a directory.

    Attributes:
        src: of the source.
        tgt: of the target; the same object where they are one.
        n_src: numbers of the source's vocabulary; those behind them stand for pieces that have
            none, which the model reads as its unknown token.
        n_tgt: of the target's.
    """

    src: Tokenizer
    tgt: Tokenizer
    n_src: int
    n_tgt: int


@dataclass(frozen=True)
class SpecialIds:
    """What config.json says of special tokens: their numbers in the target's vocabulary."""

    start: int
    eos: int
    pad: int


def read_marian_tokenizers(
    folder: Path, sizes: tuple[int, int], ids: SpecialIds, say: Callable[[str], None]
) -> MarianTokenizers:
    """The tokenizers of a Marian directory.

    Args:
        folder: the directory.
        sizes: tokens of the model's source and target.
        ids: its special tokens.
        say: is told of what is unusual.

    Raises:
        DataError: a file is missing, damaged, or at odds with another.
    """
    settings = TokenizerSettings(folder, say)
    if settings.kind not in ("", _CLASS):
        raise DataError(
            f"{settings.where}: tokenizer_class {shown(settings.kind)} is not supported, "
            f"{_CLASS} alone is"
        )
    roles = {**_USUAL, **{role: t for role, t in settings.roles().items() if role in _USUAL}}
    files = [inside(folder, name) for name in (_SOURCE, _TARGET)]
    raws = [read_bounded(file, SIZE_LIMIT, TOO_LARGE) for file in files]
    for raw, file in zip(raws, files, strict=True):
        SentencePieceTokenizer(raw, str(file))  # what is no such file is refused before it is read
    apart = settings.flag("separate_vocabs", False)
    names = (_VOCABULARY, _TARGET_VOCABULARY if apart else _VOCABULARY)
    pieces = [
        _vocabulary(inside(folder, name), size, roles)
        for name, size in zip(names, sizes, strict=True)
    ]
    _check_ids(folder, pieces[1], roles, ids, settings)
    start = pieces[1][ids.start]
    lacking = [
        [p for p, (_, kind) in scored_pieces(raw).items() if kind not in (CONTROL, UNKNOWN)]
        for raw in raws
    ]
    lacking = [_without(more, known) for more, known in zip(lacking, pieces, strict=True)]
    if not apart:  # one numbering for both
        lacking = [[*lacking[0], *_without(lacking[1], lacking[0])]] * 2
    n_src, n_tgt = map(len, pieces)
    for more, file in zip(lacking, files, strict=True):
        if more:
            say(
                f"{file}: {len(more):,} of its pieces have no number in the vocabulary, such as "
                f"{shown(more[0])}: unknown to the model, as they are there"
            )
    special = {**roles, "bos": start}
    made = [
        SentencePieceTokenizer(
            renumbered(raw, kinds(raw, [*own, *more], special), special), str(file)
        )
        for raw, own, more, file, kinds in zip(
            raws, pieces, lacking, files, (_source_pieces, _target_pieces), strict=True
        )
    ]
    src, tgt = made[0], made[1]
    if raws[0] == raws[1] and not apart and not _languages(pieces[0]):
        src = tgt
    return MarianTokenizers(src, tgt, n_src, n_tgt)


def _without(pieces: Sequence[str], known: Sequence[str]) -> list[str]:
    there = set(known)
    return [piece for piece in pieces if piece not in there]


def _vocabulary(file: Path, size: int, roles: Mapping[str, str]) -> list[str]:
    """The pieces in the order of their numbers; a number without one has a name of no text."""
    taken: dict[int, str] = {}
    for piece, index in json_object(read_bounded(file, SIZE_LIMIT, TOO_LARGE), file).items():
        if type(index) is not int or not 0 <= index < size:
            raise DataError(
                f"{file}: piece {shown(piece)} has the number {shown(index)}, but {CONFIG} says "
                f"{size:,} tokens"
            )
        if not piece or index in taken:
            raise DataError(
                f"{file}: {shown(piece)} and {shown(taken.get(index, ''))} have the number {index}"
            )
        taken[index] = piece
    for role, piece in roles.items():
        if piece not in taken.values():
            raise DataError(f"{file}: has no {shown(piece)}, which is the {role} token")
    return [taken.get(index, f"<no token {index}>") for index in range(size)]


def _check_ids(
    folder: Path,
    pieces: Sequence[str],
    roles: dict[str, str],
    ids: SpecialIds,
    settings: TokenizerSettings,
) -> None:
    """Makes sure that the special tokens of the model are those of the tokenizer."""
    for role, index in (("eos", ids.eos), ("pad", ids.pad)):
        if pieces[index] != roles[role]:
            raise DataError(
                f"{folder / CONFIG}: {role}_token_id {index} is {shown(pieces[index])} in the "
                f"vocabulary, but the tokenizer's {role} token is {shown(roles[role])}"
            )
    known = set(pieces)
    for token in settings.added():
        if token.content not in known:
            raise DataError(
                f"{token.source}: token {shown(token.content)} is not in the vocabulary; convert a "
                "model without added tokens"
            )


def _languages(pieces: Sequence[str]) -> list[str]:
    return [piece for piece in pieces if _LANGUAGE.fullmatch(piece)]


def _source_pieces(raw: bytes, order: Sequence[str], special: Mapping[str, str]) -> list[Piece]:
    """Pieces of the source's model, and those of the target's alone, which cut no source.

    But there a character that is unknown to the model and has a number is read by that number: it
    is a piece here, as bad as an unknown one. Several such in a row are one unknown word there, so
    letters of scripts that the source does not have are none. What names a language stands before
    a text.
    """
    own = scored_pieces(raw)
    scripts = {_script(text[-1:]) for text in own}
    last = _worst(own) - _PENALTY
    found = []
    for text in order:
        if text in special.values() or text in own:
            found.append(_own_piece(text, own, special))
        elif _LANGUAGE.fullmatch(text):
            found.append(Piece(_SPACE + text, USER_DEFINED))
        elif len(text) == 1 and _script(text) in scripts | {""}:
            found.append(Piece(text, NORMAL, last))
        else:
            found.append(Piece(text, CONTROL))
    return found


def _worst(own: Mapping[str, tuple[float, int]]) -> float:
    """The least score of a piece."""
    return min((score for score, kind in own.values() if kind == NORMAL), default=0.0)


def _script(character: str) -> str:
    """The script of a letter, as Unicode names it; "" of what is none."""
    if not character.isalpha():
        return ""
    return unicodedata.name(character, "").partition(" ")[0]


def _target_pieces(raw: bytes, order: Sequence[str], special: Mapping[str, str]) -> list[Piece]:
    """Pieces of the target's model, and those of the source's alone, which can be written."""
    own = scored_pieces(raw)
    last = _worst(own) - _PENALTY  # BPE: merged after all others, and parted again
    return [
        _own_piece(text, own, special)
        if text in special.values() or text in own
        else Piece(text, UNUSED, last)
        for text in order
    ]


def _own_piece(
    text: str, own: Mapping[str, tuple[float, int]], special: Mapping[str, str]
) -> Piece:
    if text == special["unk"]:
        return Piece(text, UNKNOWN)
    if text in special.values():
        return Piece(text, CONTROL)
    # A control piece of theirs that has a role there alone is one that is never cut here, too.
    return Piece(text, CONTROL) if own[text][1] == UNKNOWN else Piece(text)


def write_marian_tokenizers(
    folder: Path, src: Tokenizer, tgt: Tokenizer, max_len: int, where: Path
) -> None:
    """Writes tokenizers so that transformers' MarianTokenizer loads them.

    Args:
        folder: the directory to write.
        src: of the source.
        tgt: of the target.
        max_len: the longest text that the model reads.
        where: the model, for messages.

    Raises:
        DataError: a tokenizer is no SentencePiece model, or they have other special tokens.
    """
    sides = ((src, _SOURCE, _VOCABULARY), (tgt, _TARGET, _TARGET_VOCABULARY))
    names = [[_plain(piece) for piece in tokenizer.vocabulary] for tokenizer, *_ in sides]
    # With one vocabulary theirs takes the pieces of an output for those of the source's model.
    apart = src.to_bytes() != tgt.to_bytes()
    for role in _USUAL:
        index = tgt.special_ids[role]
        if index < 0 or names[0].count(names[1][index]) != 1:
            raise DataError(f"{where}: source and target need one {role} token for {_CLASS}")
    for (tokenizer, file, vocabulary), pieces in zip(sides, names, strict=True):
        if not isinstance(tokenizer, SentencePieceTokenizer):
            raise DataError(
                f"{where}: {tokenizer.file_name}: {_CLASS} has SentencePiece models alone; train a "
                "translator with one"
            )
        write_atomically(inside(folder, file), tokenizer.to_bytes())
        if apart or vocabulary == _VOCABULARY:
            table = {piece: index for index, piece in enumerate(pieces)}
            _write(inside(folder, vocabulary), table)
    settings: dict[str, object] = {
        "tokenizer_class": _CLASS,
        "separate_vocabs": apart,
        "model_max_length": max_len,
        "clean_up_tokenization_spaces": False,
    }
    settings |= {f"{role}_token": names[1][tgt.special_ids[role]] for role in _USUAL}
    _write(inside(folder, SETTINGS), settings)


def _plain(piece: str) -> str:
    """A piece under their name."""
    return piece[1:] if _LANGUAGE.fullmatch(piece[1:]) and piece[0] == _SPACE else piece


def _write(file: Path, content: Mapping[str, object]) -> None:
    text = json.dumps(content, indent=2, ensure_ascii=False)
    write_atomically(file, text.encode("utf-8") + b"\n")
