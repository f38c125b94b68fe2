"""What every sequence-to-sequence model has: embeddings, an output layer, and what it can be asked.

A source is a tensor of token ids (B, S), of an image's pixels (B, R P, C P, 3) in bytes, of which
the model makes S = R C regions, or of a recording's frames (B, 4 S, F); its mask (B, S) says which
of the S are no padding.

Shapes: B batch, S source length, T target length, D d_model, H heads, V vocabulary, N sentences,
K beams.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import MISSING, dataclass
from typing import ClassVar, Generic, NamedTuple, TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from attn_cli.config import option
from attn_cli.config.source import SourceConfig
from attn_cli.errors import DataError
from attn_cli.models.source_embeddings import FILE_EMBEDDINGS, Place
from attn_cli.nn.beam_state import BeamState
from attn_cli.nn.ctc import CtcOutput
from attn_cli.nn.losses import head_penalty
from attn_cli.nn.positions import TokenEmbedding
from attn_cli.nn.prepared import HasProducts, Make, PreparedLinear
from attn_cli.nn.source import SourceEmbedding
from attn_cli.nn.tables import HasTables


@dataclass(frozen=True)
class Preset:
    """The parts that a size decides; None: the architecture has no such part."""

    d_model: int
    d_ff: int | None
    n_heads: int | None
    n_encoder_layers: int
    n_decoder_layers: int
    dropout: float
    vocab_size: int  # of a tokenizer trained for it

    @property
    def parts(self) -> dict[str, float]:
        """The parts that a model's configuration has."""
        parts = {name: value for name, value in vars(self).items() if value is not None}
        del parts["vocab_size"]
        return parts


@dataclass(frozen=True, kw_only=True)
class EncoderDecoderConfig(SourceConfig):
    """What a saved sequence-to-sequence model is made of, apart from its architecture's choices.

    Attributes:
        presets: by the name of a size.
    """

    presets: ClassVar[Mapping[str, Preset]]
    d_model: int = option(MISSING, "Width of the model.", low=1, high=1 << 16)
    n_encoder_layers: int = option(MISSING, "Encoder layers.", low=0, high=256)
    n_decoder_layers: int = option(MISSING, "Decoder layers.", low=1, high=256)
    dropout: float = option(MISSING, "Dropout of every layer.", low=0.0, high=0.99)
    src_vocab: int = option(MISSING, "Source tokens.", low=0, high=1 << 24)
    tgt_vocab: int = option(MISSING, "Target tokens.", low=1, high=1 << 24)
    share_embeddings: bool = option(MISSING, "One matrix for source and target embeddings.")

    @classmethod
    def suited(cls, parts: Mapping[str, object]) -> Mapping[str, object]:
        """Choices that suit these parts better than the usual ones."""
        return {}

    def check_vocabularies(self) -> None:
        """Raises ValueError if vocabularies do not fit the source, or each other."""
        self.check_source(self.src_vocab, share_embeddings=self.share_embeddings)
        if self.share_embeddings and self.src_vocab != self.tgt_vocab:
            raise ValueError("shared embeddings need one vocabulary for source and target")


class DecoderOutput(NamedTuple):
    """What a model makes of a target that it reads.

    Attributes:
        hidden: vectors from which each next token is predicted. Shape: (B, T, D).
        weights: attention over the source, layer by layer, where it was asked for and there is
            some. Shape: (B, H, T, S) each.
        log_probs: ln q of the positions that hard attention drew in training. Shape: (B, T).
        encoded: the encoder's vectors, of what it read. Shape: (B, S, D).
    """

    hidden: Tensor
    weights: list[Tensor]
    log_probs: Tensor | None
    encoded: Tensor


@dataclass(frozen=True)
class AttentionMaps:
    """The weights of every attention, layer by layer.

    Attributes:
        encoder: from source to source. Shape: (B, H, S, S) each.
        decoder: from target to earlier target. Shape: (B, H, T, T) each.
        cross: from target to source. Shape: (B, H, T, S) each.
    """

    encoder: list[Tensor]
    decoder: list[Tensor]
    cross: list[Tensor]

    def head_penalty(self, src_mask: Tensor, tgt_mask: Tensor) -> Tensor:
        """Σ ‖A Aᵀ - I‖² over all attentions and valid positions (see `losses.head_penalty`).

        Shape: which positions are valid, (B, S) and (B, T) -> ().
        """
        terms = [head_penalty(weights, src_mask) for weights in self.encoder]
        terms += [head_penalty(weights, tgt_mask) for weights in (*self.decoder, *self.cross)]
        return torch.stack(terms).sum()


class Seq2SeqModel(nn.Module, HasTables, HasProducts, ABC):
    """Embeddings and output layer of a model; it encodes and decodes in its own way.

    Attributes:
        Config: the class of its configuration.
        task: what it does with a line, see `directory.ModelConfig`.
        is_recurrent: whether the decoder's states go from step to step, so that it can't read all
            target tokens in parallel.
        config: its sizes and variants.
        output_weight: W of the output layer; None where it is the target's embeddings.
        prepared: the output layer in the form in which it is fast, of a model that only answers.
        ctc: the encoder's own output, if it has one.
    """

    Config: ClassVar[type[EncoderDecoderConfig]]
    task: ClassVar[str] = "translate"
    is_recurrent: ClassVar[bool] = False
    tables: ClassVar[tuple[str, ...]] = ("output_weight",)
    config: EncoderDecoderConfig
    src_embedding: SourceEmbedding
    tgt_embedding: TokenEmbedding
    output_weight: nn.Parameter | None
    output_bias: nn.Parameter
    prepared: PreparedLinear | None = None
    ctc: CtcOutput | None

    @property
    def has_attention(self) -> bool:
        """Whether it attends to the source."""
        return True

    @property
    def n_positions(self) -> int | None:
        """How many places of a text it tells apart; None: any number of them."""
        return self.tgt_embedding.n_positions

    @property
    def hard_attention(self) -> bool:
        """Whether what it attends to is drawn in training: outputs then have `log_probs`."""
        return False

    def add_embeddings(
        self, positions: str, max_positions: int, dropout: nn.Module, *, scaled: bool = True
    ) -> None:
        """Makes the embeddings of source and target, one where they are shared."""
        config = self.config
        tgt = _embedding(config.tgt_vocab, config.d_model)
        if config.source in FILE_EMBEDDINGS:
            place = Place(config.d_model, positions, max_positions, dropout)
            self.src_embedding = FILE_EMBEDDINGS[config.source](config, place)
        else:
            src = tgt if config.share_embeddings else _embedding(config.src_vocab, config.d_model)
            self.src_embedding = TokenEmbedding(
                src, positions, max_positions, dropout, scaled=scaled
            )
        self.tgt_embedding = TokenEmbedding(tgt, positions, max_positions, dropout, scaled=scaled)

    def add_output(self, *, tie: bool) -> None:
        """Makes the output layer; if `tie`, its matrix is that of the target's embeddings."""
        config = self.config
        self.register_parameter("output_weight", None)
        if not tie:
            weight = torch.empty(config.tgt_vocab, config.d_model).normal_()
            self.output_weight = nn.Parameter(weight.mul_(config.d_model**-0.5))
        self.output_bias = nn.Parameter(torch.zeros(config.tgt_vocab))
        self.ctc = CtcOutput(config.d_model, config.tgt_vocab) if config.ctc else None

    @property
    def output_layer(self) -> tuple[Tensor, Tensor]:
        """W (V, D) and b (V,) of p(token) = softmax(W h + b)."""
        weight = self.output_weight
        return self.tgt_embedding.tokens.weight if weight is None else weight, self.output_bias

    def prepare_products(self, make: Make) -> None:
        """See `HasProducts`."""
        self.prepared = make(*self.output_layer)

    def logits(self, hidden: Tensor, output: Callable[[Tensor], Tensor] | None = None) -> Tensor:
        """Of vectors from which tokens are predicted, by a part of the output layer if it is given.

        Shape: (..., D) -> (..., V), or as many as that part gives.
        """
        if output is not None:
            return output(hidden)
        if self.prepared is None or self.training:
            return F.linear(hidden, *self.output_layer)
        return self.prepared(hidden)

    def check_vocabulary(self, src_size: int, tgt_size: int, where: str) -> None:
        """Makes sure that the tokenizers fit.

        Raises:
            DataError: a tokenizer has more or fewer tokens than the model has vectors.
        """
        for side, size, expected in (
            ("source", src_size, self.config.src_vocab),
            ("target", tgt_size, self.config.tgt_vocab),
        ):
            if size != expected:
                raise DataError(
                    f"{where}: {expected} {side} tokens, but the tokenizer has {size}; "
                    "the directory mixes files of two models"
                )


State = TypeVar("State", bound=BeamState)


class Started(NamedTuple, Generic[State]):
    """Sources before the first step of a search.

    Attributes:
        state: of the decoder.
        encoded: the encoder's vectors, which `ctc` takes. Shape: (N, S, D).
    """

    state: State
    encoded: Tensor


class AutoregressiveModel(Seq2SeqModel, Generic[State]):
    """A model that predicts one token after another: from whole targets, or step by step.

    Its state is passed in and returned, so that one search serves every model.
    """

    def output_of(self, tokens: Tensor) -> Callable[[Tensor], Tensor]:
        """The output layer of these tokens alone. Shape: (U,); it takes (..., D) to (..., U)."""
        weight, bias = self.output_layer
        int8 = self.prepared is not None and self.prepared.is_int8
        return PreparedLinear(weight[tokens], bias[tokens], int8=int8)

    @abstractmethod
    def encoded(self, source: Tensor, src_mask: Tensor) -> Tensor:
        """The encoder's vectors, which `ctc` takes. Shape: (B, S, D)."""

    @abstractmethod
    def forward(
        self, source: Tensor, src_mask: Tensor, tgt_in: Tensor, *, need_weights: bool = False
    ) -> DecoderOutput:
        """Reads whole targets (teacher forcing).

        Args:
            source: token ids, or what is in files.
            src_mask: which of its positions are no padding. Shape: (B, S).
            tgt_in: tokens of the targets, bos first. Shape: (B, T).
            need_weights: whether the weights are returned.
        """

    def attentions(
        self, source: Tensor, src_mask: Tensor, tgt_in: Tensor
    ) -> tuple[Tensor, AttentionMaps]:
        """The vectors of `forward`, with the weights of every attention in the model."""
        output: DecoderOutput = self(source, src_mask, tgt_in, need_weights=True)
        return output.hidden, AttentionMaps([], [], output.weights)

    @abstractmethod
    def started(self, source: Tensor, src_mask: Tensor) -> Started[State]:
        """Encodes N sources, for a search with K = 1 at first."""

    def start(self, source: Tensor, src_mask: Tensor) -> State:
        """The state of N sources before the first step, with K = 1."""
        return self.started(source, src_mask).state

    @abstractmethod
    def step(
        self,
        state: State,
        tokens: Tensor,
        *,
        need_attention: bool = False,
        output: Callable[[Tensor], Tensor] | None = None,
    ) -> tuple[Tensor, State, Tensor | None]:
        """Reads one token per beam; `output` stands in for the output layer (see `output_of`).

        Shape:
            tokens (N, K)
            -> logits (N, K, V), the state after it, attention over the source (N, K, S) if
            `need_attention` and there is some.
        """


def _embedding(vocab: int, d_model: int) -> nn.Embedding:
    embedding = nn.Embedding(vocab, d_model)
    nn.init.normal_(embedding.weight, std=d_model**-0.5)
    return embedding
