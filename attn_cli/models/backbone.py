"""What every backbone is: tokens become a vector each, a text becomes one vector.

Heads (`models.text`) make outputs of these. Shapes: B batch, T length, D d_model, H heads, L
layers, N chosen positions, R rows, V vocabulary.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import MISSING, dataclass
from typing import ClassVar, Self

from torch import Tensor, nn

from attn_cli.config import option


@dataclass(frozen=True)
class BackbonePreset:
    """The parts of a backbone that a size decides; d_ff = 4 d_model."""

    n_layers: int
    d_model: int
    n_heads: int
    vocab_size: int  # of a tokenizer trained for it
    dropout: float = 0.1  # of a pre-training


@dataclass(frozen=True, kw_only=True)
class BackboneConfig(ABC):
    """The parts that the configuration of every backbone has."""

    vocab_size: int = option(MISSING, "Tokens.", low=1, high=1 << 24)
    d_model: int = option(MISSING, "Width of the model.", low=1, high=1 << 16)
    dropout: float = option(0.1, "Dropout of every layer.", low=0.0, high=0.99)

    @classmethod
    @abstractmethod
    def of_size(cls, preset: BackbonePreset, vocab_size: int) -> Self:
        """The configuration of a preset, with its own dropout."""

    @property
    def max_len(self) -> int | None:
        """The longest input in tokens; None: any."""
        return None


@dataclass(frozen=True, kw_only=True)
class BidirectionalConfig(BackboneConfig, ABC):
    """The parts of backbones whose cells read in both directions.

    Raises:
        ValueError: the width can't be shared by two directions.
    """

    d_model: int = option(MISSING, "Width of both directions together.", low=2, high=1 << 16)

    def __post_init__(self) -> None:
        if self.d_model % 2:
            raise ValueError(f"d_model {self.d_model} can't be shared by two directions")


class Backbone(nn.Module, ABC):
    """A model that gives a vector for each token.

    Attributes:
        Config: the class of its configuration.
        template: how texts become its input, a key of `data.templates.TEMPLATES`.
        joins_rows: whether rows are parts of an example, of which `join` makes one vector.
        usual_pool: how a text's vectors become one where nothing is said: "own", "mean" or "max".
        own_position: the one token whose vector `pool` makes a text's of; None: there is no such.
    """

    Config: ClassVar[type[BackboneConfig]]
    template: ClassVar[str]
    joins_rows: ClassVar[bool] = False
    usual_pool: ClassVar[str] = "own"
    own_position: ClassVar[int | None] = None

    def __init__(self, config: BackboneConfig) -> None:
        super().__init__()
        self.config = config

    @property
    def d_model(self) -> int:
        """The width of a vector."""
        return self.config.d_model

    @property
    def max_len(self) -> int | None:
        """The longest input in tokens; None: any."""
        return self.config.max_len

    @property
    def score_function(self) -> str:
        """How its attention scores a key: see `nn.scores.SCORES`."""
        return "perceptron"  # of `nn.pooling`

    @property
    @abstractmethod
    def token_vectors(self) -> nn.Embedding:
        """The vectors of the vocabulary's tokens."""

    @property
    @abstractmethod
    def depths(self) -> list[list[nn.Module]]:
        """The modules from the input up, layer by layer: what is frozen, or learns more slowly."""

    @abstractmethod
    def forward(self, ids: Tensor, mask: Tensor, segments: Tensor | None = None) -> Tensor:
        """The vector of each token.

        Shape: ids, mask (boolean, padding behind) and segments (B, T) -> (B, T, D).
        """

    @abstractmethod
    def pool(self, hidden: Tensor, mask: Tensor) -> Tensor:
        """The architecture's own vector of a text. Shape: (B, T, D), (B, T) -> (B, D)."""

    def at(self, ids: Tensor, mask: Tensor, segments: Tensor | None, chosen: Tensor) -> Tensor:
        """The vectors of the chosen positions alone: cheaper in some where they are few.

        Shape: ids, mask, segments and chosen (boolean) (B, T) -> (N, D), row by row.
        """
        return self(ids, mask, segments)[chosen]

    @property
    def n_layers(self) -> int:
        """L; 0 where the backbone is no stack of layers with a vector for each token."""
        return 0

    def layers(self, ids: Tensor, mask: Tensor, segments: Tensor | None = None) -> list[Tensor]:
        """The embeddings' and every layer's vectors. Shape: as `forward`; L + 1 of (B, T, D)."""
        raise NotImplementedError(f"{type(self).__name__} has no layers of token vectors")

    def attentions(
        self, ids: Tensor, mask: Tensor, segments: Tensor | None = None
    ) -> dict[str, list[Tensor]]:
        """The attention weights of each kind, layer by layer; none where there is no attention.

        Shape: as `forward` -> kind: (B, H, T, T) each, or (B, H, 1, T) from the whole text.
        """
        return {}

    def join(self, vectors: Tensor, owner: Tensor, *, attend: bool = True) -> Tensor:
        """The vector of each row's example, of a backbone that joins rows.

        Args:
            vectors: of rows, an example's in order. Shape: (R, D).
            owner: the example of each, from 0, in order. Shape: (R,).
            attend: by attention; or as a mean.

        Returns:
            Shape: (R, D).
        """
        raise NotImplementedError(f"{type(self).__name__} does not join rows")


class LanguageModel(Backbone):
    """A backbone that predicts tokens by itself."""

    @property
    @abstractmethod
    def output_layer(self) -> tuple[Tensor, Tensor | None]:
        """The layer W (V, D) and b (V,), if any, of p(token) = softmax(W h + b)."""
