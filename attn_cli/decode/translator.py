"""Text in, text out: a sequence-to-sequence model, its tokenizers and the search."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from attn_cli.config import shown
from attn_cli.config.decoding import SearchOptions
from attn_cli.data.parallel import pad
from attn_cli.data.tokenizer import Tokenizer
from attn_cli.data.tokenizer_files import read_tokenizers
from attn_cli.decode.ensemble import Ensemble
from attn_cli.decode.search import Hypothesis, Request, search
from attn_cli.decode.step import StepModel, StepOutput
from attn_cli.errors import AttnError, DataError, UsageError
from attn_cli.memory import is_out_of_memory
from attn_cli.models.directory import load_model


@dataclass(frozen=True)
class Translation:
    """One output for one input.

    Attributes:
        text: the output.
        tokens: its tokens as the search produced them, without bos and eos.
        log_prob: log P(text | source) in nats, end of sentence included.
        score: what the search ranked by.
        finished: whether it ended by itself, not at the longest length.
    """

    text: str
    tokens: tuple[int, ...]
    log_prob: float
    score: float
    finished: bool


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


@dataclass(frozen=True)
class Source:
    """One input of the translator.

    Attributes:
        text: the source.
        prefix: what the output must begin with.
        phrases: what must appear in it.
        key: what sampling is seeded by, with the run's seed: the line's number.
    """

    text: str
    prefix: str = ""
    phrases: tuple[str, ...] = ()
    key: int | None = None


class Translator:
    """Translates texts with one model, or with several as an ensemble.

    Attributes:
        models: the model, or the members of an ensemble, the first of which aligns.
        src: tokenizer of the source.
        tgt: tokenizer of the target.
        device: where the models are.
        say: is told, once, that memory is short.
    """

    def __init__(self, models: Sequence[Any], src: Tokenizer, tgt: Tokenizer) -> None:
        self.say: Callable[[str], None] | None = None
        self.models = tuple(models)
        self.src = src
        self.tgt = tgt
        steps = [Seq2SeqStep(model, src, tgt) for model in models]
        self._step: StepModel = steps[0] if len(steps) == 1 else Ensemble(steps)
        self.device = next(models[0].parameters()).device
        specials = (tgt.pad_id, tgt.unk_id, tgt.bos_id, tgt.mask_id, tgt.cls_id, tgt.sep_id)
        self._never = tuple(i for i in specials if i >= 0 and i != tgt.eos_id)

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

    @torch.inference_mode()
    def translate(
        self,
        sources: Sequence[Source],
        options: SearchOptions,
        *,
        batch_tokens: int,
        seed: int = 1,
        bf16: bool = False,
    ) -> list[list[Translation]]:
        """Translates texts, `options.n_best` outputs each, in order; none for a blank text.

        Args:
            sources: the texts.
            options: of the search.
            batch_tokens: the most source tokens in flight, counted once per beam.
            seed: for sampling.
            bf16: whether to compute in bfloat16 where that is safe.
        """
        requests = self._requests(sources, options)
        filled = (i for i, source in enumerate(sources) if source.text.strip())
        order = sorted(filled, key=lambda i: len(requests[i].source))
        results: list[list[Translation]] = [[] for _ in sources]
        for group in _alike(order, requests):
            with torch.autocast(self.device.type, torch.bfloat16, enabled=bf16):
                found = self._search([requests[i] for i in group], options, batch_tokens, seed)
            for index, hypotheses in zip(group, found, strict=True):
                results[index] = self._texts(hypotheses)
        return results

    def _search(
        self, requests: list[Request], options: SearchOptions, batch_tokens: int, seed: int
    ) -> list[list[Hypothesis]]:
        """Searches requests of like lengths; with half the rows if memory runs out."""
        rows = min(batch_tokens // len(requests[-1].source), len(requests) * options.width)
        while True:
            try:
                return search(
                    self._step,
                    requests,
                    options,
                    max_rows=rows,
                    seed=seed,
                    forbidden_ids=self._never,
                    device=self.device,
                )
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error):
                    raise
                if rows <= options.width:
                    raise AttnError(
                        f"out of memory on {self.device} with one sentence of "
                        f"{len(requests[-1].source):,} tokens; lower --beam, --max-len or "
                        "--max-input"
                    ) from error
            rows //= 2
            if self.say:
                self.say("a batch did not fit into memory; such batches are halved")
                self.say = None

    def _texts(self, hypotheses: Sequence[Hypothesis]) -> list[Translation]:
        texts = self.tgt.decode([hypothesis.tokens for hypothesis in hypotheses])
        return [
            Translation(text, found.tokens, found.log_prob, found.score, found.finished)
            for text, found in zip(texts, hypotheses, strict=True)
        ]

    def _requests(self, sources: Sequence[Source], options: SearchOptions) -> list[Request]:
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


def _alike(order: Sequence[int], requests: Sequence[Request]) -> list[list[int]]:
    """Cuts a run of growing lengths where they have doubled: the longest decides the rows."""
    groups: list[list[int]] = []
    for i in order:
        if not groups or len(requests[i].source) > 2 * len(requests[groups[-1][0]].source) + 16:
            groups.append([])
        groups[-1].append(i)
    return groups
