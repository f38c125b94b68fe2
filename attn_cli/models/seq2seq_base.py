"""What every sequence-to-sequence model has: embeddings, an output layer, states for a search.

Shapes: B batch, S source length, T target length, D d_model, V vocabulary.
"""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from attn_cli.errors import DataError
from attn_cli.nn.image import RegionEmbedding
from attn_cli.nn.positions import TokenEmbedding
from attn_cli.nn.tables import HasTables


class Seq2SeqModel(nn.Module, HasTables):
    """Embeddings and output layer of a model; it encodes, decodes and steps in its own way.

    Attributes:
        task: what it does with a line, see `directory.ModelConfig`.
        config: with src_vocab, tgt_vocab, d_model, share_embeddings, tie_embeddings.
        is_recurrent: whether the decoder's states go from step to step, so that it can't read all
            target tokens in parallel.
        has_attention: whether it gives attention over the source.
        hard_attention: whether that is drawn in training, so that `forward` takes `log_probs`.
    """

    task: ClassVar[str] = "translate"
    tables: ClassVar[tuple[str, ...]] = ("output_weight",)
    is_recurrent: ClassVar[bool] = False
    config: Any
    src_embedding: Any  # a `TokenEmbedding`, or what makes regions of images
    tgt_embedding: TokenEmbedding
    output_weight: nn.Parameter
    output_bias: nn.Parameter

    @property
    def has_attention(self) -> bool:
        """See the class."""
        return True

    @property
    def hard_attention(self) -> bool:
        """See the class."""
        return False

    def add_embeddings(self, positions: str, max_positions: int, dropout: nn.Module) -> None:
        """Makes the embeddings of source and target, one where they are shared."""
        config = self.config
        tgt = _embedding(config.tgt_vocab, config.d_model)
        if config.source == "image":
            regions = config.image_encoder, config.region_size, config.d_model
            self.src_embedding = RegionEmbedding(*regions, dropout)
        else:
            src = tgt if config.share_embeddings else _embedding(config.src_vocab, config.d_model)
            self.src_embedding = TokenEmbedding(src, positions, max_positions, dropout)
        self.tgt_embedding = TokenEmbedding(tgt, positions, max_positions, dropout)

    def add_output(self) -> None:
        """Makes the output layer, whose matrix may be that of the target's embeddings."""
        config = self.config
        if not config.tie_embeddings:
            weight = torch.empty(config.tgt_vocab, config.d_model).normal_()
            self.output_weight = nn.Parameter(weight.mul_(config.d_model**-0.5))
        self.output_bias = nn.Parameter(torch.zeros(config.tgt_vocab))

    @property
    def output_layer(self) -> tuple[Tensor, Tensor]:
        """W (V, D) and b (V,) of p(token) = softmax(W h + b)."""
        tied = self.config.tie_embeddings
        weight = self.tgt_embedding.tokens.weight if tied else self.output_weight
        return weight, self.output_bias

    def check_vocabulary(self, src_size: int, tgt_size: int, where: str) -> None:
        """Makes sure that the tokenizers fit.

        Raises:
            DataError: a tokenizer has more or fewer tokens than the model has vectors.
        """
        for side, found, expected in (
            ("source", src_size, self.config.src_vocab),
            ("target", tgt_size, self.config.tgt_vocab),
        ):
            if found != expected:
                raise DataError(
                    f"{where}: {expected} {side} tokens, but the tokenizer has {found}; "
                    "the directory mixes files of two models"
                )


def joined(one: Tensor, two: Tensor, dim: int) -> Tensor:
    """Rows of one tensor, then of another, both padded with zeros along `dim` to one length."""
    length = max(one.shape[dim], two.shape[dim])
    before = (0, 0) * (one.dim() - dim - 1)
    return torch.cat([F.pad(x, (*before, 0, length - x.shape[dim])) for x in (one, two)])


def beam_rows(sentences: Tensor, beam_size: int) -> Tensor:
    """Rows of all beams of some sentences. Shape: (M,) -> (M * K,)."""
    beams = torch.arange(beam_size, device=sentences.device)
    return (sentences[:, None] * beam_size + beams).flatten()


def reordered_rows(beams: Tensor, beam_size: int) -> Tensor:
    """Rows of chosen beams of every sentence. Shape: (N, K') -> (N * K',)."""
    first = torch.arange(len(beams), device=beams.device)[:, None] * beam_size
    return (first + beams).flatten()


def _embedding(vocab: int, d_model: int) -> nn.Embedding:
    embedding = nn.Embedding(vocab, d_model)
    nn.init.normal_(embedding.weight, std=d_model**-0.5)
    return embedding
