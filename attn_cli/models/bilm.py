"""Two language models, one for each direction, as one encoder: ELMo.

Shapes: B batch, T length, D d_model, P = D/2 width of a direction, L layers, V vocabulary.
"""

from __future__ import annotations

from dataclasses import MISSING, dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from attn_cli.config import option
from attn_cli.errors import UsageError
from attn_cli.nn.dropout import Dropout
from attn_cli.nn.pooling import AttentionPool
from attn_cli.nn.rnn import Recurrent


@dataclass(frozen=True, kw_only=True)
class BilmConfig:
    """What a saved bidirectional language model is made of.

    Raises:
        ValueError: the width can't be shared by two directions.
    """

    vocab_size: int = option(MISSING, "Tokens.", low=1, high=1 << 24)
    d_model: int = option(MISSING, "Width of both directions together.", low=2, high=1 << 16)
    n_layers: int = option(2, "Layers of each direction.", low=1, high=256)
    dropout: float = option(0.1, "Dropout of every layer's input.", low=0.0, high=0.99)

    def __post_init__(self) -> None:
        if self.d_model % 2:
            raise ValueError(f"d_model {self.d_model} can't be shared by two directions")


class Bilm(nn.Module):
    """A bidirectional LSTM language model, and the mix of its layers (Peters et al. 2018).

    h→ₜ has read the tokens up to t and predicts the next one, h←ₜ has read those from t on and
    predicts the one before; layers after the first add to what they read (section 3.4). Both
    directions share the token vectors and the softmax over them (section 3.1), which are one matrix
    here. Afterwards a token is γ Σⱼ sⱼ [h→ⱼ; h←ⱼ] with s = softmax(w) (eq. 1), layer 0 being the
    token's vector, twice; γ and w are learnt by the task.
    """

    Config: ClassVar[type] = BilmConfig
    template: ClassVar[str] = "bilm"
    max_len: ClassVar[int | None] = None

    def __init__(self, config: BilmConfig) -> None:
        super().__init__()
        self.config = config
        self.d_model = config.d_model
        width = config.d_model // 2
        self.tokens = nn.Embedding(config.vocab_size, width)
        nn.init.normal_(self.tokens.weight, std=width**-0.5)
        self.output_bias = nn.Parameter(torch.zeros(config.vocab_size))
        self.dropout = Dropout(config.dropout)
        layers = range(config.n_layers)
        self.forwards = nn.ModuleList(Recurrent("lstm", width, width) for _ in layers)
        self.backwards = nn.ModuleList(Recurrent("lstm", width, width) for _ in layers)
        self.mix = nn.Parameter(torch.zeros(config.n_layers + 1))
        self.scale = nn.Parameter(torch.ones(1))
        self.attention_pool = AttentionPool(config.d_model)

    @property
    def token_vectors(self) -> nn.Embedding:
        """See `Stack.token_vectors`."""
        return self.tokens

    @property
    def depths(self) -> list[list[nn.Module]]:
        """See `Stack.depths`; the mix is none of them: it learns however many are frozen."""
        pairs = zip(self.forwards, self.backwards, strict=True)
        return [[self.tokens], *([ahead, back] for ahead, back in pairs)]

    @property
    def output_layer(self) -> tuple[Tensor, Tensor]:
        """W (V, P) and b (V,) of p(token) = softmax(W h + b), of both directions."""
        return self.tokens.weight, self.output_bias

    def directions(self, ids: Tensor, mask: Tensor) -> list[tuple[Tensor, Tensor]]:
        """h→ and h← of the embeddings and of every layer.

        Shape: ids, mask (boolean, padding behind) (B, T) -> L + 1 pairs of (B, T, P).
        """
        turned = _turned(mask)
        ahead = self.tokens(ids)
        back = ahead.gather(1, turned.unsqueeze(-1).expand_as(ahead))
        found = [(ahead, back)]
        for number, (forwards, backwards) in enumerate(
            zip(self.forwards, self.backwards, strict=True)
        ):
            # What stands behind the last token does not change what was read before it.
            read, read_back = forwards(self.dropout(ahead))[0], backwards(self.dropout(back))[0]
            ahead = ahead + read if number else read
            back = back + read_back if number else read_back
            found.append((ahead, back))
        place = turned.unsqueeze(-1).expand_as(ahead)
        return [(one, other.gather(1, place)) for one, other in found]

    def forward(self, ids: Tensor, mask: Tensor, segments: Tensor | None = None) -> Tensor:
        """The mix. Shape: ids, mask (boolean), segments (B, T) -> (B, T, D)."""
        weights = self.scale * self.mix.softmax(0)
        layers = self.layers(ids, mask, segments)[0]
        return self.dropout(
            torch.stack([w * x for w, x in zip(weights, layers, strict=True)]).sum(0)
        )

    def layers(
        self, ids: Tensor, mask: Tensor, segments: Tensor | None = None, *, weights: bool = False
    ) -> tuple[list[Tensor], list[Tensor]]:
        """The embeddings, twice, and every layer's vectors; no attention weights between tokens.

        Shape: as `forward`; L + 1 of (B, T, D), and none.

        Raises:
            UsageError: weights are wanted.
        """
        if weights:
            raise UsageError("a recurrent encoder has no attention weights between its tokens")
        return [torch.cat(pair, -1) for pair in self.directions(ids, mask)], []

    def pool(self, hidden: Tensor, mask: Tensor) -> Tensor:
        """Attention from a learned query. Shape: (B, T, D), (B, T) -> (B, D)."""
        return self.attention_pool(hidden, mask)[0]

    def attentions(
        self, ids: Tensor, mask: Tensor, segments: Tensor | None = None
    ) -> dict[str, list[Tensor]]:
        """How much of each token is in the text's vector, where a task pools by attention.

        Shape: as `forward` -> "word": one of (B, 1, 1, T).
        """
        weights = self.attention_pool(self(ids, mask, segments), mask)[1]
        return {"word": [weights[:, None, None]]}


def _turned(mask: Tensor) -> Tensor:
    """Which position comes at each place when real tokens are read from the last to the first.

    Padding, which stands behind them, stays where it is. Shape: (B, T) -> the same.
    """
    places = torch.arange(mask.shape[1], device=mask.device)
    mirrored = mask.sum(1, keepdim=True) - 1 - places
    return torch.where(mirrored >= 0, mirrored, places)
