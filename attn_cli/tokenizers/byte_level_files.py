"""GPT-2's two tokenizer files, `vocab.json` and `merges.txt`, as one `tokenizer.json`."""

from __future__ import annotations

import json
from pathlib import Path

from attn_cli.config import load_json, shown
from attn_cli.errors import DataError
from attn_cli.files import inside, read_bounded
from attn_cli.tokenizers.huggingface_tokenizer import JsonTokenizer
from attn_cli.tokenizers.tokenizer import SIZE_LIMIT, TOO_LARGE, Tokenizer

VOCABULARY, MERGES = "vocab.json", "merges.txt"
_SETTINGS = "tokenizer_config.json"
_END_OF_TEXT = "<|endoftext|>"


def has_byte_level_files(folder: Path) -> bool:
    """Whether a directory holds both files."""
    return (folder / VOCABULARY).exists() and (folder / MERGES).exists()


def read_byte_level_files(folder: Path) -> JsonTokenizer:
    """Byte-level byte-pair encoding (Radford et al. 2019, 2.2) of a directory with both files.

    `add_prefix_space` of a tokenizer_config.json beside them is heeded.

    Raises:
        DataError: a file can't be used.
    """
    file = inside(folder, VOCABULARY)
    vocabulary = json_object(_bytes(file), file)
    try:
        merges = _bytes(inside(folder, MERGES)).decode("utf-8-sig").split("\n")
    except UnicodeDecodeError as error:
        raise DataError(f"{folder / MERGES}: not UTF-8 at byte {error.start + 1}") from error
    shape = {"type": "ByteLevel", "trim_offsets": True, "use_regex": True}
    special: dict[str, object] = {
        "content": _END_OF_TEXT,
        "id": vocabulary.get(_END_OF_TEXT),
        "special": True,
    }
    special |= dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized"), False)
    values: dict[str, object] = {
        "version": "1.0",
        "added_tokens": [special] if _END_OF_TEXT in vocabulary else [],
        "pre_tokenizer": {**shape, "add_prefix_space": _begins_with_space(folder)},
        "decoder": {**shape, "add_prefix_space": True},
        "model": {
            "type": "BPE",
            "vocab": vocabulary,
            "merges": [
                pair for line in merges if (pair := line.rstrip("\r")) and pair[:8] != "#version"
            ],
        },
    }
    bare = JsonTokenizer(json.dumps(values, ensure_ascii=False).encode("utf-8"), str(file))
    values["padding"] = end_as_padding(bare)
    return JsonTokenizer(json.dumps(values, ensure_ascii=False).encode("utf-8"), str(file))


def end_as_padding(tokenizer: Tokenizer) -> dict[str, object] | None:
    """GPT-2 has one special token alone: padding, behind the end of a text, is that one too."""
    if tokenizer.pad_id >= 0 or tokenizer.eos_id < 0:
        return None
    shape = {"strategy": "BatchLongest", "direction": "Right", "pad_to_multiple_of": None}
    (piece,) = tokenizer.pieces([tokenizer.eos_id])
    return {**shape, "pad_id": tokenizer.eos_id, "pad_type_id": 0, "pad_token": piece}


def json_object(raw: bytes, file: Path) -> dict[str, object]:
    """The JSON object that a file holds.

    Raises:
        DataError: it holds something else.
    """
    try:
        values = json.loads(raw.decode("utf-8"))
    except (ValueError, RecursionError) as error:
        raise DataError(f"{file}: not JSON: {error}") from error
    if not isinstance(values, dict):
        raise DataError(f"{file}: a JSON object is needed")
    return values


def _begins_with_space(folder: Path) -> bool:
    if not (folder / _SETTINGS).exists():
        return False
    value = load_json(inside(folder, _SETTINGS)).get("add_prefix_space", False)
    if not isinstance(value, bool):
        raise DataError(
            f"{_SETTINGS}: add_prefix_space: true or false is needed, not {shown(value)}"
        )
    return value


def _bytes(file: Path) -> bytes:
    return read_bounded(file, SIZE_LIMIT, TOO_LARGE)
