"""An encoder of recordings, and a label for each of them.

Shapes: B batch, S positions, F features, D d_model, H heads, C labels.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import MISSING, dataclass
from typing import ClassVar

from torch import Tensor, nn

from attn_cli.config import option, with_default
from attn_cli.config.attention import ACTIVATIONS, AttentionOptions
from attn_cli.config.finetuning import POOLS
from attn_cli.config.source import SourceConfig
from attn_cli.models.source_embeddings import FILE_EMBEDDINGS, Place
from attn_cli.nn.dropout import Dropout
from attn_cli.nn.heads import TextHead
from attn_cli.nn.pooling import AttentionPool, max_of, mean_of
from attn_cli.nn.transformer import Encoder, EncoderLayer

# The parts that a recognizer's encoder has, too (`models.seq2seq.Transformer`): begin of names.
ENCODER = ("src_embedding.", "encoder.")


@dataclass(frozen=True, kw_only=True)
class RecordingConfig(SourceConfig, AttentionOptions):
    """What a saved classifier of recordings is made of: every part decided.

    Raises:
        ValueError: the parts do not fit together.
    """

    positions: str = with_default(AttentionOptions, "positions", "rotary")
    d_model: int = option(MISSING, "Width of the model.", low=1, high=1 << 16)
    d_ff: int = option(MISSING, "Width of the feed-forward networks.", low=1, high=1 << 20)
    n_heads: int = option(MISSING, "Attention heads.", low=1, high=1024)
    n_encoder_layers: int = option(MISSING, "Layers.", low=1, high=256)
    dropout: float = option(0.1, "Dropout of every layer.", low=0.0, high=0.99)
    norm: str = option("pre", "Where sublayers are normalized.", choices=("pre", "post"))
    activation: str = option("relu", "Activation function.", choices=ACTIVATIONS)
    max_positions: int = option(1024, "Vectors of learned positions.", low=1, high=1 << 20)
    pool: str = option("own", "How a recording's vectors become one.", choices=POOLS)
    n_labels: int = option(MISSING, "Labels.", low=1, high=1 << 20)

    def __post_init__(self) -> None:
        super().__post_init__()
        self.d_head(self.d_model, self.n_heads)
        if self.source not in FILE_EMBEDDINGS:
            raise ValueError(f"source {self.source}: nothing that a file holds")
        self.check_source(0, share_embeddings=False)


class RecordingClassifier(nn.Module):
    """The encoder of a speech transformer; one vector of all positions'; an output for each label.

    That vector is s = Σₜ αₜ hₜ, α from a learned query (see `AttentionPool`), the mean of the
    positions, or their maximum.
    """

    Config: ClassVar[type[RecordingConfig]] = RecordingConfig

    def __init__(self, config: RecordingConfig) -> None:
        super().__init__()
        self.config = config
        drop = Dropout(config.dropout)
        place = Place(config.d_model, config.positions, config.max_positions, drop)
        self.src_embedding = FILE_EMBEDDINGS[config.source](config, place)
        common = (config.d_model, config.n_heads, config.d_ff, config.norm, config, drop)
        kind = config.activation
        layers = [EncoderLayer(*common, activation=kind) for _ in range(config.n_encoder_layers)]
        self.encoder = Encoder(layers, config.d_model, config.norm)
        self.attention_pool = AttentionPool(config.d_model) if config.pool == "own" else None
        self.head = TextHead(config.d_model, config.n_labels, config.dropout)

    def forward(self, source: Tensor, mask: Tensor) -> Tensor:
        """The outputs of recordings. Shape: (B, 4 S, F), (B, S) -> (B, C)."""
        x = self.src_embedding.of_source(source, mask)
        return self._outputs(self.encoder(x, mask[:, None, None, :]), mask)[0]

    def attentions(self, source: Tensor, mask: Tensor) -> tuple[Tensor, Mapping[str, list[Tensor]]]:
        """The outputs, and the weights of every attention.

        Returns:
            (B, C); "recording": how much of each position is in the recording's vector, where
            that is known, (B, 1, 1, S); "self": each layer's, (B, H, S, S).
        """
        x = self.src_embedding.of_source(source, mask)
        vectors, weights = self.encoder.each_layer(x, mask[:, None, None, :], need_weights=True)
        outputs, pooled = self._outputs(vectors[-1], mask)
        own = [] if pooled is None else [pooled[:, None, None]]
        return outputs, {"recording": own, "self": weights}

    def _outputs(self, hidden: Tensor, mask: Tensor) -> tuple[Tensor, Tensor | None]:
        """The outputs, and what pooling attends to, if it attends. Shape: (B, C), (B, S)."""
        if self.attention_pool is not None:
            vectors, weights = self.attention_pool(hidden, mask)
            return self.head(vectors), weights
        vectors = (max_of if self.config.pool == "max" else mean_of)(hidden, mask)
        return self.head(vectors), None
