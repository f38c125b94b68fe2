"""Products of a sparse matrix with a dense one, without a dense copy of either's zeros.

`F.embedding_bag` sums weighted rows of a matrix without storing one row per entry; on a CPU it is
ten times faster than gathering the rows and `index_add`, and it always adds in the same order.

Shapes: R rows, C columns, M entries (the stored elements), K width of the dense matrix, H values
of an entry (of as many sparse matrices of one pattern).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.autograd.function import FunctionCtx
from torch.nn import functional as F

_AT_ONCE = 1 << 18  # numbers of a gathered matrix that stay in a cache
_CLOSE = 60.0  # e^-60 is no denormal number


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

    def of_rows(self, rows: Tensor) -> tuple[SparsePattern, Tensor]:
        """Some rows alone, and which entries are left.

        Shape: rows (r,) -> a pattern of r rows, (m,).
        """
        ends = torch.cat([self.row_starts, self.row_starts.new_tensor([len(self)])])[1:]
        starts = self.row_starts[rows]
        counts = ends[rows] - starts
        before = counts.cumsum(0) - counts
        new_rows = torch.arange(len(rows), device=rows.device).repeat_interleave(counts)
        entries = torch.arange(len(new_rows), device=rows.device) + (starts - before)[new_rows]
        return SparsePattern.build(new_rows, self.cols[entries], len(rows), self.n_cols), entries

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
        """Shape: values (M, H), dense (C, H, K) -> (R, H, K)."""
        ctx.pattern = pattern
        ctx.save_for_backward(values, dense)
        return _head_bags(pattern.cols, pattern.row_starts, values, dense)

    @staticmethod
    def backward(ctx: _Context, *grads: Tensor) -> tuple[Tensor | None, ...]:
        """Shape: (R, H, K) -> (M, H), (C, H, K), each where it is needed."""
        pattern, (values, dense), grad = ctx.pattern, ctx.saved_tensors, grads[0]
        d_values = d_dense = None
        if ctx.needs_input_grad[1]:
            d_values = _products_of_entries(pattern, grad.contiguous(), dense)
        if ctx.needs_input_grad[2]:
            by_col = values.index_select(0, pattern.by_col)
            d_dense = _head_bags(pattern.rows_by_col, pattern.col_starts, by_col, grad)
        return None, d_values, d_dense


def _head_bags(indices: Tensor, starts: Tensor, weights: Tensor, table: Tensor) -> Tensor:
    """Weighted sums of rows, one head at a time: its rows stay in the cache.

    Shape: indices (M,), starts (n,), weights (M, H), table (rows, H, K) -> (n, H, K).
    """
    by_head = zip(weights.t().contiguous(), table.transpose(0, 1).contiguous(), strict=True)
    heads = [_bags(indices, starts, rows, weight) for weight, rows in by_head]
    return heads[0][:, None] if len(heads) == 1 else torch.stack(heads, 1)


def _products_of_entries(pattern: SparsePattern, of_rows: Tensor, of_cols: Tensor) -> Tensor:
    """Scalar products of a row's vector and a column's, for as many entries as fit a cache.

    Shape: (R, H, K), (C, H, K) -> (M, H).
    """
    size = max(1, _AT_ONCE // of_rows[0].numel()) if len(of_rows) else 1
    parts = [
        of_rows.index_select(0, rows).mul_(of_cols.index_select(0, cols)).sum(-1)
        for rows, cols in zip(pattern.rows.split(size), pattern.cols.split(size), strict=True)
    ]
    return torch.cat(parts) if len(parts) > 1 else parts[0]


def _bags(indices: Tensor, starts: Tensor, table: Tensor, weights: Tensor | None = None) -> Tensor:
    """Sums of rows of a table, weighted or not. Shape: (M,), (n,), (rows, K) -> (n, K)."""
    if not len(indices):
        return table.new_zeros(len(starts), table.shape[1])
    return F.embedding_bag(indices, table, starts, mode="sum", per_sample_weights=weights)


def _wide(x: Tensor) -> Tensor:
    """bf16 as float32: sums of rows want one type of all, and there is nothing to gain by it."""
    return x.float() if x.dtype == torch.bfloat16 else x


def sparse_product(pattern: SparsePattern, values: Tensor, dense: Tensor) -> Tensor:
    """A X for a sparse A, or for H of them, differentiable in the values of A and in X.

    Shape: values (M,), dense (C, K) -> (R, K); or (M, H), (C, H, K) -> (R, H, K).
    """
    values, dense = _wide(values), _wide(dense)
    if values.dim() == 1:
        return _SparseProduct.apply(pattern, values[:, None], dense[:, None]).squeeze(1)
    return _SparseProduct.apply(pattern, values, dense)


class _PairSums(torch.autograd.Function):
    """A row's vector plus a column's; the gradient is summed over the row, and the column."""

    @staticmethod
    def forward(ctx: _Context, pattern: SparsePattern, of_rows: Tensor, of_cols: Tensor) -> Tensor:
        """Shape: (R, K), (C, K) -> (M, K)."""
        ctx.pattern = pattern
        sums = of_cols.index_select(0, pattern.cols)
        return sums.add_(of_rows.index_select(0, pattern.rows))

    @staticmethod
    def backward(ctx: _Context, *grads: Tensor) -> tuple[Tensor | None, ...]:
        """Shape: (M, K) -> (R, K), (C, K)."""
        pattern, grad = ctx.pattern, grads[0].contiguous()
        return None, _row_sums(pattern, grad), _bags(pattern.by_col, pattern.col_starts, grad)


def pair_sums(pattern: SparsePattern, of_rows: Tensor, of_cols: Tensor) -> Tensor:
    """The sum of a row's vector and a column's, for each entry.

    Shape: (R, K), (C, K) -> (M, K).
    """
    return _PairSums.apply(pattern, _wide(of_rows), _wide(of_cols))


class _RowSoftmax(torch.autograd.Function):
    """Softmax over the entries of each row; keeps the result alone for its gradient."""

    @staticmethod
    def forward(ctx: _Context, pattern: SparsePattern, scores: Tensor) -> Tensor:
        """Shape: (M, H) -> (M, H)."""
        probs = (scores - _subtrahend(pattern, scores)).exp_()
        probs /= _row_sums(pattern, probs).index_select(0, pattern.rows)
        ctx.pattern = pattern
        ctx.save_for_backward(probs)
        return probs

    @staticmethod
    def backward(ctx: _Context, *grads: Tensor) -> tuple[None, Tensor]:
        """The gradient α (G - Σ α G), the sum over the row. Shape: (M, H) -> (M, H)."""
        (probs,) = ctx.saved_tensors
        weighted = probs * grads[0]
        sums = _row_sums(ctx.pattern, weighted).index_select(0, ctx.pattern.rows)
        return None, weighted.sub_(sums.mul_(probs))


def _subtrahend(pattern: SparsePattern, scores: Tensor) -> Tensor:
    """What keeps exponentials finite, and a row's sum above 0.

    The largest of all scores where they lie close together, which is found far sooner; else the
    largest of each entry's row.

    Shape: (M, H) -> (M, H), or a number.
    """
    if scores.numel() and not scores.is_cuda:  # there, waiting for the answer costs more
        lowest, highest = scores.aminmax()
        if float(highest - lowest) < _CLOSE:
            return highest
    index = pattern.rows[:, None].expand_as(scores)
    lowest = scores.new_full((pattern.n_rows, scores.shape[1]), -torch.inf)
    return lowest.scatter_reduce_(0, index, scores, "amax").index_select(0, pattern.rows)


def _row_sums(pattern: SparsePattern, values: Tensor) -> Tensor:
    """Shape: (M, K) -> (R, K)."""
    return _bags(torch.arange(len(values), device=values.device), pattern.row_starts, values)


def row_softmax(pattern: SparsePattern, scores: Tensor) -> Tensor:
    """exp(s) / Σ exp(s) over the entries of each row, for H values per entry.

    Shape: (M, H) -> (M, H).
    """
    return _RowSoftmax.apply(pattern, _wide(scores))
