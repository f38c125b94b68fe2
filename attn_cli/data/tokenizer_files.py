"""The tokenizers of a model directory: one for source and target, or one each."""

from __future__ import annotations

from pathlib import Path

from attn_cli.data.tokenizer import FILE_NAMES, Tokenizer, load_tokenizer
from attn_cli.errors import DataError
from attn_cli.files import inside, write_atomically

_SOURCE = "src."  # begins the name of the source's own tokenizer


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
    own = _find(folder, _SOURCE)
    return (_load(own) if own else tgt), tgt


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
    found = (prefix + name for name in FILE_NAMES if (folder / (prefix + name)).exists())
    return next((inside(folder, name) for name in found), None)
