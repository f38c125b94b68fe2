"""Token vectors that a training starts from: `--embeddings FILE`."""

from __future__ import annotations

import torch
from torch import Tensor

from attn_cli.data.word_vectors import fitted_to, read_word_vectors
from attn_cli.lines.unusable import BadLines
from attn_cli.tokenizers.tokenizer import Tokenizer
from attn_cli.train.monitor import Speaker


@torch.no_grad()
def start_embeddings(
    weight: Tensor, path: str, tokenizer: Tokenizer, speaker: Speaker, *, skip_bad: bool
) -> str:
    """Sets the vectors of the tokens that a file of word vectors has.

    In size they are what the random ones of the other tokens are.

    Args:
        weight: vectors by token. Shape: (V, D).
        path: the file.
        tokenizer: says which words are one token.
        speaker: is told of unusable lines.
        skip_bad: whether unusable lines are accepted.

    Returns:
        How many tokens the file has, in words.

    Raises:
        DataError: the file can't be used, or is about other words.
    """
    found = read_word_vectors(path, tokenizer, BadLines(speaker.warn, skip_bad=skip_bad))
    scale = float(weight.square().mean().sqrt())
    vectors = torch.from_numpy(fitted_to(found.vectors, weight.shape[1], scale))
    weight[torch.from_numpy(found.ids), : vectors.shape[1]] = vectors.to(weight)
    return f"{path}: {found.coverage}"
