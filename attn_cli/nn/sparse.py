"""Products of a sparse matrix with a dense one, without a dense copy of either's zeros.

`F.embedding_bag` sums weighted rows of a matrix without storing one row per entry; on a CPU it is
ten times faster than gathering the rows and `index_add`, and it always adds in the same order.

Shapes: R rows, C columns, M entries (the stored elements), K width of the dense matrix.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.autograd.function import FunctionCtx
from torch.nn import functional as F


@dataclass(frozen=True)
class SparsePattern:
    """Where the entries of a matrix stand, row by row; their values are given apart.

    Attributes:
        n_rows: R.
        n_cols: C.
        rows: the row of each entry, ascending. Shape: (M,).
        cols: its column. Shape: (M,).
        row_starts: the first entry of each row. Shape: (R,).
        by_col: the entries ordered by column. Shape: (M,).
        rows_by_col: their rows. Shape: (M,).
        col_starts: the first of each column in that order. Shape: (C,).
    """

    n_rows: int
    n_cols: int
    rows: Tensor
    cols: Tensor
    row_starts: Tensor
    by_col: Tensor
    rows_by_col: Tensor
    col_starts: Tensor

    @classmethod
    def build(cls, rows: Tensor, cols: Tensor, n_rows: int, n_cols: int) -> SparsePattern:
        """The pattern of entries that are ordered by row.

        Shape: rows and cols (M,).

        Raises:
            ValueError: the rows are not ascending, or an entry is outside the matrix.
        """
        if len(rows) and bool((rows.diff() < 0).any()):
            raise ValueError("the entries are not ordered by row")
        for indices, size in ((rows, n_rows), (cols, n_cols)):
            if len(indices) and not 0 <= int(indices.min()) <= int(indices.max()) < size:
                raise ValueError("an entry is outside the matrix")
        by_col = torch.argsort(cols, stable=True)
        return cls(
            n_rows,
            n_cols,
            rows,
            cols,
            _starts(rows, n_rows),
            by_col,
            rows[by_col],
            _starts(cols, n_cols),
        )

    def __len__(self) -> int:
        return len(self.rows)

    def to(self, device: torch.device) -> SparsePattern:
        """The pattern on a device."""
        tensors = {name: v.to(device) for name, v in vars(self).items() if isinstance(v, Tensor)}
        return SparsePattern(self.n_rows, self.n_cols, **tensors)


def _starts(indices: Tensor, size: int) -> Tensor:
    counts = torch.bincount(indices, minlength=size)
    return counts.cumsum(0) - counts


class _Context(FunctionCtx):
    """What autograd keeps from the forward pass for the backward pass."""

    pattern: SparsePattern
    saved_tensors: tuple[Tensor, ...]
    needs_input_grad: tuple[bool, ...]


class _SparseProduct(torch.autograd.Function):
    """A X and its gradients: Aᵀ G for X, and ⟨Gᵣ, X_c⟩ for the entry (r, c) of A."""

    @staticmethod
    def forward(ctx: _Context, pattern: SparsePattern, values: Tensor, dense: Tensor) -> Tensor:
        """Shape: values (M,), dense (C, K) -> (R, K)."""
        ctx.pattern = pattern
        ctx.save_for_backward(values, dense)
        return _bags(pattern.cols, pattern.row_starts, values, dense)

    @staticmethod
    def backward(ctx: _Context, *grads: Tensor) -> tuple[Tensor | None, ...]:
        """Shape: (R, K) -> (M,), (C, K), each where it is needed."""
        pattern, (values, dense), grad = ctx.pattern, ctx.saved_tensors, grads[0].contiguous()
        d_values = d_dense = None
        if ctx.needs_input_grad[1]:
            d_values = torch.linalg.vecdot(
                grad.index_select(0, pattern.rows), dense.index_select(0, pattern.cols)
            )
        if ctx.needs_input_grad[2]:
            by_col = values.index_select(0, pattern.by_col)
            d_dense = _bags(pattern.rows_by_col, pattern.col_starts, by_col, grad)
        return None, d_values, d_dense


def _bags(indices: Tensor, starts: Tensor, weights: Tensor, table: Tensor) -> Tensor:
    if not len(indices):
        return table.new_zeros(len(starts), table.shape[1])
    return F.embedding_bag(indices, table, starts, mode="sum", per_sample_weights=weights)


def sparse_product(pattern: SparsePattern, values: Tensor, dense: Tensor) -> Tensor:
    """A X for a sparse A, differentiable in the values of A and in X.

    Shape: values (M,), dense (C, K) -> (R, K).
    """
    return _SparseProduct.apply(pattern, values, dense.contiguous())


class _RowSoftmax(torch.autograd.Function):
    """Softmax over the entries of each row; keeps the result alone for its gradient."""

    @staticmethod
    def forward(ctx: _Context, pattern: SparsePattern, scores: Tensor) -> Tensor:
        """Shape: (H, M) -> (H, M)."""
        index = pattern.rows.expand_as(scores)
        lowest = scores.new_full((len(scores), pattern.n_rows), -torch.inf)
        largest = lowest.scatter_reduce_(1, index, scores, "amax")
        probs = (scores - largest.index_select(1, pattern.rows)).exp_()
        probs /= _row_sums(pattern, probs).index_select(1, pattern.rows)
        ctx.pattern = pattern
        ctx.save_for_backward(probs)
        return probs

    @staticmethod
    def backward(ctx: _Context, *grads: Tensor) -> tuple[None, Tensor]:
        """The gradient α (G - Σ α G), the sum over the row. Shape: (H, M) -> (H, M)."""
        (probs,) = ctx.saved_tensors
        weighted = probs * grads[0]
        sums = _row_sums(ctx.pattern, weighted).index_select(1, ctx.pattern.rows)
        return None, weighted.sub_(probs * sums)


def _row_sums(pattern: SparsePattern, values: Tensor) -> Tensor:
    """Shape: (H, M) -> (H, R)."""
    return values.new_zeros(len(values), pattern.n_rows).index_add_(1, pattern.rows, values)


def row_softmax(pattern: SparsePattern, scores: Tensor) -> Tensor:
    """exp(s) / Σ exp(s) over the entries of each row, for H values per entry.

    The row's largest score is subtracted first, so that no exponential overflows.

    Shape: (H, M) -> (H, M).
    """
    return _RowSoftmax.apply(pattern, scores)
