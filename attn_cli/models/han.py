"""Hierarchical attention: words become sentences, sentences become a document.

Shapes: R sentences of all documents, T words, n documents, S sentences of the longest one, E width
of a word's vector, D d_model.
"""

from __future__ import annotations

from dataclasses import MISSING, dataclass
from typing import ClassVar, Self

import torch
from torch import Tensor, nn

from attn_cli.config import option
from attn_cli.models.backbone import Backbone, BackbonePreset, BidirectionalConfig
from attn_cli.nn.dropout import Dropout
from attn_cli.nn.pooling import AttentionPool, mean_of
from attn_cli.nn.rnn import Recurrent


@dataclass(frozen=True, kw_only=True)
class HanConfig(BidirectionalConfig):
    """What a saved hierarchical attention network is made of."""

    d_embedding: int = option(MISSING, "Width of a token's vector.", low=1, high=1 << 16)
    dropout: float = option(0.5, "Dropout of both levels' inputs.", low=0.0, high=0.99)

    @classmethod
    def of_size(cls, preset: BackbonePreset, vocab_size: int) -> Self:
        """See `BackboneConfig`."""
        width = preset.d_model
        return cls(vocab_size=vocab_size, d_embedding=width, d_model=width // 2)


class Han(Backbone):
    """A hierarchical attention network (Yang et al. 2016, eq. 1-10).

    hᵢₜ = BiGRU(xᵢₜ) over the words of sentence i; sᵢ = Σₜ αᵢₜ hᵢₜ with αᵢₜ = softmax(uᵢₜᵀ q) and
    uᵢₜ = tanh(W hᵢₜ + b); the same over the sentences' sᵢ, with parameters of its own, gives the
    document's vector. A row of a batch is a sentence; `join` makes documents of rows.
    """

    Config: ClassVar[type[HanConfig]] = HanConfig
    template: ClassVar[str] = "han"
    joins_rows: ClassVar[bool] = True

    def __init__(self, config: HanConfig) -> None:
        super().__init__(config)
        self.tokens = nn.Embedding(config.vocab_size, config.d_embedding)
        nn.init.normal_(self.tokens.weight, std=config.d_embedding**-0.5)
        self.dropout = Dropout(config.dropout)
        sizes = (config.d_embedding, config.d_model)
        self.words = Recurrent("gru", *sizes, bidirectional=True)
        self.word_pool = AttentionPool(config.d_model)
        self.sentences = Recurrent("gru", config.d_model, config.d_model, bidirectional=True)
        self.sentence_pool = AttentionPool(config.d_model)

    @property
    def token_vectors(self) -> nn.Embedding:
        """See `Backbone`."""
        return self.tokens

    @property
    def depths(self) -> list[list[nn.Module]]:
        """The embeddings, the words, the sentences; see `Backbone`."""
        words: list[nn.Module] = [self.words, self.word_pool]
        return [[self.tokens], words, [self.sentences, self.sentence_pool]]

    def forward(self, ids: Tensor, mask: Tensor, segments: Tensor | None = None) -> Tensor:
        """The vector hᵢₜ of each word. Shape: ids, mask, segments (R, T) -> (R, T, D)."""
        return self.words(self.dropout(self.tokens(ids)), mask)[0]

    def pool(self, hidden: Tensor, mask: Tensor) -> Tensor:
        """The vector sᵢ of each sentence. Shape: (R, T, D), (R, T) -> (R, D)."""
        return self.word_pool(hidden, mask)[0]

    def join(self, vectors: Tensor, owner: Tensor, *, attend: bool = True) -> Tensor:
        """The vector of each row's document, from the vectors of sentences.

        Args:
            vectors: of sentences, a document's in order. Shape: (R, D).
            owner: the document of each, from 0, in order. Shape: (R,).
            attend: by attention; or as the mean of the sentences' h (HN-AVE in table 2).

        Returns:
            Shape: (R, D).
        """
        hidden, mask = self._read(vectors, owner)
        documents = self.sentence_pool(hidden, mask)[0] if attend else mean_of(hidden, mask)
        return documents[owner]

    def attention(self, ids: Tensor, mask: Tensor, owner: Tensor) -> tuple[Tensor, Tensor]:
        """The weights of words in their sentence, and of sentences in their document.

        Shape: ids, mask (R, T), owner (R,) -> (R, T), (R,).
        """
        vectors, words = self.word_pool(self(ids, mask), mask)
        hidden, of_document = self._read(vectors, owner)
        return words, self.sentence_pool(hidden, of_document)[1][of_document]

    def attentions(
        self, ids: Tensor, mask: Tensor, segments: Tensor | None = None
    ) -> dict[str, list[Tensor]]:
        """The same for the sentences of one document, as `attend` draws it.

        Shape: ids, mask (R, T) -> "sentence": (1, 1, 1, R), "word": (R, 1, 1, T).
        """
        words, sentences = self.attention(ids, mask, torch.zeros_like(ids[:, 0]))
        return {"sentence": [sentences[None, None, None]], "word": [words[:, None, None]]}

    def _read(self, vectors: Tensor, owner: Tensor) -> tuple[Tensor, Tensor]:
        """The hᵢ of each document's sentences, and which there are.

        Shape: (R, D), (R,) -> (n, S, D), (n, S).
        """
        sizes = torch.bincount(owner)
        mask = torch.arange(int(sizes.max()), device=owner.device) < sizes[:, None]
        x = vectors.new_zeros(*mask.shape, vectors.shape[1])
        x[mask] = self.dropout(vectors)
        return self.sentences(x, mask)[0], mask
