"""One stack of self-attention layers: what BERT and GPT are made of."""

from __future__ import annotations

from dataclasses import MISSING, dataclass

from attn_cli.config import option
from attn_cli.config.transformer import POSITION_ENCODINGS, AttentionOptions

ACTIVATIONS = ("gelu", "gelu-tanh", "relu")
POOLS = ("mean", "max", "own")


@dataclass(frozen=True, kw_only=True)
class StackConfig(AttentionOptions):
    """What a saved stack is made of: every part decided.

    Raises:
        ValueError: the parts do not fit together.
    """

    vocab_size: int = option(MISSING, "Tokens.", low=1, high=1 << 24)
    d_model: int = option(MISSING, "Width of the model.", low=1, high=1 << 16)
    d_ff: int = option(MISSING, "Width of the feed-forward networks.", low=1, high=1 << 20)
    n_heads: int = option(MISSING, "Attention heads.", low=1, high=1024)
    n_layers: int = option(MISSING, "Layers.", low=1, high=256)
    dropout: float = option(0.1, "Dropout of every sublayer.", low=0.0, high=0.99)
    positions: str = option("learned", "Position encoding.", choices=POSITION_ENCODINGS)
    max_positions: int = option(512, "Longest input in tokens.", low=1, high=1 << 20)
    n_segments: int = option(2, "Segment vectors; 0: none.", low=0, high=1024)
    norm: str = option("post", "Where sublayers are normalized.", choices=("pre", "post"))
    norm_eps: float = option(1e-12, "Epsilon of the normalizations.", low=0.0, high=1.0)
    embedding_norm: bool = option(True, "Normalize the sum of the embeddings.")
    activation: str = option("gelu", "Activation function.", choices=ACTIVATIONS)

    def __post_init__(self) -> None:
        super().__post_init__()
        self.d_head(self.d_model, self.n_heads)


@dataclass(frozen=True, kw_only=True)
class HeadConfig:
    """An output layer on top of a backbone.

    `name` is the task's, `kind` a key of `nn.heads.HEADS`, `task` a key of `tasks.TASKS` ("" where
    the head belongs to a pre-training objective).
    """

    name: str = option(MISSING, "The task's name.")
    kind: str = option(MISSING, "Kind of output layer.", choices=("text", "tokens", "span", "mlm"))
    n_outputs: int = option(MISSING, "Outputs.", low=1, high=1 << 24)
    task: str = option("", "What is done with the outputs.")
    max_len: int = option(512, "Longest input of the task in tokens.", low=8, high=1 << 20)
    pool: str = option("own", "How a text's vectors become one.", choices=POOLS)
    n_texts: int = option(
        0, "Texts of an example, where the task leaves that open; 0: any.", low=0, high=1 << 16
    )
    mean: float = option(0.0, "Of the numbers that were trained on.")
    std: float = option(1.0, "Their standard deviation.", low=0.0)
    low: float = option(0.0, "The least of them.")
    high: float = option(0.0, "The greatest of them.")
