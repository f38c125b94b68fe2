"""What a decoder remembers between two steps, and what a search does with it.

A state is a frozen dataclass whose fields say how they take part: `BEAMS` have a row for each beam,
`sentences()` one for each sentence, which its beams share, and `LONGEST` holds for all of them.

Shapes: N sentences, K beams each, R = N*K rows.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from typing import Self, TypeAlias

import torch
from torch import Tensor
from torch.nn import functional as F

from attn_cli.nn.cache import KeyValueCache

Part: TypeAlias = "Tensor | KeyValueCache | tuple[Part, ...]"  # tuples may be named

BEAMS = {"of": "beams"}  # tensors of R rows, or a cache of them
LONGEST = {"of": "all"}  # a number: the greatest of any sentence


def sentences(padded: int | None = None) -> dict[str, object]:
    """The metadata of a field of tensors of N rows.

    Args:
        padded: the dimension whose length may be another in another state: `merge` pads it.
    """
    return {"of": "sentences", "padded": padded}


@dataclass(frozen=True)
class BeamState:
    """The state of N sentences with K beams each: a `search.step.DecoderState`.

    Attributes:
        beam_size: K.
    """

    beam_size: int

    def expand(self, beam_size: int) -> Self:
        """The state of K = 1 repeated to `beam_size` beams; what is of sentences is shared."""
        found = self._of(
            lambda cache: cache.expand(beam_size), lambda x: x.repeat_interleave(beam_size, 0)
        )
        return dataclasses.replace(found, beam_size=beam_size)

    def reorder(self, beams: Tensor) -> Self:
        """Beam `beams[n, k]` becomes beam k of sentence n. Shape: beams (N, K)."""
        first = torch.arange(len(beams), device=beams.device)[:, None] * self.beam_size
        rows = (first + beams).flatten()
        return self._of(lambda cache: cache.reorder(beams), lambda x: x.index_select(0, rows))

    def keep(self, sentences: Tensor) -> Self:
        """The state of the sentences with these indices alone. Shape: sentences (M,)."""
        beams = torch.arange(self.beam_size, device=sentences.device)
        rows = (sentences[:, None] * self.beam_size + beams).flatten()
        return self._of(
            lambda cache: cache.keep(sentences),
            lambda x: x.index_select(0, rows),
            lambda x: x.index_select(0, sentences),
        )

    def merge(self, other: Self) -> Self:
        """The sentences of this state, then those of `other` (of the same K)."""
        parts = {field.name: vars(self)[field.name] for field in dataclasses.fields(self)}
        for field in dataclasses.fields(self):
            mine, theirs = parts[field.name], vars(other)[field.name]
            if field.metadata == LONGEST:
                parts[field.name] = max(mine, theirs)
            elif field.metadata:
                parts[field.name] = _join(mine, theirs, field.metadata.get("padded"))
        return dataclasses.replace(self, **parts)

    def _of(
        self,
        cache: Callable[[KeyValueCache], KeyValueCache],
        rows: Callable[[Tensor], Tensor],
        sentences: Callable[[Tensor], Tensor] | None = None,
    ) -> Self:
        """The state with what is of beams changed, caches by themselves, and of sentences."""
        parts = {field.name: vars(self)[field.name] for field in dataclasses.fields(self)}
        for field in dataclasses.fields(self):
            part, of = parts[field.name], field.metadata.get("of")
            if isinstance(part, KeyValueCache):
                parts[field.name] = cache(part)
            elif of == "beams":
                parts[field.name] = _each(part, rows)
            elif of == "sentences" and sentences is not None:
                parts[field.name] = _each(part, sentences)
        return dataclasses.replace(self, **parts)


def _each(part: Part, change: Callable[[Tensor], Tensor]) -> Part:
    """The same with every tensor changed."""
    if isinstance(part, Tensor):
        return change(part)
    assert isinstance(part, tuple), "a cache changes by itself"
    return _like(part, [_each(piece, change) for piece in part])


def _join(first: Part, second: Part, padded: int | None) -> Part:
    """The rows of one part, then of another; the shorter tensors are padded with zeros."""
    if isinstance(first, Tensor) and isinstance(second, Tensor):
        if padded is None:
            return torch.cat((first, second))
        length = max(first.shape[padded], second.shape[padded])
        inner = (0, 0) * (first.dim() - padded - 1)
        return torch.cat([F.pad(x, (*inner, 0, length - x.shape[padded])) for x in (first, second)])
    if isinstance(first, KeyValueCache) and isinstance(second, KeyValueCache):
        return first.merge(second)
    assert isinstance(first, tuple) and isinstance(second, tuple)
    return _like(first, [_join(*pieces, padded) for pieces in zip(first, second, strict=True)])


def _like(part: tuple[Part, ...], pieces: list[Part]) -> tuple[Part, ...]:
    """A tuple of the same class, which may have names."""
    make: Callable[..., tuple[Part, ...]] = type(part)
    return make(pieces) if make is tuple else make(*pieces)
