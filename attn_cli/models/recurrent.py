"""A backbone that reads a text word by word in both directions: an encoder without self-attention.

Shapes: B batch, T length, D d_model, L layers.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import MISSING, dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from attn_cli.config import option
from attn_cli.errors import UsageError
from attn_cli.nn.dropout import Dropout
from attn_cli.nn.pooling import attend_from

CELLS: dict[str, Callable[..., nn.RNNBase]] = {"lstm": nn.LSTM, "gru": nn.GRU, "rnn": nn.RNN}


@dataclass(frozen=True, kw_only=True)
class RecurrentConfig:
    """What a saved recurrent encoder is made of.

    Raises:
        ValueError: the width can't be shared by two directions.
    """

    vocab_size: int = option(MISSING, "Tokens.", low=1, high=1 << 24)
    d_model: int = option(MISSING, "Width of both directions together.", low=2, high=1 << 16)
    n_layers: int = option(MISSING, "Layers.", low=1, high=256)
    cell: str = option("lstm", "Cell.", choices=tuple(CELLS))
    dropout: float = option(0.1, "Dropout of every layer's input.", low=0.0, high=0.99)

    def __post_init__(self) -> None:
        if self.d_model % 2:
            raise ValueError(f"d_model {self.d_model} can't be shared by two directions")


class RecurrentEncoder(nn.Module):
    """Bidirectional recurrent layers, and attention that makes one vector of all words'.

    hₜ = [h→ₜ; h←ₜ]; a text is s = Σₜ αₜ hₜ with αₜ = softmax(uₜᵀ q), uₜ = tanh(W hₜ + b)
    (Yang et al. 2016, eq. 5-7).
    """

    Config: ClassVar[type] = RecurrentConfig
    template: ClassVar[str] = "bert"
    max_len: ClassVar[int | None] = None

    def __init__(self, config: RecurrentConfig) -> None:
        super().__init__()
        self.config = config
        self.d_model = config.d_model
        self.tokens = nn.Embedding(config.vocab_size, config.d_model)
        nn.init.normal_(self.tokens.weight, std=config.d_model**-0.5)
        self.dropout = Dropout(config.dropout)
        cell = CELLS[config.cell]
        self.cells = nn.ModuleList(
            cell(config.d_model, config.d_model // 2, bidirectional=True, batch_first=True)
            for _ in range(config.n_layers)
        )
        self.pooler = nn.Linear(config.d_model, config.d_model)
        query = torch.empty(config.d_model).normal_().div_(config.d_model**0.5)
        self.query = nn.Parameter(query)

    @property
    def token_vectors(self) -> nn.Embedding:
        """See `Stack.token_vectors`."""
        return self.tokens

    @property
    def depths(self) -> list[list[nn.Module]]:
        """See `Stack.depths`."""
        return [[self.tokens], *([cell] for cell in self.cells)]

    def forward(self, ids: Tensor, mask: Tensor, segments: Tensor | None = None) -> Tensor:
        """A vector for each token. Shape: ids, mask (boolean), segments (B, T) -> (B, T, D)."""
        return self.layers(ids, mask, segments)[0][-1]

    def layers(
        self, ids: Tensor, mask: Tensor, segments: Tensor | None = None, *, weights: bool = False
    ) -> tuple[list[Tensor], list[Tensor]]:
        """The embeddings and every layer's vectors; no attention weights between tokens.

        Shape: as `forward`; L + 1 of (B, T, D), and none.

        Raises:
            UsageError: weights are wanted.
        """
        if weights:
            raise UsageError("a recurrent encoder has no attention weights between its tokens")
        found = [self.dropout(self.tokens(ids))]
        lengths = mask.sum(1).cpu()
        for cell in self.cells:
            packed = pack_padded_sequence(
                found[-1], lengths, batch_first=True, enforce_sorted=False
            )
            hidden, _ = pad_packed_sequence(
                cell(packed)[0], batch_first=True, total_length=ids.shape[1]
            )
            found.append(self.dropout(hidden))
        return found, []

    def pool(self, hidden: Tensor, mask: Tensor) -> Tensor:
        """S. Shape: (B, T, D), (B, T) -> (B, D)."""
        return attend_from(self.query, self.pooler, hidden, mask)[0]

    def attentions(
        self, ids: Tensor, mask: Tensor, segments: Tensor | None = None
    ) -> dict[str, list[Tensor]]:
        """How much of each token is in the text's vector.

        Shape: as `forward` -> "word": one of (B, 1, 1, T).
        """
        hidden = self(ids, mask, segments)
        weights = attend_from(self.query, self.pooler, hidden, mask)[1]
        return {"word": [weights[:, None, None]]}
