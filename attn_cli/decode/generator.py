"""Text in, text out by searching: what translation and language models share."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from attn_cli.config.decoding import SearchOptions
from attn_cli.data.tokenizer import Tokenizer
from attn_cli.decode.ensemble import Ensemble
from attn_cli.decode.search import Hypothesis, Request, search
from attn_cli.decode.step import StepModel
from attn_cli.errors import AttnError
from attn_cli.memory import is_out_of_memory

_SLICE = 1 << 22  # logits at a time


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


class Generator(ABC):
    """Generates texts with one model, or with several as an ensemble.

    Attributes:
        models: the model, or the members of an ensemble, the first of which aligns.
        src: tokenizer of the input.
        tgt: tokenizer of the output.
        device: where the models are.
        say: is told, once, that memory is short.
        has_source: whether an output is of another text than its input: what can be aligned.
        n_scored: columns of a line that `log P` is asked of.
    """

    has_source: ClassVar[bool]
    n_scored: ClassVar[int]

    def __init__(
        self,
        models: Sequence[Any],
        steps: Sequence[StepModel],
        src: Tokenizer,
        tgt: Tokenizer,
    ) -> None:
        self.say: Callable[[str], None] | None = None
        self.models = tuple(models)
        self.src = src
        self.tgt = tgt
        self._step: StepModel = steps[0] if len(steps) == 1 else Ensemble(steps)
        self.device = next(models[0].parameters()).device
        specials = (tgt.pad_id, tgt.unk_id, tgt.bos_id, tgt.mask_id, tgt.cls_id, tgt.sep_id)
        self._never = tuple(i for i in specials if i >= 0 and i != tgt.eos_id)

    @abstractmethod
    def requests(self, sources: Sequence[Source], options: SearchOptions) -> list[Request]:
        """What the search is asked for, one request for each source."""

    @abstractmethod
    def texts(self, source: Source, hypotheses: Sequence[Hypothesis]) -> list[Translation]:
        """The outputs for one source, as texts."""

    @abstractmethod
    def parts(self, text: str, limit: int) -> list[str]:
        """The parts of at most `limit` tokens in which a text is decoded."""

    @abstractmethod
    def source_ids(self, texts: Sequence[str]) -> list[tuple[int, ...]]:
        """The tokens of inputs, as `token_log_probs` takes them."""

    @abstractmethod
    def token_log_probs(
        self, model: Any, src: Sequence[Sequence[int]], tgt: Sequence[Sequence[int]]
    ) -> Tensor:
        """Log-probability of each output token and of eos; padding beyond. Shape: (B, T)."""

    @abstractmethod
    def scored(self, fields: Sequence[str]) -> tuple[str, str]:
        """Input and output text of a line's `n_scored` columns."""

    @torch.inference_mode()
    def generate(
        self,
        sources: Sequence[Source],
        options: SearchOptions,
        *,
        batch_tokens: int,
        seed: int = 1,
        bf16: bool = False,
    ) -> list[list[Translation]]:
        """Outputs for texts, `options.n_best` each, in order; none for a blank text.

        Args:
            sources: the texts.
            options: of the search.
            batch_tokens: the most source tokens in flight, counted once per beam.
            seed: for sampling.
            bf16: whether to compute in bfloat16 where that is safe.
        """
        requests = self.requests(sources, options)
        filled = (i for i, source in enumerate(sources) if source.text.strip())
        order = sorted(filled, key=lambda i: len(requests[i].source))
        results: list[list[Translation]] = [[] for _ in sources]
        for group in _alike(order, requests):
            with torch.autocast(self.device.type, torch.bfloat16, enabled=bf16):
                found = self._search([requests[i] for i in group], options, batch_tokens, seed)
            for index, hypotheses in zip(group, found, strict=True):
                results[index] = self.texts(sources[index], hypotheses)
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


def _alike(order: Sequence[int], requests: Sequence[Request]) -> list[list[int]]:
    """Cuts a run of growing lengths where they have doubled: the longest decides the rows."""
    groups: list[list[int]] = []
    for i in order:
        if not groups or len(requests[i].source) > 2 * len(requests[groups[-1][0]].source) + 16:
            groups.append([])
        groups[-1].append(i)
    return groups


def gold_log_probs(hidden: Tensor, gold: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """Log-probabilities of given tokens, slice by slice over the vocabulary's logits.

    Shape: hidden (B, T, D), gold (B, T), weight (V, D), bias (V,) -> (B, T).
    """
    size = max(1, _SLICE // len(weight))
    parts = [
        torch.nn.functional.linear(some, weight, bias)
        .float()
        .log_softmax(-1)
        .gather(-1, ids[:, None])
        for some, ids in zip(
            hidden.flatten(0, 1).split(size), gold.flatten().split(size), strict=True
        )
    ]
    return torch.cat(parts).view(gold.shape)
