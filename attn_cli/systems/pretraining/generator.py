"""What puts other tokens in the place of some, for a model that learns to detect them.

Shapes: B batch, T length, D width of the detector, G width of the generator, n chosen positions,
V vocabulary.
"""

from __future__ import annotations

import dataclasses

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from attn_cli.models.stack import StackConfig, draw_weights, layers_of, visible
from attn_cli.nn.heads import MaskedLanguageHead

_SLICE = 1 << 20  # scores at a time


class Generator(nn.Module):
    """A smaller masked language model on the embeddings of a larger stack (Clark et al. 2020, 3.1).

    It has the detector's embeddings, and predicts with them too; as it is narrower, a map leads
    from their width to its own, and its head leads back.

    Args:
        detector: the configuration of the stack whose embeddings it has.
        share: its width, in widths of the detector.
    """

    def __init__(self, detector: StackConfig, share: float) -> None:
        super().__init__()
        config = generator_config(detector, share)
        narrower = config.d_model != detector.d_model
        self.project = nn.Linear(detector.d_model, config.d_model) if narrower else nn.Identity()
        self.encoder = layers_of(config, causal=False)
        draw_weights(self)
        self.head = MaskedLanguageHead(
            *(detector.d_model, detector.vocab_size, config.activation, config.norm_eps),
            d_input=config.d_model,
        )

    def forward(self, embedded: Tensor, mask: Tensor, chosen: Tensor) -> Tensor:
        """What is multiplied with the embeddings to predict the chosen tokens.

        Shape: embedded (B, T, D), mask and chosen (B, T), boolean -> (n, D).
        """
        x = self.project(embedded)
        vectors: Tensor = self.head(self.encoder(x, visible(mask), chosen=chosen))
        return vectors


def generator_config(detector: StackConfig, share: float) -> StackConfig:
    """As deep as the detector, `share` times as wide, with as many heads of the same width."""
    n_heads = max(1, round(share * detector.n_heads))
    step = 2 * n_heads  # a head has pairs of elements, which rotary positions turn
    return dataclasses.replace(
        detector,
        n_heads=n_heads,
        d_model=min(detector.d_model, step * max(1, round(share * detector.d_model / step))),
        d_ff=max(1, round(share * detector.d_ff)),
    )


@torch.no_grad()
def drawn_tokens(hidden: Tensor, weight: Tensor, bias: Tensor, numbers: Tensor) -> Tensor:
    """One token of each distribution softmax(W h + b), by inversion of a random number.

    It is the first one at which the probabilities, summed up, exceed the number. So a draw depends
    on its own number alone: neither on batches nor on processes. There is no gradient through it.

    Args:
        hidden: Shape: (n, D).
        weight: Shape: (V, D).
        bias: Shape: (V,).
        numbers: uniform in [0, 1). Shape: (n,).

    Returns:
        Shape: (n,).
    """
    rows = max(1, _SLICE // len(weight))
    drawn = [numbers.new_empty(0, dtype=torch.int64)]
    for some, number in zip(hidden.split(rows), numbers.split(rows), strict=True):
        sums = F.linear(some, weight, bias).float().softmax(1).cumsum(1)
        wanted = number[:, None] * sums[:, -1:]
        found = torch.searchsorted(sums, wanted, right=True).squeeze(1)
        drawn.append(found.clamp_max(len(weight) - 1))
    return torch.cat(drawn)
