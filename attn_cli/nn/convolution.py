"""Gated convolutions over token sequences, and the attention between them (Gehring et al. 2017).

Shapes: B batch, S source length, T target length, D d_model, k kernel size, R rows.
"""

from __future__ import annotations

import math
from typing import NamedTuple

from torch import Tensor, nn
from torch.nn import functional as F

from attn_cli.config import choose
from attn_cli.config.seq2seq import ConvolutionalOptions
from attn_cli.nn.attention import Attended, Attention
from attn_cli.nn.dropout import Dropout
from attn_cli.nn.normalizers import NORMALIZERS
from attn_cli.nn.scores import SCORES

HALF = math.sqrt(0.5)  # keeps the variance of a sum of two (section 3.5)


class GatedConvolution(nn.Module):
    """GLU(W [x₁ … x_k] + b) = A σ(B), A and B the halves of the product (section 3.2).

    The windows are laid side by side and multiplied at once: one matrix product in training, and
    the same product of one window when decoding step by step.

    Args:
        d_model: D.
        kernel_size: k.
        dropout: its probability, which the initialization makes up for (section 3.5).
    """

    def __init__(self, d_model: int, kernel_size: int, dropout: float) -> None:
        super().__init__()
        self.kernel_size = kernel_size
        self.linear = nn.Linear(kernel_size * d_model, 2 * d_model)
        std = math.sqrt(4 * (1 - dropout) / (kernel_size * d_model))
        nn.init.normal_(self.linear.weight, std=std)
        nn.init.zeros_(self.linear.bias)

    def forward(self, x: Tensor, *, causal: bool) -> Tensor:
        """Convolves zero-padded sequences.

        Args:
            x: Shape: (B, T, D).
            causal: whether a position sees itself and k - 1 earlier ones, or as many on both sides.

        Returns:
            Shape: (B, T, D).
        """
        around = self.kernel_size - 1
        sides = (around, 0) if causal else (around // 2, around - around // 2)
        windows = F.pad(x, (0, 0, *sides)).unfold(1, self.kernel_size, 1)  # (B, T, D, k)
        return self.of_windows(windows.transpose(-2, -1))

    def of_windows(self, windows: Tensor) -> Tensor:
        """The product of given windows. Shape: (..., k, D) -> (..., D)."""
        return F.glu(self.linear(windows.flatten(-2)), dim=-1)


class ConvolvedMemory(NamedTuple):
    """The encoded source, as every decoder layer attends to it."""

    key: Tensor  # (B, S, D), z
    value: Tensor  # (B, S, D), z + e
    mask: Tensor  # (B, S), boolean


class ConvolutionalEncoder(nn.Module):
    """Stacked gated convolutions with residual connections (sections 3.2 and 3.3).

    Args:
        d_model: D.
        n_layers: how many.
        options: the width of the convolutions.
        dropout: of every layer's input.
    """

    def __init__(
        self, d_model: int, n_layers: int, options: ConvolutionalOptions, dropout: Dropout
    ) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            GatedConvolution(d_model, options.kernel_size, dropout.p) for _ in range(n_layers)
        )
        self.in_proj, self.out_proj = _linear(d_model), _linear(d_model)
        self.dropout = dropout

    def forward(self, embedded: Tensor, mask: Tensor) -> ConvolvedMemory:
        """Keys are the outputs z, values z + e: with what a source token itself is (section 3.3).

        Shape: embedded (B, S, D), mask (B, S).
        """
        valid = mask[:, :, None].to(embedded.dtype)
        x = self.in_proj(embedded)
        for layer in self.layers:
            # Padding is zero, as beyond the ends: so a batch gives what a sentence alone does.
            x = (x + layer(self.dropout(x * valid), causal=False)) * HALF
        z = self.out_proj(x)
        return ConvolvedMemory(z, (z + embedded) * HALF, mask)


class ConvolutionalDecoderLayer(nn.Module):
    """A causal gated convolution, then attention from it and the last token's embedding.

    dᵗ = W_d hᵗ + b_d + gᵗ is the query, and the context is added to hᵗ (section 3.3, eq. 1-2):
    every layer attends, knowing what the layers below it have attended to.

    Args:
        d_model: D.
        options: score function, normalization, width of the convolution.
        dropout: of the input.
    """

    def __init__(self, d_model: int, options: ConvolutionalOptions, dropout: Dropout) -> None:
        super().__init__()
        self.convolution = GatedConvolution(d_model, options.kernel_size, dropout.p)
        self.query_proj, self.context_proj = _linear(d_model), _linear(d_model)
        self.attention = Attention(
            choose(SCORES, options.attention, "score function")(d_model),
            choose(NORMALIZERS, options.normalize, "normalization")(),
        )
        self.dropout = dropout

    def project(self, memory: ConvolvedMemory) -> ConvolvedMemory:
        """The memory with keys as this layer's score function takes them.

        A context is an average of values, which has a smaller variance the more of them there are:
        √m, m the source's length, gives it back (section 3.5).
        """
        length = memory.mask.sum(1)[:, None, None].to(memory.value.dtype)
        key = self.attention.score.map_key(memory.key)
        return memory._replace(key=key, value=memory.value * length.sqrt())

    def forward(
        self,
        x: Tensor,
        embedded: Tensor,
        projected: ConvolvedMemory,
        *,
        windows: Tensor | None = None,
        need_weights: bool = False,
    ) -> tuple[Tensor, Tensor | None]:
        """All positions at once, or the next one of each sequence.

        Args:
            x: Shape: (B, T, D).
            embedded: g, the embeddings of the tokens read. Shape: (B, T, D).
            projected: what `project` makes of the memory.
            windows: of a step, `x` and the k - 1 inputs before it of each of R = B T sequences.
                Shape: (R, k, D).
            need_weights: whether the weights are returned.

        Returns:
            The output (B, T, D), and the weights (B, T, S).
        """
        if windows is None:
            convolved = self.convolution(self.dropout(x), causal=True)
        else:
            convolved = self.convolution.of_windows(windows).view_as(x)
        query = (self.query_proj(convolved) + embedded) * HALF
        key, value, mask = projected
        attended: Attended = self.attention(
            query, key, value, mask[:, None], need_weights=need_weights
        )
        y = (convolved + self.context_proj(attended.context)) * HALF
        return (x + y) * HALF, attended.weights


def _linear(d_model: int) -> nn.Linear:
    linear = nn.Linear(d_model, d_model)
    nn.init.normal_(linear.weight, std=d_model**-0.5)
    nn.init.zeros_(linear.bias)
    return linear
