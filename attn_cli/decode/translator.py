"""Translation: a sequence-to-sequence model, its tokenizers and the search."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor

from attn_cli.config import shown
from attn_cli.config.decoding import SearchOptions
from attn_cli.data.parallel import pad
from attn_cli.data.tokenizer import Tokenizer
from attn_cli.data.tokenizer_files import read_tokenizers
from attn_cli.decode.generator import Generator, Source, Translation, gold_log_probs
from attn_cli.decode.long_input import split_long
from attn_cli.decode.search import Hypothesis, Request
from attn_cli.decode.step import StepOutput
from attn_cli.errors import DataError, UsageError
from attn_cli.models.directory import load_model

__all__ = ["Source", "Translation", "Translator"]

Ids = Sequence[int]


class Seq2SeqStep:
    """A sequence-to-sequence model as the search sees it; a `decode.step.StepModel`."""

    def __init__(self, model: Any, src: Tokenizer, tgt: Tokenizer) -> None:
        self.model = model
        self.src = src
        self.bos_id, self.eos_id, self.pad_id = tgt.bos_id, tgt.eos_id, tgt.pad_id

    def start(self, sources: Sequence[Sequence[int]]) -> object:
        """Encodes token lists that end in eos."""
        ids, mask = pad(sources, self.src.pad_id)
        device = next(self.model.parameters()).device
        return self.model.start(ids.to(device), mask.to(device))

    def step(self, state: object, tokens: Tensor, *, need_attention: bool = False) -> StepOutput:
        """One step of every beam."""
        logits, after, attention = self.model.step(state, tokens, need_attention=need_attention)
        return StepOutput(logits.float().log_softmax(-1), after, attention)


class Translator(Generator):
    """Translates texts with one model, or with several as an ensemble."""

    has_source: ClassVar[bool] = True
    n_scored: ClassVar[int] = 2

    def __init__(self, models: Sequence[Any], src: Tokenizer, tgt: Tokenizer) -> None:
        super().__init__(models, [Seq2SeqStep(model, src, tgt) for model in models], src, tgt)

    @classmethod
    def load(cls, paths: str, device: torch.device) -> Translator:
        """Reads one model directory, or several joined by commas.

        Raises:
            DataError: a directory is missing, foreign or damaged.
            UsageError: the models of an ensemble have different tokenizers.
        """
        models, tokenizers = [], []
        for path in (Path(part) for part in paths.split(",")):
            config, model = load_model(path, device)
            if config.task != "translate":
                raise DataError(f"{path}: this model's task is {shown(config.task)}")
            src, tgt = read_tokenizers(path)
            model.check_vocabulary(src.vocab_size, tgt.vocab_size, str(path))
            models.append(model)
            tokenizers.append((src, tgt))
            if (src.to_bytes(), tgt.to_bytes()) != tuple(t.to_bytes() for t in tokenizers[0]):
                raise UsageError(f"{path}: its tokenizer is not that of {paths.split(',')[0]}")
        return cls(models, *tokenizers[0])

    def requests(self, sources: Sequence[Source], options: SearchOptions) -> list[Request]:
        """See `Generator.requests`."""
        encoded = self.src.encode([source.text for source in sources])
        prefixes = self.tgt.encode([source.prefix for source in sources])
        requests = []
        for source, ids, prefix in zip(sources, encoded, prefixes, strict=True):
            phrases = self.tgt.encode(source.phrases) if source.phrases else []
            requests.append(
                Request(
                    source=(*ids, self.src.eos_id),
                    prefix=tuple(prefix),
                    constraints=tuple(tuple(phrase) for phrase in phrases if phrase),
                    max_len=options.longest(len(ids)),
                    key=source.key,
                )
            )
        return requests

    def texts(self, source: Source, hypotheses: Sequence[Hypothesis]) -> list[Translation]:
        """See `Generator.texts`."""
        texts = self.tgt.decode([hypothesis.tokens for hypothesis in hypotheses])
        return [
            Translation(text, found.tokens, found.log_prob, found.score, found.finished)
            for text, found in zip(texts, hypotheses, strict=True)
        ]

    def parts(self, text: str, limit: int) -> list[str]:
        """Cut at sentence ends (see `decode.long_input`)."""
        return split_long(text, self.src, limit)

    def source_ids(self, texts: Sequence[str]) -> list[tuple[int, ...]]:
        """The sources' tokens and eos."""
        return [(*ids, self.src.eos_id) for ids in self.src.encode(texts)]

    def scored(self, fields: Sequence[str]) -> tuple[str, str]:
        """Source and target."""
        return fields[0], fields[1]

    def token_log_probs(self, model: Any, src: Sequence[Ids], tgt: Sequence[Ids]) -> Tensor:
        """By teacher forcing; see `Generator.token_log_probs`."""
        src_ids, src_mask, tgt_ids = self.tensors(src, tgt)
        hidden, _ = model(src_ids, src_mask, tgt_ids[:, :-1])
        return gold_log_probs(hidden, tgt_ids[:, 1:], *model.output_layer)

    def tensors(self, src: Sequence[Ids], tgt: Sequence[Ids]) -> tuple[Tensor, Tensor, Tensor]:
        """Padded pairs. Shape: ids and mask (B, S), bos, target and eos (B, T + 1)."""
        src_ids, src_mask = pad(src, self.src.pad_id)
        framed = [[self.tgt.bos_id, *ids, self.tgt.eos_id] for ids in tgt]
        tgt_ids, _ = pad(framed, self.tgt.pad_id)
        return src_ids.to(self.device), src_mask.to(self.device), tgt_ids.to(self.device)
