"""The orthogonal factor of matrices, by products alone: what Muon makes of a gradient.

A matrix X = U S Vᵀ becomes about U Vᵀ by odd polynomials p(X) = a X + b (XXᵀ) X + c (XXᵀ)² X, which
act on each singular value (Jordan et al. 2024). Three of them do here, where five are usual:

- Where X is divided by its Frobenius norm, its largest singular value is far below 1, and the first
  two polynomials do little but bring it up. (tr (XXᵀ)⁴)^⅛ bounds it, too, and closely: singular
  values that fall off add little to an eighth power. It costs nothing, as (XXᵀ)² is needed anyway.
- The coefficients are the best there are for three steps and singular values in [0.006, 1]
  (Amsel et al. 2025, "The Polar Express", algorithm 1): they end in [0.56, 1.44].

Where a matrix is much wider than tall, the polynomials are multiplied up in the small space of
XXᵀ, with which they commute, and meet X once, at the end.

Shapes: n matrices of R rows and C columns.
"""

from __future__ import annotations

import torch
from torch import Tensor

_STEPS = (
    (8.256836694444964, -24.26527511839081, 17.958902644938956),
    (3.854961330598048, -2.878411491256187, 0.5543566934598582),
    (3.0425030178098256, -2.2795250051221343, 0.4864455365971388),
)
_WIDE = 2  # from so many columns a row on, products of XXᵀ alone are cheaper
_MARGIN = 1.01  # for what rounding adds to the largest singular value
_TINY = 1e-7


def orthogonalized(matrices: Tensor) -> Tensor:
    """Each matrix with its singular values pushed towards 1.

    In bf16 on a GPU, and in the given precision elsewhere.

    Shape: (n, R, C) -> the same.
    """
    x = matrices.bfloat16() if matrices.is_cuda else matrices
    tall = x.shape[-2] > x.shape[-1]
    x = x.mT if tall else x
    x, gram, square = _scaled(x)
    # bf16's rounding errors would grow with the product of all polynomials.
    wide = x.shape[-1] >= _WIDE * x.shape[-2] and x.dtype != torch.bfloat16
    x = torch.bmm(_factor(gram, square), x) if wide else _iterated(x, gram, square)
    return (x.mT if tall else x).to(matrices.dtype)


def _scaled(x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """X with its largest singular value just below 1, and G = XXᵀ and G² of that.

    Shape: (n, R, C) -> the same, (n, R, R), (n, R, R).
    """
    gram = torch.bmm(x, x.mT)
    trace = gram.diagonal(dim1=-2, dim2=-1).sum(-1).float()
    norm = trace.sqrt()[:, None, None] + _TINY  # first, lest an eighth power be 0
    gram = gram / norm.square().to(x.dtype)
    square = torch.bmm(gram, gram)
    bound = _MARGIN * square.float().norm(dim=(-2, -1), keepdim=True).pow(0.25) + _TINY
    x = x / (norm * bound).to(x.dtype)
    return x, gram / bound.pow(2).to(x.dtype), square / bound.pow(4).to(x.dtype)


def _iterated(x: Tensor, gram: Tensor, square: Tensor) -> Tensor:
    """p₃(p₂(p₁(X))), one after the other."""
    a, b, c = _STEPS[0]
    x = torch.baddbmm(x, gram * b + square * c, x, beta=a)
    for a, b, c in _STEPS[1:]:
        gram = torch.bmm(x, x.mT)
        x = torch.baddbmm(x, torch.baddbmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return x


def _factor(gram: Tensor, square: Tensor) -> Tensor:
    """Q with p₃(p₂(p₁(X))) = Q X: the product of all aI + bG + cG². Shape: (n, R, R)."""
    a, b, c = _STEPS[0]
    factor = poly = _plus_identity(gram * b + square * c, a)
    for a, b, c in _STEPS[1:]:
        gram = torch.bmm(torch.bmm(poly, gram), poly)
        poly = _plus_identity(torch.baddbmm(gram, gram, gram, beta=b, alpha=c), a)
        factor = torch.bmm(poly, factor)
    return factor


def _plus_identity(matrices: Tensor, a: float) -> Tensor:
    matrices.diagonal(dim1=-2, dim2=-1).add_(a)
    return matrices
