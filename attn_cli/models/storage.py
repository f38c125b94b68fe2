"""Tensors on disk: safetensors files with a checksum, checked before anything is allocated.

No pickle. A file that is truncated, altered, foreign or absurd is refused by name.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path

import safetensors.torch
import torch
from torch import Tensor

from attn_cli.errors import DataError
from attn_cli.files import write_atomically
from attn_cli.model_files import FLOATS as FLOATS
from attn_cli.model_files import SCALE as SCALE
from attn_cli.model_files import StoredTensor
from attn_cli.model_files import read_header as read_header
from attn_cli.nn.int8 import dequantize, quantize

_NARROWEST = 16  # columns of a matrix that is stored in 8 bits: each row has a scale, too


def save_tensors(path: Path, tensors: Mapping[str, Tensor], meta: Mapping[str, object]) -> None:
    """Writes tensors and JSON metadata with a SHA-256 over both, safely (see `files`)."""
    plain = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    text = json.dumps(meta)
    # One entry alone: safetensors writes several in a random order, and equal weights must be
    # equal bytes.
    header = {"attn": f"{_checksum(plain, text)} {text}"}
    write_atomically(path, safetensors.torch.save(plain, header))


def load_tensors(
    path: Path, expected: Mapping[str, tuple[int, ...]] | None = None
) -> tuple[dict[str, Tensor], dict[str, object]]:
    """Reads what `save_tensors` wrote.

    Args:
        path: the file.
        expected: the names and shapes that must be in it, if they are known beforehand.

    Raises:
        DataError: the file is missing, truncated, altered or foreign, or has other tensors.
    """
    header = read_header(path)
    if expected is not None:
        _compare(path, header.tensors, expected)
    digest, _, text = str(header.texts.get("attn", "")).partition(" ")
    if not text:
        raise DataError(f"{path}: not written by attn (no checksum)")
    _check_room(path)
    try:
        tensors = safetensors.torch.load_file(path)
        facts = json.loads(text)
    except (safetensors.SafetensorError, ValueError, OSError, RecursionError) as error:
        raise DataError(f"{path}: can't be loaded: {error}") from error
    if _checksum(tensors, text) != digest:
        raise DataError(f"{path}: damaged (its checksum differs); restore it from a copy")
    if not isinstance(facts, dict):
        raise DataError(f"{path}: malformed header")
    return tensors, facts


def narrowed(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The same with matrices, or stacks of them, in 8 bits, and the scales of their rows."""
    found: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        found[name] = tensor
        if tensor.dim() > 1 and tensor.shape[-1] >= _NARROWEST:
            found[name], found[name + SCALE] = quantize(tensor)
    return found


def widened(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The same with those that are stored in 8 bits in float32."""
    return {
        name: dequantize(tensor, tensors[name + SCALE]) if name + SCALE in tensors else tensor
        for name, tensor in tensors.items()
        if not name.endswith(SCALE)
    }


def load_foreign(path: Path) -> dict[str, Tensor]:
    """Reads another project's safetensors file; what is in it is the caller's to check.

    Raises:
        DataError: it is missing, not whole and sane, or larger than this machine's memory.
    """
    read_header(path)
    _check_room(path)
    try:
        return safetensors.torch.load_file(path)
    except (safetensors.SafetensorError, ValueError, OSError) as error:
        raise DataError(f"{path}: can't be loaded: {error}") from error


def _check_room(path: Path) -> None:
    """Raises DataError if the file is larger than this machine's memory."""
    size, memory = path.stat().st_size, os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    if size > memory:
        raise DataError(
            f"{path}: needs {size / 2**30:,.0f} GiB of memory, this machine has "
            f"{memory / 2**30:,.0f} GiB"
        )


def _compare(
    path: Path, stored: Mapping[str, StoredTensor], expected: Mapping[str, tuple[int, ...]]
) -> None:
    int8 = [
        name
        for name, shape in expected.items()
        if len(shape) > 1 and name in stored and stored[name]["dtype"] == "I8"
    ]
    expected = {**expected, **{name + SCALE: expected[name][:-1] for name in int8}}
    for name, shape in expected.items():
        if name not in stored:
            raise DataError(f"{path}: tensor {name!r} is missing; config.json asks for it")
        there = tuple(stored[name]["shape"])
        if there != shape:
            raise DataError(f"{path}: tensor {name!r} has shape {there}, config.json says {shape}")
        if stored[name]["dtype"] not in ("F32", "F16", "BF16") and name not in int8:
            raise DataError(f"{path}: tensor {name!r} has type {stored[name]['dtype']}")
    for name in stored:
        if name not in expected:
            raise DataError(
                f"{path}: unexpected tensor {name[:80]!r}: config.json asks for no such weight"
            )


def check_finite(path: Path, tensors: Mapping[str, Tensor]) -> None:
    """Raises DataError if a weight is infinite or not a number: no output could be trusted."""
    for name, tensor in tensors.items():
        if not bool(torch.isfinite(tensor).all()):
            raise DataError(f"{path}: tensor {name!r} has values that are not finite numbers")


def _checksum(tensors: Mapping[str, Tensor], text: str) -> str:
    digest = hashlib.sha256(text.encode("utf-8"))
    for name in sorted(tensors):
        tensor = tensors[name]
        digest.update(f"{name} {tensor.dtype} {list(tensor.shape)}".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()
