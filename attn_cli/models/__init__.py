"""Assemblies of `nn`, one file per family, and the table that names them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from attn_cli.config import from_dict, nearest
from attn_cli.errors import DataError
from attn_cli.models.seq2seq import Transformer

MODELS: dict[str, type[Any]] = {"transformer": Transformer}


def read_model_config(arch: str, values: Mapping[str, Any], where: str) -> Any:
    """An architecture's configuration from plain values, every one of them checked.

    Raises:
        DataError: unknown architecture, unknown keys, bad values.
    """
    if arch not in MODELS:
        raise DataError(f"{where}: unknown architecture {arch[:80]!r}{nearest(arch, MODELS)}")
    return from_dict(MODELS[arch].Config, values, where)


def build_model(arch: str, config: Any) -> Any:
    """A model with fresh weights."""
    return MODELS[arch](config)
