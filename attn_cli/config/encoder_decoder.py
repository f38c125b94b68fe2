"""The parts that every sequence-to-sequence model has, whatever its layers are made of."""

from __future__ import annotations

from dataclasses import MISSING, dataclass

from attn_cli.config import option
from attn_cli.config.image import SourceConfig


@dataclass(frozen=True, kw_only=True)
class EncoderDecoderConfig(SourceConfig):
    """What a saved sequence-to-sequence model is made of, apart from its architecture's choices."""

    d_model: int = option(MISSING, "Width of the model.", low=1, high=1 << 16)
    n_encoder_layers: int = option(MISSING, "Encoder layers.", low=0, high=256)
    n_decoder_layers: int = option(MISSING, "Decoder layers.", low=1, high=256)
    dropout: float = option(MISSING, "Dropout of every layer.", low=0.0, high=0.99)
    src_vocab: int = option(MISSING, "Source tokens.", low=0, high=1 << 24)
    tgt_vocab: int = option(MISSING, "Target tokens.", low=1, high=1 << 24)
    share_embeddings: bool = option(MISSING, "One matrix for source and target embeddings.")

    def check_vocabularies(self) -> None:
        """Raises ValueError if vocabularies do not fit the source, or each other."""
        self.check_source(self.src_vocab, share_embeddings=self.share_embeddings)
        if self.share_embeddings and self.src_vocab != self.tgt_vocab:
            raise ValueError("shared embeddings need one vocabulary for source and target")
