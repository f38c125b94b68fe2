"""What gives a vector for each token: a backbone, or the encoder of a sequence-to-sequence model.

Shapes: B batch, T length, D d_model.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor

from attn_cli.config.embedding import EmbedDefaults
from attn_cli.config.source import FILE_KINDS
from attn_cli.data.templates import TEMPLATES, Ids, InputRow
from attn_cli.errors import DataError
from attn_cli.models.directory import CONFIG, load_model
from attn_cli.models.seq2seq import EncoderDecoder
from attn_cli.models.text import TextModel
from attn_cli.tokenizers.tokenizer import Tokenizer
from attn_cli.tokenizers.tokenizer_files import load_tokenizer, read_tokenizers

_LONGEST = 512  # tokens of a window where the model itself sets no limit


class Template(Protocol):
    """Special tokens around a text; see `data.templates`."""

    max_len: int

    def overhead(self, n_texts: int) -> int:
        """The number of special tokens."""

    def fill(self, *texts: Ids) -> InputRow:
        """The sequence of a text with its special tokens."""


class SourceTemplate:
    """S ⟨eos⟩: what the encoder of a sequence-to-sequence model reads."""

    def __init__(self, tokenizer: Tokenizer, max_len: int) -> None:
        self.max_len = max_len
        self._eos_id = tokenizer.eos_id

    def overhead(self, n_texts: int) -> int:
        """One special token."""
        return 1

    def fill(self, *texts: Ids) -> InputRow:
        """The sequence of the text and its end."""
        (ids,) = texts
        return InputRow([*ids, self._eos_id], [0] * (len(ids) + 1), (0,))


@dataclass(frozen=True)
class TokenEncoder:
    """A model that gives vectors, ready to run.

    Attributes:
        tokenizer: cuts texts.
        template: puts special tokens around them.
        layers: ids, mask, segments (B, T) -> the embeddings and every layer's vectors (B, T, D).
        n_layers: how many layers there are, without the embeddings.
        d_model: D.
        first_is_whole: whether the vector of the first special token stands for the whole text and
            special tokens take part in means, as in BERT; else that is the last one's, which has
            seen all of it.
        device: where it runs.
        defaults: what a text's vector is where nothing else is asked for.
    """

    tokenizer: Tokenizer
    template: Template
    layers: Callable[[Tensor, Tensor, Tensor], list[Tensor]]
    n_layers: int
    d_model: int
    first_is_whole: bool
    device: torch.device
    defaults: EmbedDefaults = EmbedDefaults()

    @classmethod
    def load(cls, path: str, device: torch.device) -> TokenEncoder:
        """The encoder in a model directory.

        Raises:
            DataError: it can't be loaded, or is of a kind that has no layers of vectors.
        """
        config, model = load_model(Path(path), device)
        if isinstance(model, TextModel):
            where = f"{Path(path) / CONFIG}: options: embedding"
            defaults = EmbedDefaults.read(config.options.get("embedding"), where)
            return cls._of_backbone(path, model, device, defaults)
        if isinstance(model, EncoderDecoder):
            return cls._of_source(path, model, device)
        raise DataError(f"{path}: architecture {config.arch!r} has no layers of token vectors")

    @classmethod
    def _of_backbone(
        cls, path: str, model: TextModel, device: torch.device, defaults: EmbedDefaults
    ) -> TokenEncoder:
        backbone = model.backbone
        if not backbone.n_layers:
            raise DataError(f"{path}: this model has no layers of token vectors")
        tokenizer = load_tokenizer(path)
        model.check_vocabulary(tokenizer.vocab_size, path)
        longest = backbone.max_len or _LONGEST
        longest = min(longest, defaults.max_len or longest)
        return cls(
            tokenizer=tokenizer,
            template=TEMPLATES[backbone.template](tokenizer, longest),
            layers=backbone.layers,
            n_layers=backbone.n_layers,
            d_model=backbone.d_model,
            first_is_whole=backbone.template == "bert",
            device=device,
            defaults=defaults,
        )

    @classmethod
    def _of_source(cls, path: str, model: EncoderDecoder, device: torch.device) -> TokenEncoder:
        tokenizer, target_tokenizer = read_tokenizers(Path(path))
        config = model.config
        if config.source in FILE_KINDS:
            noun = FILE_KINDS[config.source].noun
            raise DataError(f"{path}: this model reads {noun}; embed gives vectors of texts")
        model.check_vocabulary(tokenizer.vocab_size, target_tokenizer.vocab_size, path)
        limit = config.max_positions if config.positions == "learned" else _LONGEST

        def layers(ids: Tensor, mask: Tensor, segments: Tensor) -> list[Tensor]:
            return model.encoder_layers(ids, mask)[0]

        return cls(
            tokenizer=tokenizer,
            template=SourceTemplate(tokenizer, limit),
            layers=layers,
            n_layers=config.n_encoder_layers,
            d_model=config.d_model,
            first_is_whole=False,
            device=device,
        )
