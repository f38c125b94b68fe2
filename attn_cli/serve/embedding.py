"""Models that give vectors, as the server asks them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from attn_cli.embed.embedder import Embedder
from attn_cli.errors import AttnError, DataError
from attn_cli.lines.rows import is_blank
from attn_cli.tokenizers.tokenizer import Tokenizer


@dataclass(frozen=True)
class TextVector:
    """What a text became.

    Attributes:
        vector: its numbers. Shape: (D,).
        n_tokens: how many tokens the text has.
    """

    vector: list[float]
    n_tokens: int


class Vectors:
    """Gives each text a vector; for one thread.

    Args:
        embedder: makes them.
        tokenizer: its model's.
    """

    def __init__(self, embedder: Embedder, tokenizer: Tokenizer) -> None:
        self._embedder = embedder
        self._tokenizer = tokenizer

    @torch.inference_mode()
    def answer(self, how: None, texts: Sequence[str]) -> list[TextVector | AttnError]:
        """The vector of each text."""
        filled = [text for text in texts if not is_blank(text)]
        vectors = iter(self._embedder.embed(filled))
        sizes = iter(self._tokenizer.encode(filled))
        return [
            DataError("a blank text has no vector; leave it out")
            if is_blank(text)
            else TextVector(next(vectors).vectors.tolist(), len(next(sizes)))
            for text in texts
        ]
