"""Which matrices are tables: rows that are looked up or read out, not maps inside a layer."""

from __future__ import annotations

from typing import ClassVar

from torch import nn


class HasTables:
    """A module some of whose matrices are tables, as those of an `nn.Embedding` are.

    Optimizers treat them as embeddings and output layers (Jordan et al. 2024).

    Attributes:
        tables: names of these parameters of its own.
    """

    tables: ClassVar[tuple[str, ...]] = ()


class OutputLinear(nn.Linear, HasTables):
    """The last map of a model: a row for each output."""

    tables: ClassVar[tuple[str, ...]] = ("weight",)
