"""Tokenizers as files, and those of a model directory: one for source and target, or one each."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from attn_cli.errors import DataError, NotThereError
from attn_cli.files import inside, write_atomically
from attn_cli.tokenizers.tokenizer import SIZE_LIMIT, TOO_LARGE, Tokenizer

FILE_NAMES = ("tokenizer.model", "tokenizer.json", "vocab.txt")  # in a model directory
_SETTINGS = "tokenizer_config.json"
_SOURCE = "src."  # begins the name of the source's own tokenizer


def tokenizer_from_bytes(name: str, raw: bytes) -> Tokenizer:
    """Rebuilds a tokenizer from its file's name and content.

    Raises:
        DataError: the name's ending is unknown, or the content is not what the ending says.
    """
    from attn_cli.tokenizers.huggingface_tokenizer import JsonTokenizer, WordPieceTokenizer
    from attn_cli.tokenizers.sentencepiece_tokenizer import SentencePieceTokenizer

    kinds: dict[str, Callable[[bytes, str], Tokenizer]] = {
        ".model": SentencePieceTokenizer,
        ".json": JsonTokenizer,
        ".txt": WordPieceTokenizer,
    }
    kind = kinds.get(Path(name).suffix)
    if kind is None:
        raise DataError(f"{name}: unknown kind of tokenizer; known endings: {', '.join(kinds)}")
    if len(raw) > SIZE_LIMIT:
        raise DataError(f"{name}: {TOO_LARGE}")
    return kind(raw, name)


def load_tokenizer(path: str) -> Tokenizer:
    """Loads a `.model`, a `vocab.txt`, a `tokenizer.json`, or a directory that has a tokenizer.

    Beside these three a directory may hold GPT-2's `vocab.json` and `merges.txt`.

    Raises:
        NotThereError: there is none, or it can't be opened.
        DataError: it is not what its ending says.
    """
    from attn_cli.tokenizers.byte_level_files import has_byte_level_files, read_byte_level_files

    place, remark = Path(path), ""
    if place.is_dir():
        files = [inside(place, name) for name in FILE_NAMES if (place / name).exists()]
        if not files and has_byte_level_files(place):
            return read_byte_level_files(place)
        if not files:
            known = f"{', '.join(FILE_NAMES)}, or vocab.json and merges.txt"
            raise NotThereError(f"{path}: no tokenizer in this directory ({known})")
        place = files[0]
        if place.name == "vocab.txt" and (place.parent / _SETTINGS).exists():
            apart = f"{place.parent / _SETTINGS} is not read: the pieces alone decide whether text"
            remark = f"{apart} is lower-cased; attn convert reads both"
    try:
        if place.exists() and not place.is_file():
            raise NotThereError(f"{place}: not a file")
        with place.open("rb") as file:
            raw = file.read(SIZE_LIMIT + 1)
    except OSError as error:
        raise NotThereError(f"{place}: {error.strerror}") from error
    tokenizer = tokenizer_from_bytes(str(place), raw)
    tokenizer.remarks += (remark,) if remark else ()
    return tokenizer


def write_tokenizers(folder: Path, src: Tokenizer, tgt: Tokenizer) -> None:
    """Writes the tokenizer, or both where source and target have their own."""
    write_atomically(inside(folder, tgt.file_name), tgt.to_bytes())
    if src is not tgt:
        write_atomically(inside(folder, _SOURCE + src.file_name), src.to_bytes())


def read_tokenizers(folder: Path) -> tuple[Tokenizer, Tokenizer]:
    """Source and target tokenizer of a model directory: the same object where they share one.

    Raises:
        DataError: there is none, or it is damaged, or it has no padding, begin or end token.
    """
    shared = _find(folder, "")
    if shared is None:
        raise DataError(f"{folder}: no tokenizer ({', '.join(FILE_NAMES)}) in the model directory")
    tgt = _load(shared)
    src = _find(folder, _SOURCE)
    return (_load(src) if src else tgt), tgt


def has_tokenizer(folder: Path) -> bool:
    """Whether a directory has a tokenizer that `load_tokenizer` reads."""
    from attn_cli.tokenizers.byte_level_files import has_byte_level_files

    return any((folder / name).exists() for name in FILE_NAMES) or has_byte_level_files(folder)


def remove_tokenizers(folder: Path) -> None:
    """Removes what `write_tokenizers` writes."""
    for name in FILE_NAMES:
        (folder / name).unlink(missing_ok=True)
        (folder / (_SOURCE + name)).unlink(missing_ok=True)


def _load(file: Path) -> Tokenizer:
    tokenizer = load_tokenizer(str(file))
    tokenizer.require_specials(str(file))
    return tokenizer


def _find(folder: Path, prefix: str) -> Path | None:
    names = (prefix + name for name in FILE_NAMES if (folder / (prefix + name)).exists())
    return next((inside(folder, name) for name in names), None)
