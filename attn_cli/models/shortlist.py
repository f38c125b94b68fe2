"""The target tokens that a source's tokens suggest, as a table in a model directory.

An output layer of few rows is a small product, so a translator is asked for the tokens alone that
its training pairs align with the source's, and for the most frequent ones (L'Hostis et al. 2016;
Devlin 2017). The file is a safetensors file with a checksum, as the weights are.

Shapes: S source vocabulary, C candidates of a token, F frequent tokens.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import torch
from torch import Tensor

from attn_cli.errors import DataError, NotThereError
from attn_cli.files import inside
from attn_cli.models.storage import load_tensors, save_tensors

SHORTLIST = "shortlist.safetensors"
_REMEDY = "attn convert {} --shortlist PAIRS.tsv -o NEW makes a directory that has one"


@dataclass(frozen=True)
class CandidateTable:
    """Which tokens an output may have.

    Attributes:
        always: those that any output may have, the end token among them. Shape: (F,).
        by_token: those that a source token suggests, padded with -1. Shape: (S, C).
    """

    always: Tensor
    by_token: Tensor

    def candidates(self, source: Iterable[int], forced: Iterable[int] = ()) -> Tensor:
        """What the output of a source may have, ascending; `forced` tokens always are among it."""
        own = self.by_token[sorted(set(source))].flatten()
        forced = torch.tensor(list(forced), dtype=torch.int64)
        return torch.cat((self.always, own[own >= 0], forced)).unique()

    def save(self, folder: Path, n_pairs: int) -> None:
        """Writes it into a model directory, with the number of pairs that it was made of."""
        tensors = {"always": self.always.int(), "by_token": self.by_token.int()}
        save_tensors(inside(folder, SHORTLIST), tensors, {"pairs": n_pairs})

    @classmethod
    def load(cls, folder: Path, src_vocab: int, tgt_vocab: int, eos_id: int) -> Self:
        """Reads it from the directory of a model with these vocabularies.

        Raises:
            NotThereError: there is none.
            DataError: it is damaged, or that of another model.
        """
        file = inside(folder, SHORTLIST)
        if not file.exists():
            raise NotThereError(f"{folder}: no {SHORTLIST} (--shortlist); {_REMEDY.format(folder)}")
        tensors, _ = load_tensors(file)
        always, by_token = tensors.get("always"), tensors.get("by_token")
        shapes = [] if always is None or by_token is None else [always.dim(), *by_token.shape[:-1]]
        if shapes != [1, src_vocab] or always is None or by_token is None:
            raise DataError(f"{file}: not the shortlist of this model; {_REMEDY.format(folder)}")
        for tensor, least in ((always, 0), (by_token, -1)):
            whole = tensor.dtype == torch.int32
            if (
                not whole
                or tensor.numel()
                and not least <= tensor.min() <= tensor.max() < tgt_vocab
            ):
                raise DataError(f"{file}: names tokens that this model does not have")
        if not (always == eos_id).any():
            raise DataError(f"{file}: lacks the end token, without which no output ends")
        return cls(always.long(), by_token.long())


class Counts:
    """How often a source token is aligned to a target token, and how often each of these stands.

    Args:
        src_vocab: source tokens.
        tgt_vocab: target tokens.
    """

    def __init__(self, src_vocab: int, tgt_vocab: int) -> None:
        self._sizes = src_vocab, tgt_vocab
        self._links = torch.zeros(0, dtype=torch.int64)  # source * tgt_vocab + target, ascending
        self._weights = torch.zeros(0, dtype=torch.float64)
        self._frequency = torch.zeros(tgt_vocab, dtype=torch.float64)

    def add(self, src: Tensor, tgt: Tensor, weights: Tensor) -> None:
        """Counts links: source token, target token, and how much. Shape: (L,) each."""
        weights = weights.double()
        links = torch.cat((self._links, src * self._sizes[1] + tgt))
        each = torch.cat((self._weights, weights))
        self._links, at = links.unique(return_inverse=True)
        self._weights = torch.zeros(len(self._links), dtype=torch.float64)
        self._weights.index_add_(0, at, each)
        self._frequency.index_add_(0, tgt, weights)

    def table(self, each: int, frequent: int, always: Iterable[int]) -> CandidateTable:
        """The `each` best of every source token, and the `frequent` most frequent of all.

        Of equal ones the first in the vocabulary wins.

        Args:
            each: candidates of a source token.
            frequent: tokens that any output may have.
            always: further such tokens.
        """
        src_vocab, tgt_vocab = self._sizes
        order = self._weights.argsort(descending=True, stable=True)
        order = order[(self._links[order] // tgt_vocab).argsort(stable=True)]
        src, tgt = self._links[order] // tgt_vocab, self._links[order] % tgt_vocab
        first = torch.searchsorted(src, torch.arange(src_vocab))
        rank = torch.arange(len(src)) - first[src]
        best = rank < each
        by_token = torch.full((src_vocab, each), -1)
        by_token[src[best], rank[best]] = tgt[best]
        ranked = self._frequency.argsort(descending=True, stable=True)[:frequent]
        ranked = ranked[self._frequency[ranked] > 0]
        return CandidateTable(torch.cat((ranked, torch.tensor(sorted(always)))).unique(), by_token)
