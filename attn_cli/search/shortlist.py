"""The tokens among which a batch of sentences is searched, where these are not all there are.

An output layer of few rows is a smaller product, and its softmax a smaller sum. Each sentence has
candidates of its own; the batch has a column for every token that is a candidate of one of them.

Shapes: N sentences, K beams, V vocabulary, U columns.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

import torch
from torch import Tensor

Product: TypeAlias = Callable[[Tensor], Tensor]  # vectors -> a number for each column


@dataclass(frozen=True)
class Shortlist:
    """The columns of a batch.

    Attributes:
        tokens: what each column stands for, ascending. Shape: (U,).
        columns: the other way round, by token; -1 where a token has none. Shape: (at most V,).
        mask: 0 where a sentence may take a column, -inf elsewhere. Shape: (N, U).
    """

    tokens: Tensor
    columns: Tensor
    mask: Tensor
    _products: dict[object, Product] = field(default_factory=dict, compare=False)

    @classmethod
    def of(cls, candidates: Sequence[Tensor]) -> Shortlist:
        """The union of the sentences' candidates. Shape: N of (each its own number,)."""
        flat = torch.cat(list(candidates))
        present = torch.zeros(int(flat.max()) + 1, dtype=torch.bool, device=flat.device)
        present[flat] = True
        (tokens,) = present.nonzero(as_tuple=True)
        columns = torch.full((len(present),), -1, device=flat.device)
        columns[tokens] = torch.arange(len(tokens), device=flat.device)
        sizes = torch.tensor([len(each) for each in candidates], device=flat.device)
        rows = torch.arange(len(sizes), device=flat.device).repeat_interleave(sizes)
        mask = torch.full((len(sizes), len(tokens)), float("-inf"), device=flat.device)
        mask[rows, columns[flat]] = 0.0
        return cls(tokens, columns, mask)

    def keep(self, sentences: Tensor) -> Shortlist:
        """The same columns for these sentences alone. Shape: sentences (M,)."""
        return dataclasses.replace(self, mask=self.mask[sentences])

    def of_tokens(self, tokens: Tensor) -> Tensor:
        """The columns of tokens that have one."""
        found = self.columns[tokens[tokens < len(self.columns)]]
        return found[found >= 0]

    def product(self, model: object, make: Callable[[Tensor], Product]) -> Product:
        """A model's output layer of these columns, made once: `make` takes the tokens."""
        if model not in self._products:
            self._products[model] = make(self.tokens)
        return self._products[model]

    def log_probs(self, logits: Tensor) -> Tensor:
        """Log-probabilities of a sentence's own columns. Shape: (N, K, U), as it returns."""
        return (logits + self.mask[:, None]).log_softmax(-1)
