"""Text in, text out by searching: what translation and language models share."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from attn_cli.config.decoding import MAX_INPUT, DecodeOptions, SearchOptions
from attn_cli.errors import AttnError, UsageError
from attn_cli.memory import is_out_of_memory
from attn_cli.search.ensemble import Ensemble
from attn_cli.search.search import Hypothesis, Request, search
from attn_cli.search.step import StepModel
from attn_cli.tokenizers.tokenizer import Tokenizer

LOGITS_AT_ONCE = 1 << 22


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
        text: the source, or the name of the file where it is.
        prefix: what the output must begin with.
        phrases: what must appear in it.
        key: what sampling is seeded by, with the run's seed: the line's number.
        file: what is in the file that the text names, if it names one.
    """

    text: str
    prefix: str = ""
    phrases: tuple[str, ...] = ()
    key: int | None = None
    file: Any = None

    @property
    def content(self) -> Any:
        """What the model reads: a text, or what is in a file."""
        return self.text if self.file is None else self.file


class Generator(ABC):
    """Generates texts with one model, or with several as an ensemble.

    Attributes:
        models: the model, or the members of an ensemble, the first of which aligns.
        tgt: tokenizer of the output.
        device: where the models are.
        say: is told, once, that memory is short.
        never_ids: tokens that are never produced.
        has_source: whether an output is of another text than its input: what can be aligned.
        n_scored: columns of a line that `log P` is asked of.
        has_likelihood: whether that is P(output | input), which any given output has, too.
        reads_files: whether a line names a file, which is what is read.
        most_lines: that are held in memory at once.
        longest_input: tokens of a line that is read whole, unless another bound is asked for.
    """

    has_source: ClassVar[bool]
    n_scored: ClassVar[int]
    has_likelihood: ClassVar[bool] = True
    reads_files: bool = False
    most_lines: int = 1 << 30
    longest_input: int = MAX_INPUT

    def __init__(self, models: Sequence[Any], steps: Sequence[StepModel], tgt: Tokenizer) -> None:
        self.say: Callable[[str], None] | None = None
        self.models = tuple(models)
        self.tgt = tgt
        self._step: StepModel = steps[0] if len(steps) == 1 else Ensemble(steps)
        self.device = next(models[0].parameters()).device
        specials = (tgt.pad_id, tgt.unk_id, tgt.bos_id, tgt.mask_id, tgt.cls_id, tgt.sep_id)
        self.never_ids = tuple(i for i in specials if i >= 0 and i != tgt.eos_id)

    @abstractmethod
    def requests(self, sources: Sequence[Source], options: SearchOptions) -> list[Request]:
        """What the search is asked for, one request for each source."""

    @abstractmethod
    def texts(self, source: Source, hypotheses: Sequence[Hypothesis]) -> list[Translation]:
        """The outputs for one source, as texts."""

    @abstractmethod
    def sources(self, text: str, limit: int, folder: str) -> list[Source]:
        """The inputs that a line is: several, of at most `limit` tokens, where it is a long text.

        Args:
            text: the line's first column.
            limit: tokens of an input.
            folder: where relative names of files start.

        Raises:
            DataError: the line names a file that can't be used.
        """

    @abstractmethod
    def encoded(self, sources: Sequence[Source]) -> list[Any]:
        """Inputs as `token_log_probs` takes them."""

    @abstractmethod
    def token_log_probs(
        self, model: Any, src: Sequence[Any], tgt: Sequence[Sequence[int]]
    ) -> Tensor:
        """Log-probability of each output token and of eos; padding beyond. Shape: (B, T)."""

    def check(self, search: SearchOptions, decoding: DecodeOptions) -> None:
        """Makes sure that every option will be read.

        Raises:
            UsageError: options that this kind of model can't keep.
        """
        if search.iterations is not None:
            raise UsageError(
                "--iterations: this model writes one token after another; those of attn train-mt "
                "--decoder mask-predict go over all of them again"
            )
        self.check_files(decoding.image_root)
        if self.has_source:
            return
        wanted = {"prefix": decoding.prefix, "align": decoding.align,
                  "coverage-penalty": search.coverage_penalty}  # fmt: skip
        for name, given in wanted.items():
            if given:
                raise UsageError(f"--{name}: a language model continues its input; leave it out")

    def check_files(self, image_root: str | None) -> None:
        """Raises UsageError where `--image-root` is given to a model that reads no images."""
        if image_root is not None and not self.reads_files:
            raise UsageError("--image-root: this model reads texts, not images; leave it out")

    def run(
        self, requests: Sequence[Request], options: SearchOptions, max_rows: int, seed: int
    ) -> list[list[Hypothesis]]:
        """The hypotheses of each request, with at most `max_rows` in flight."""
        return search(
            self._step,
            requests,
            options,
            max_rows=max_rows,
            seed=seed,
            forbidden_ids=self.never_ids,
            device=self.device,
        )

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
                return self.run(requests, options, rows, seed)
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


def gold_log_probs(hidden: Tensor, gold: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """Log-probabilities of given tokens, slice by slice over the vocabulary's logits.

    Shape: hidden (B, T, D), gold (B, T), weight (V, D), bias (V,) or None -> (B, T).
    """
    size = max(1, LOGITS_AT_ONCE // len(weight))
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
