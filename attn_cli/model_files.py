"""The files of a model directory as far as they can be read without PyTorch.

Their names, config.json as plain values, and the header of a safetensors file.
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import NamedTuple, TypedDict, cast

from attn_cli.config import load_json, nearest, shown
from attn_cli.errors import DataError, NotThereError
from attn_cli.files import inside

FORMAT = 2
WEIGHTS = "model.safetensors"
CONFIG = "config.json"
LOG = "train.jsonl"
DATA = "data"  # beside the saved options in config.json: the fingerprint of the corpus
EXAMPLES = "examples"  # likewise: how many are trained on, and how many validate
AVERAGED = "averaged"  # likewise: the directories of the models that this is the mean of
NOTE = "note"  # in what is told of the weights: what a user must know of them
FLOATS = ("F64", "F32", "F16", "BF16")  # what weights may be stored as
SCALE = ":scale"  # behind the name of a tensor in 8 bits: what its rows are multiplied with
_HUGGING_FACE = ("model_type", "architectures")  # keys of its config.json
_HEADER_LIMIT = 16 << 20
_TENSOR_LIMIT = 100_000
_BYTES = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2, "I64": 8, "I32": 4, "I8": 1, "U8": 1, "BOOL": 1}


class PlainConfig(TypedDict):
    """What config.json holds, the model's and the heads' own values unchecked."""

    attn: object
    arch: str
    task: str
    model: dict[str, object]
    heads: object
    options: dict[str, object]
    finished: bool


class StoredTensor(TypedDict):
    """What a file's header says of a tensor."""

    dtype: str
    shape: list[int]
    data_offsets: list[int]


class Header(NamedTuple):
    """The header of a safetensors file: its tensors by name, and texts about them."""

    tensors: dict[str, StoredTensor]
    texts: dict[str, object]


def read_plain_config(path: Path) -> PlainConfig:
    """Reads a directory's config.json; what its architecture asks for is not checked.

    Raises:
        NotThereError: there is no such directory, or none of a model.
        DataError: it is foreign, of a newer format, or has unknown or bad values.
    """
    file = path / CONFIG
    if not path.is_dir():
        raise NotThereError(
            f"{path}: no such model directory; train one, or name another (-m, or --init to start "
            "a training)"
        )
    if not file.exists() and not file.is_symlink():
        raise NotThereError(
            f"{path}: no model directory, as it has no {CONFIG}; train one there, or name another"
        )
    values = load_json(inside(path, CONFIG))
    if "format" not in values and any(key in values for key in _HUGGING_FACE):
        raise DataError(
            f"{path}: a directory of Hugging Face ({shown(values.get('model_type'))}), not of "
            f"attn: attn convert {path} -o NEW reads it"
        )
    number = values.get("format")
    if number != FORMAT or isinstance(number, bool):
        remedy = "train or convert the model again" if number == 1 else "use that version"
        raise DataError(
            f"{file}: format {shown(number)}, but this attn reads format {FORMAT}; it was written "
            f"by attn {shown(values.get('attn', 'unknown'))}: {remedy}"
        )
    kinds = {"arch": str, "task": str, "model": dict, "options": dict, "finished": bool}
    for key in values:
        if key not in {"format", "attn", "heads", *kinds}:
            raise DataError(f"{file}: unknown key {shown(key)}{nearest(key, kinds)}")
    for key, kind in kinds.items():
        if not isinstance(values.get(key), kind):
            raise DataError(f"{file}: {key!r} is missing or no {kind.__name__}")
    return cast(PlainConfig, {"attn": None, "heads": [], **values})


def facts_of(header: Header) -> dict[str, object]:
    """What is told of the weights in a header: the step, the metric and its figure, a note."""
    _, _, text = str(header.texts.get("attn", "")).partition(" ")
    try:
        facts = json.loads(text) if text else {}
    except (ValueError, RecursionError):
        return {}  # whoever loads them says what is wrong
    return facts if isinstance(facts, dict) else {}


def note_in(facts: dict[str, object]) -> str:
    """What a user must know of the weights; nothing of most."""
    note = facts.get(NOTE, "")
    return shown(note, 400).strip("'") if isinstance(note, str) and note else ""


def read_header(path: Path) -> Header:
    """The header of a safetensors file, checked against the file's size.

    Raises:
        DataError: it is not a whole and sane safetensors file.
    """
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            if size < 10 or length > min(size - 8, _HEADER_LIMIT):
                raise DataError(f"{path}: not a safetensors file, or cut short")
            raw = file.read(length)
            # Counted before it is parsed: Python's objects take many times the text's room.
            if raw.count(b"data_offsets") > _TENSOR_LIMIT:
                raise DataError(f"{path}: more than {_TENSOR_LIMIT:,} tensors")
            header = json.loads(raw.decode("utf-8"))
    except OSError as error:
        raise DataError(f"{path}: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path}: not a safetensors file: {error}") from error
    texts = header.pop("__metadata__", {}) if isinstance(header, dict) else None
    if not isinstance(texts, dict):
        raise DataError(f"{path}: malformed header")
    spans = []
    for name, entry in header.items():
        span = _span(entry)
        if span is None:
            raise DataError(f"{path}: malformed header entry {name[:80]!r}")
        spans.append(span)
    n_bytes, at = size - 8 - length, 0
    for start, end in sorted(spans):
        if start != at:
            raise DataError(f"{path}: tensors overlap or leave gaps")
        at = end
    if at != n_bytes:
        raise DataError(f"{path}: cut short or padded: {n_bytes} bytes, {at} declared")
    return Header(header, texts)


def _span(entry: object) -> tuple[int, int] | None:
    """First and last byte of a declared tensor, if the declaration makes sense."""
    if not isinstance(entry, dict) or entry.get("dtype") not in _BYTES:
        return None
    shape, offsets = _whole_numbers(entry.get("shape")), _whole_numbers(entry.get("data_offsets"))
    if shape is None or len(shape) > 8 or offsets is None or len(offsets) != 2:
        return None
    start, end = offsets
    return (start, end) if end - start == math.prod(shape) * _BYTES[entry["dtype"]] else None


def _whole_numbers(value: object) -> list[int] | None:
    """The value, if it is a list of numbers from 0."""
    if isinstance(value, list) and all(type(n) is int and n >= 0 for n in value):
        return value
    return None
