"""A conditional masked language model: all target tokens at once, some of them masked.

Shapes: B batch, S source length, T target length, D d_model, L target lengths told apart.
"""

from __future__ import annotations

from dataclasses import MISSING, dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from attn_cli.config import option, with_default
from attn_cli.models.seq2seq import EncoderDecoder, TransformerConfig, maps_of
from attn_cli.models.seq2seq_base import AttentionMaps
from attn_cli.nn.cache import KeyValue
from attn_cli.nn.tables import OutputLinear
from attn_cli.nn.transformer import DecoderWeights


@dataclass(frozen=True, kw_only=True)
class MaskPredictConfig(TransformerConfig):
    """What a saved model of `train-mt --decoder mask-predict` is made of."""

    # Masked tokens are equal vectors: only what is added to them says where they stand.
    positions: str = with_default(TransformerConfig, "positions", "sinusoidal")
    n_lengths: int = option(
        MISSING, "Target lengths told apart: 0, 1, … and at least N - 1.", low=2, high=1 << 16
    )


class MaskPredict(EncoderDecoder):
    """p(masked tokens | X, the others) and p(length | X) (Ghazvininejad et al. 2019, section 2).

    The decoder attends to itself in both directions. What stands for a masked token is a vector of
    the decoder's input alone, so any tokenizer will do: none needs a mask of its own. The length is
    predicted from the encoder's vector of the source's end token, which takes the part of the
    paper's LENGTH token (section 3.3).
    """

    Config: ClassVar[type[MaskPredictConfig]] = MaskPredictConfig
    causal: ClassVar[bool] = False
    task: ClassVar[str] = "mask-predict"
    config: MaskPredictConfig

    def __init__(self, config: MaskPredictConfig) -> None:
        super().__init__(config)
        vector = torch.empty(config.d_model).normal_().mul_(config.d_model**-0.5)
        self.mask_vector = nn.Parameter(vector)
        self.length_output = OutputLinear(config.d_model, config.n_lengths)

    def length_logits(self, memory: Tensor, src_mask: Tensor) -> Tensor:
        """Scores of the target's lengths 0 … L - 1. Shape: (B, S, D), (B, S) -> (B, L)."""
        ends = src_mask.sum(1) - 1
        rows = torch.arange(len(memory), device=memory.device)
        return self.length_output(memory[rows, ends])

    def forward(
        self, source: Tensor, src_mask: Tensor, tgt_ids: Tensor, masked: Tensor, tgt_mask: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Vectors from which the target's tokens are predicted, and scores of its length.

        Args:
            source: source tokens and eos, or pixels.
            src_mask: which of its positions are no padding. Shape: (B, S).
            tgt_ids: target tokens without bos and eos. Shape: (B, T).
            masked: which of them the decoder does not see. Shape: (B, T), boolean.
            tgt_mask: which of them are no padding. Shape: (B, T), boolean.

        Returns:
            Shape: (B, T, D), (B, L).
        """
        memory = self.encode(source, src_mask)
        vectors, _ = self.decode(memory, src_mask, tgt_ids, masked, tgt_mask)
        return vectors, self.length_logits(memory, src_mask)

    def decode(
        self,
        memory: Tensor | tuple[KeyValue, ...],
        src_mask: Tensor,
        tgt_ids: Tensor,
        masked: Tensor,
        tgt_mask: Tensor,
        *,
        need_weights: bool = False,
    ) -> tuple[Tensor, list[DecoderWeights]]:
        """The decoder's part of `forward`.

        Its memory is the encoder's output, or for many passes what `decoder.project` makes of it.

        Returns:
            Vectors (B, T, D), and the weights of every layer if `need_weights`.
        """
        tokens = self.tgt_embedding.tokens(tgt_ids)
        x = self.tgt_embedding.of_vectors(torch.where(masked[..., None], self.mask_vector, tokens))
        src_visible, tgt_visible = src_mask[:, None, None, :], tgt_mask[:, None, None, :]
        return self.decoder(x, memory, src_visible, tgt_visible, need_weights=need_weights)

    def attentions(
        self, source: Tensor, src_mask: Tensor, tgt_ids: Tensor, tgt_mask: Tensor
    ) -> tuple[Tensor, AttentionMaps]:
        """Vectors and the weights of every attention in a pass that sees the whole target.

        Shape: as `forward`.
        """
        outputs, encoder = self.encoder_layers(source, src_mask, need_weights=True)
        nothing = torch.zeros_like(tgt_mask)
        vectors, weights = self.decode(
            outputs[-1], src_mask, tgt_ids, nothing, tgt_mask, need_weights=True
        )
        return vectors, maps_of(encoder, weights)
