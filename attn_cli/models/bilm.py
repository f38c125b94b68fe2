"""Two language models, one for each direction, as one encoder: ELMo.

Shapes: B batch, T length, D d_model, P = D/2 width of a direction, L layers, V vocabulary.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Self

import torch
from torch import Tensor, nn

from attn_cli.config import option
from attn_cli.models.backbone import BackbonePreset, BidirectionalConfig, LanguageModel
from attn_cli.nn.dropout import Dropout
from attn_cli.nn.pooling import AttentionPool
from attn_cli.nn.rnn import Recurrent


@dataclass(frozen=True, kw_only=True)
class BilmConfig(BidirectionalConfig):
    """What a saved bidirectional language model is made of."""

    n_layers: int = option(2, "Layers of each direction.", low=1, high=256)

    @classmethod
    def of_size(cls, preset: BackbonePreset, vocab_size: int) -> Self:
        """Each direction is as wide as a stack; see `BackboneConfig`."""
        return cls(vocab_size=vocab_size, d_model=2 * preset.d_model)


class Bilm(LanguageModel):
    """A bidirectional LSTM language model, and the mix of its layers (Peters et al. 2018).

    h→ₜ has read the tokens up to t and predicts the next one, h←ₜ has read those from t on and
    predicts the one before; layers after the first add to what they read (section 3.4). Both
    directions share the token vectors and the softmax over them (section 3.1), which are one matrix
    here. Afterwards a token is γ Σⱼ sⱼ [h→ⱼ; h←ⱼ] with s = softmax(w) (eq. 1), layer 0 being the
    token's vector, twice; γ and w are learnt by the task.
    """

    Config: ClassVar[type[BilmConfig]] = BilmConfig
    template: ClassVar[str] = "bilm"

    def __init__(self, config: BilmConfig) -> None:
        super().__init__(config)
        width = config.d_model // 2
        self.tokens = nn.Embedding(config.vocab_size, width)
        nn.init.normal_(self.tokens.weight, std=width**-0.5)
        self.output_bias = nn.Parameter(torch.zeros(config.vocab_size))
        self.dropout = Dropout(config.dropout)
        layers = range(config.n_layers)
        self.forward_layers = nn.ModuleList(Recurrent("lstm", width, width) for _ in layers)
        self.backward_layers = nn.ModuleList(Recurrent("lstm", width, width) for _ in layers)
        self.mix = nn.Parameter(torch.zeros(config.n_layers + 1))
        self.scale = nn.Parameter(torch.ones(1))
        self.attention_pool = AttentionPool(config.d_model)

    @property
    def token_vectors(self) -> nn.Embedding:
        """See `Backbone`."""
        return self.tokens

    @property
    def depths(self) -> list[list[nn.Module]]:
        """See `Backbone`; the mix is none of them: it learns however many are frozen."""
        pairs = zip(self.forward_layers, self.backward_layers, strict=True)
        return [[self.tokens], *(list(pair) for pair in pairs)]

    @property
    def n_layers(self) -> int:
        """See `Backbone`."""
        return len(self.forward_layers)

    @property
    def output_layer(self) -> tuple[Tensor, Tensor]:
        """The layer of both directions, W of shape (V, P); see `LanguageModel`."""
        return self.tokens.weight, self.output_bias

    def directions(self, ids: Tensor, mask: Tensor) -> list[tuple[Tensor, Tensor]]:
        """The h→ and h← of the embeddings and of every layer.

        Shape: ids, mask (boolean, padding behind) (B, T) -> L + 1 pairs of (B, T, P).
        """
        ahead = self.tokens(ids)
        reversal = _reversal(mask).unsqueeze(-1).expand_as(ahead)
        back = ahead.gather(1, reversal)
        states = [(ahead, back)]
        pairs = zip(self.forward_layers, self.backward_layers, strict=True)
        for number, (forward_layer, backward_layer) in enumerate(pairs):
            # What stands behind the last token does not change what was read before it.
            read = forward_layer(self.dropout(ahead))[0]
            read_back = backward_layer(self.dropout(back))[0]
            ahead = ahead + read if number else read
            back = back + read_back if number else read_back
            states.append((ahead, back))
        return [(ahead, back.gather(1, reversal)) for ahead, back in states]

    def forward(self, ids: Tensor, mask: Tensor, segments: Tensor | None = None) -> Tensor:
        """The mix. Shape: ids, mask (boolean), segments (B, T) -> (B, T, D)."""
        weights = self.scale * self.mix.softmax(0)
        layers = self.layers(ids, mask, segments)
        return self.dropout(
            torch.stack([w * x for w, x in zip(weights, layers, strict=True)]).sum(0)
        )

    def layers(self, ids: Tensor, mask: Tensor, segments: Tensor | None = None) -> list[Tensor]:
        """The embeddings, twice, and every layer's vectors; see `Backbone`."""
        return [torch.cat(pair, -1) for pair in self.directions(ids, mask)]

    def pool(self, hidden: Tensor, mask: Tensor) -> Tensor:
        """The context of a learned query. Shape: (B, T, D), (B, T) -> (B, D)."""
        return self.attention_pool(hidden, mask)[0]

    def attentions(
        self, ids: Tensor, mask: Tensor, segments: Tensor | None = None
    ) -> dict[str, list[Tensor]]:
        """How much of each token is in the text's vector, where a task pools by attention.

        Shape: as `forward` -> "word": one of (B, 1, 1, T).
        """
        weights = self.attention_pool(self(ids, mask, segments), mask)[1]
        return {"word": [weights[:, None, None]]}


def _reversal(mask: Tensor) -> Tensor:
    """The positions in reading order, from the last valid one to the first.

    Padding, which stands behind them, stays where it is. Shape: (B, T) -> the same.
    """
    positions = torch.arange(mask.shape[1], device=mask.device)
    mirrored = mask.sum(1, keepdim=True) - 1 - positions
    return torch.where(mirrored >= 0, mirrored, positions)
