"""A conditional masked language model: all target tokens at once, some of them hidden.

Shapes: B batch, S source length, T target length, D d_model, L target lengths told apart.
"""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor, nn

from attn_cli.config.mask_predict import MaskPredictConfig
from attn_cli.models.seq2seq import AttentionMaps, EncoderDecoder
from attn_cli.nn.tables import OutputLinear
from attn_cli.nn.transformer import DecoderWeights, KeyValue


class MaskPredict(EncoderDecoder):
    """p(hidden tokens | X, the others) and p(length | X) (Ghazvininejad et al. 2019, section 2).

    The decoder attends to itself in both directions. What stands for a hidden token is a vector of
    the decoder's input alone, so any tokenizer will do: none needs a mask of its own. The length is
    predicted from the encoder's vector of the source's end token, which takes the part of the
    paper's LENGTH token (section 3.3).
    """

    Config: ClassVar[type] = MaskPredictConfig
    causal: ClassVar[bool] = False
    task: ClassVar[str] = "mask-predict"

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
        self, src_ids: Tensor, src_mask: Tensor, tgt_ids: Tensor, hidden: Tensor, real: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Vectors from which the target's tokens are predicted, and scores of its length.

        Args:
            src_ids: source tokens and eos. Shape: (B, S).
            src_mask: which of them are real. Shape: (B, S).
            tgt_ids: target tokens without bos and eos. Shape: (B, T).
            hidden: which of them the decoder does not see. Shape: (B, T), boolean.
            real: which of them are no padding. Shape: (B, T), boolean.

        Returns:
            Shape: (B, T, D), (B, L).
        """
        memory = self.encode(src_ids, src_mask)
        vectors, _ = self.decode(memory, src_mask, tgt_ids, hidden, real)
        return vectors, self.length_logits(memory, src_mask)

    def decode(
        self,
        memory: Tensor | tuple[KeyValue, ...],
        src_mask: Tensor,
        tgt_ids: Tensor,
        hidden: Tensor,
        real: Tensor,
        *,
        need_weights: bool = False,
    ) -> tuple[Tensor, list[DecoderWeights]]:
        """The decoder's part of `forward`, of the encoder's output or what `project` makes of it.

        Returns:
            Vectors (B, T, D), and the weights of every layer if `need_weights`.
        """
        tokens = self.tgt_embedding.tokens(tgt_ids)
        x = self.tgt_embedding.place(torch.where(hidden[..., None], self.mask_vector, tokens))
        visible, own = src_mask[:, None, None, :], real[:, None, None, :]
        return self.decoder(x, memory, visible, own, need_weights=need_weights)

    def project(self, memory: Tensor) -> tuple[KeyValue, ...]:
        """Keys and values of the source for every decoder layer: once for many passes.

        Shape: (B, S, D) -> two of (B, H, S, d_head) each.
        """
        return tuple(layer.cross_attention.project_memory(memory) for layer in self.decoder.layers)

    def attentions(
        self, src_ids: Tensor, src_mask: Tensor, tgt_ids: Tensor, real: Tensor
    ) -> tuple[Tensor, AttentionMaps]:
        """Vectors and the weights of every attention in a pass that sees the whole target.

        Shape: as `forward`.
        """
        outputs, encoder = self.encoder.each_layer(
            self.src_embedding(src_ids), src_mask[:, None, None, :], need_weights=True
        )
        nothing = torch.zeros_like(real)
        vectors, weights = self.decode(
            outputs[-1], src_mask, tgt_ids, nothing, real, need_weights=True
        )
        own, cross = ([getattr(layer, kind) for layer in weights] for kind in ("own", "cross"))
        return vectors, AttentionMaps(encoder, own, cross)
