"""Token lists -> matrices.

Shapes: B batch.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from attn_cli.tokenizers.tokenizer import Tokenizer

_CHARS_PER_TOKEN = 32  # more than tokens have on the average of a line's beginning


def pad(rows: Sequence[Sequence[int]], pad_id: int) -> tuple[Tensor, Tensor]:
    """The matrix of token lists, and the mask of what is no padding. Shape: (B, longest) each."""
    width = max((len(row) for row in rows), default=0)
    ids = np.full((len(rows), width), pad_id, np.int64)
    mask = np.zeros((len(rows), width), bool)
    for i, row in enumerate(rows):
        ids[i, : len(row)] = row
        mask[i, : len(row)] = True
    return torch.from_numpy(ids), torch.from_numpy(mask)


def cut_ids(
    tokenizer: Tokenizer, texts: Sequence[str], limit: int, alpha: float, seed: int
) -> tuple[list[list[int]], list[int]]:
    """The tokens of texts, at most `limit` of each, and which texts were cut.

    Args:
        tokenizer: cuts them.
        texts: the texts.
        limit: tokens.
        alpha: of subword regularization; 0: always the best segmentation.
        seed: of it.
    """
    # A tokenizer needs hundreds of bytes a character: not for what is cut off anyway.
    most = (limit + 1) * _CHARS_PER_TOKEN
    begun = [text[:most] for text in texts]
    encoded = tokenizer.sample(begun, alpha, seed) if alpha else tokenizer.encode(begun)
    cut = [
        number
        for number, (text, ids) in enumerate(zip(texts, encoded, strict=True))
        if len(ids) > limit or len(text) > most
    ]
    return [ids[:limit] for ids in encoded], cut
