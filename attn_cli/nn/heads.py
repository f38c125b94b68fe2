"""Output layers: from the vectors of a backbone to what a task asks for.

Shapes: B texts, T positions, N chosen positions, D d_model, C outputs, V vocabulary.
"""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor, nn

from attn_cli.config import choose
from attn_cli.nn.dropout import Dropout
from attn_cli.nn.tables import HasTables, OutputLinear
from attn_cli.nn.transformer import ACTIVATIONS


class TextHead(nn.Module):
    """C outputs for a text, from its one vector: W dropout(z) + b (Devlin et al. 2019, 4.1)."""

    def __init__(self, d_model: int, n_outputs: int, dropout: float) -> None:
        super().__init__()
        self.dropout = Dropout(dropout)
        self.output = OutputLinear(d_model, n_outputs)
        nn.init.normal_(self.output.weight, std=0.02)
        nn.init.zeros_(self.output.bias)

    def forward(self, vectors: Tensor) -> Tensor:
        """Shape: (..., D) -> (..., C)."""
        return self.output(self.dropout(vectors))


class TokenHead(TextHead):
    """C outputs for every position, from its vector (Devlin et al. 2019, 4.2 and 5.3)."""


class SpanHead(TokenHead):
    """Start and end scores of a span (Devlin et al. 2019, 4.2 and 4.3), and when there is none.

    Attributes:
        no_answer_threshold: by how much the score of no answer must exceed the best span's. It is
            not learnt but chosen on the dev data, and kept with the weights that it was chosen for.
    """

    def __init__(self, d_model: int, n_outputs: int, dropout: float) -> None:
        super().__init__(d_model, n_outputs, dropout)
        self.no_answer_threshold = nn.Parameter(torch.zeros(()), requires_grad=False)


class MaskedLanguageHead(nn.Module, HasTables):
    """logits = E LN(g(W h + b)) + c over the vocabulary; E is the token embedding (Devlin et al.).

    Only the vectors of masked positions should be given: the vocabulary is the expensive part.

    Attributes:
        output_weight: what stands in the place of E where that is not tied. Shape: (V, D).

    Args:
        d_input: the width of h, where it is another one than the embedding's.
    """

    tables: ClassVar[tuple[str, ...]] = ("output_weight",)

    def __init__(
        self,
        d_model: int,
        vocab_size: int,
        activation: str,
        eps: float,
        *,
        tied: bool = True,
        d_input: int | None = None,
    ) -> None:
        super().__init__()
        self.transform = nn.Linear(d_input or d_model, d_model)
        self.norm = nn.LayerNorm(d_model, eps)
        self.output_bias = nn.Parameter(torch.zeros(vocab_size))
        self.activation = choose(ACTIVATIONS, activation, "activation function")
        self.output_weight: nn.Parameter | None = None
        if not tied:
            self.output_weight = nn.Parameter(torch.empty(vocab_size, d_model))
            nn.init.normal_(self.output_weight, std=0.02)
        nn.init.normal_(self.transform.weight, std=0.02)
        nn.init.zeros_(self.transform.bias)

    def forward(self, hidden: Tensor) -> Tensor:
        """What is multiplied with the embeddings. Shape: (N, D) -> (N, D)."""
        return self.norm(self.activation(self.transform(hidden)))


class ReplacedTokenHead(nn.Module):
    """The logit of a token having been replaced: wᵀ g(W h + b) + c (Clark et al. 2020, section 2).

    The layer W between is that of their program; the paper's formula has w alone.
    """

    def __init__(self, d_model: int, activation: str) -> None:
        super().__init__()
        self.transform = nn.Linear(d_model, d_model)
        self.output = OutputLinear(d_model, 1)
        self.activation = choose(ACTIVATIONS, activation, "activation function")
        for linear in (self.transform, self.output):
            nn.init.normal_(linear.weight, std=0.02)
            nn.init.zeros_(linear.bias)

    def forward(self, hidden: Tensor) -> Tensor:
        """Shape: (..., D) -> (...)."""
        logits: Tensor = self.output(self.activation(self.transform(hidden)))
        return logits.squeeze(-1)
