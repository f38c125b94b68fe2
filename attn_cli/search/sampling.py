"""Drawing the next token: temperature, top-k and nucleus sampling by inverse transform.

Each request has its own random numbers, drawn when it enters the batch, so what is drawn for it
does not depend on its neighbours.

Shapes: R rows, V vocabulary.
"""

from __future__ import annotations

import hashlib

import torch
from torch import Tensor

from attn_cli.config.decoding import SearchOptions

_NUCLEUS = 128  # most nuclei are smaller; larger ones are looked for in a second, larger try


def uniforms(seed: int, key: int, rows: int, steps: int) -> Tensor:
    """Random numbers in [0, 1) for one request, the same on every machine.

    Args:
        seed: the run's seed.
        key: what tells the request from others, such as its line number.
        rows: samples of the request.
        steps: numbers per sample; longer requests start with the same numbers.

    Returns:
        Shape: (rows, steps).
    """
    digest = hashlib.blake2b(f"{seed}:{key}".encode(), digest_size=8).digest()
    generator = torch.Generator().manual_seed(int.from_bytes(digest, "little") >> 1)
    return torch.rand((steps, rows), generator=generator).T.contiguous()


def draw(log_probs: Tensor, uniform: Tensor, options: SearchOptions) -> Tensor:
    """Draws one token per row by inverse transform.

    The distribution is p^(1/T) renormalised, cut to the `top_k` likeliest tokens, then to the
    nucleus: the fewest likeliest tokens that hold at least `top_p` of what is left (Holtzman et
    al. 2020).

    Args:
        log_probs: -inf marks tokens that may not be drawn. Shape: (R, V).
        uniform: random numbers in [0, 1). Shape: (R,).
        options: temperature, top_k and top_p.

    Returns:
        Tokens; in a row where none may be drawn, one of probability 0. Shape: (R,).
    """
    scaled = log_probs if options.temperature == 1.0 else log_probs / options.temperature
    # A row without any possible token has no maximum to subtract; it must stay at probability 0.
    peak = scaled.amax(1, keepdim=True).clamp(min=torch.finfo(scaled.dtype).min)
    if options.top_k and options.top_k < scaled.shape[1]:
        best, ids = scaled.topk(options.top_k)
        return _draw_sorted((best - peak).exp(), ids, uniform, options.top_p)
    weights = (scaled - peak).exp()
    if options.top_p >= 1.0:
        return _pick(weights.cumsum(1), uniform)
    return _draw_nucleus(weights, uniform, options.top_p)


def _pick(cumulative: Tensor, uniform: Tensor) -> Tensor:
    """The first index whose cumulative weight exceeds uniform * total. Shape: (R,)."""
    total = cumulative[:, -1:]
    # A token of weight 0 repeats its predecessor's sum, so it is never the first to exceed.
    at = torch.searchsorted(cumulative, uniform[:, None] * total, right=True)
    return at.squeeze(1).masked_fill(total.squeeze(1) <= 0, 0)


def _draw_sorted(weights: Tensor, ids: Tensor, uniform: Tensor, top_p: float) -> Tensor:
    """Draws from the nucleus of weights that come largest first. Shape: weights, ids (R, M)."""
    cumulative = weights.cumsum(1)
    if top_p < 1.0:
        cumulative = _cut(cumulative, cumulative[:, -1:] * top_p)
    return ids.gather(1, _pick(cumulative, uniform)[:, None]).squeeze(1)


def _cut(cumulative: Tensor, mass: Tensor) -> Tensor:
    """Ends a cumulative sum with the first entry that reaches `mass`. Shape: mass (R, 1)."""
    last = torch.searchsorted(cumulative, mass).clamp(max=cumulative.shape[1] - 1)
    return cumulative.minimum(cumulative.gather(1, last))


def _draw_nucleus(weights: Tensor, uniform: Tensor, top_p: float) -> Tensor:
    """Draws from the nucleus of all tokens, sorting a whole row only where its nucleus is large."""
    mass = weights.sum(1, keepdim=True) * top_p
    best, ids = weights.topk(min(_NUCLEUS, weights.shape[1]))
    cumulative = best.cumsum(1)
    tokens = ids.gather(1, _pick(_cut(cumulative, mass), uniform)[:, None]).squeeze(1)
    (large,) = (cumulative[:, -1:] < mass).squeeze(1).nonzero(as_tuple=True)
    if large.numel() and weights.shape[1] > _NUCLEUS:
        best, ids = weights[large].sort(dim=1, descending=True, stable=True)
        cut = _cut(best.cumsum(1), mass[large])
        tokens[large] = ids.gather(1, _pick(cut, uniform[large])[:, None]).squeeze(1)
    return tokens
