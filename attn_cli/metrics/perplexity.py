"""Perplexity: how many equally likely tokens a model hesitates between, on average."""

from __future__ import annotations

import math


def perplexity(log_prob: float, tokens: int) -> float:
    """Perplexity exp(-log P / tokens) of a corpus; infinite where the model excludes it.

    Args:
        log_prob: natural log-probability of all tokens together.
        tokens: their number, end-of-sentence tokens included.
    """
    try:
        return math.exp(-log_prob / tokens)
    except OverflowError:
        return math.inf
