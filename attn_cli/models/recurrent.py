"""A backbone that reads a text word by word in both directions, without self-attention.

Shapes: B batch, T length, D d_model, L layers.
"""

from __future__ import annotations

from dataclasses import MISSING, dataclass
from typing import ClassVar, Self

from torch import Tensor, nn

from attn_cli.config import option
from attn_cli.config.seq2seq import CELL_NAMES
from attn_cli.models.backbone import Backbone, BackbonePreset, BidirectionalConfig
from attn_cli.nn.dropout import Dropout
from attn_cli.nn.pooling import AttentionPool
from attn_cli.nn.rnn import Recurrent


@dataclass(frozen=True, kw_only=True)
class RecurrentConfig(BidirectionalConfig):
    """What a saved recurrent encoder is made of."""

    n_layers: int = option(MISSING, "Layers.", low=1, high=256)
    cell: str = option("lstm", "Cell.", choices=CELL_NAMES)

    @classmethod
    def of_size(cls, preset: BackbonePreset, vocab_size: int) -> Self:
        """See `BackboneConfig`."""
        # A layer that reads in both directions at once does more than one of attention.
        layers = max(1, preset.n_layers // 2)
        return cls(vocab_size=vocab_size, d_model=preset.d_model, n_layers=layers)


class RecurrentEncoder(Backbone):
    """Bidirectional recurrent layers, and attention that makes one vector of all words'.

    hₜ = [h→ₜ; h←ₜ]; a text is s = Σₜ αₜ hₜ with αₜ = softmax(uₜᵀ q), uₜ = tanh(W hₜ + b)
    (Yang et al. 2016, eq. 5-7).
    """

    Config: ClassVar[type[RecurrentConfig]] = RecurrentConfig
    template: ClassVar[str] = "bert"

    def __init__(self, config: RecurrentConfig) -> None:
        super().__init__(config)
        self.tokens = nn.Embedding(config.vocab_size, config.d_model)
        nn.init.normal_(self.tokens.weight, std=config.d_model**-0.5)
        self.dropout = Dropout(config.dropout)
        self.recurrent = Recurrent(
            *(config.cell, config.d_model, config.d_model, config.n_layers, config.dropout),
            bidirectional=True,
            uniform=True,
        )
        self.attention_pool = AttentionPool(config.d_model)

    @property
    def token_vectors(self) -> nn.Embedding:
        """See `Backbone`."""
        return self.tokens

    @property
    def depths(self) -> list[list[nn.Module]]:
        """See `Backbone`."""
        return [[self.tokens], *([layer] for layer in self.recurrent.layers)]

    @property
    def n_layers(self) -> int:
        """See `Backbone`."""
        return len(self.recurrent.layers)

    def forward(self, ids: Tensor, mask: Tensor, segments: Tensor | None = None) -> Tensor:
        """See `Backbone`."""
        return self.dropout(self.recurrent(self.dropout(self.tokens(ids)), mask)[0])

    def layers(self, ids: Tensor, mask: Tensor, segments: Tensor | None = None) -> list[Tensor]:
        """See `Backbone`."""
        return self.recurrent.each_layer(self.dropout(self.tokens(ids)), mask)

    def pool(self, hidden: Tensor, mask: Tensor) -> Tensor:
        """The vector s of each text. Shape: (B, T, D), (B, T) -> (B, D)."""
        return self.attention_pool(hidden, mask)[0]

    def attentions(
        self, ids: Tensor, mask: Tensor, segments: Tensor | None = None
    ) -> dict[str, list[Tensor]]:
        """How much of each token is in the text's vector.

        Shape: as `forward` -> "word": one of (B, 1, 1, T).
        """
        weights = self.attention_pool(self(ids, mask, segments), mask)[1]
        return {"word": [weights[:, None, None]]}
