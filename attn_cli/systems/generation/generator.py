"""Text in, text out by searching: what translation and language models share."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence, Sized
from dataclasses import dataclass, replace
from typing import ClassVar, Generic, TypeVar

import torch
from torch import Tensor, nn

from attn_cli.config.decoding import MAX_INPUT, DecodeOptions, SearchOptions
from attn_cli.errors import AttnError, UsageError
from attn_cli.lines.rows import is_blank
from attn_cli.memory import is_out_of_memory
from attn_cli.search.ensemble import Ensemble
from attn_cli.search.search import Hypothesis, Request, Times, Watch, search
from attn_cli.search.step import StepModel
from attn_cli.tokenizers.tokenizer import Tokenizer
from attn_cli.wording import plural

LOGITS_AT_ONCE = 1 << 22
_ROWS = 1024  # on a CPU: more are no faster, and their logits take memory


Model = TypeVar("Model", bound=nn.Module)
Ids = Sequence[int]


@dataclass(frozen=True)
class Source:
    """One input: a line, or a part of a long one.

    Attributes:
        text: the source, or the name of the file where it is.
        prefix: what the output must begin with.
        phrases: what must appear in it.
        key: what sampling is seeded by, with the run's seed: the line's number.
        limit: how many of its last tokens are read, where a longer input is not read in parts.
        file: what is in the file that the text names, if it names one.
        gap: the white space between it and the part before it, of a line that is several.
    """

    text: str
    prefix: str = ""
    phrases: tuple[str, ...] = ()
    key: int | None = None
    file: Sized | None = None
    limit: int | None = None
    gap: str = " "


class Generator(ABC, Generic[Model]):
    """Generates texts with one model, or with several as an ensemble.

    Attributes:
        models: the model, or the members of an ensemble, the first of which aligns.
        tgt: tokenizer of the output.
        device: where the models are.
        say: is told, once, that memory is short.
        watch: is told, while a batch is searched, what it has of each request so far; mask-predict
            models, which have all words at once, tell nothing.
        never_ids: tokens that are never produced.
        has_source: whether an output is of another text than its input: what can be aligned.
        n_scored: columns of a line that `log P` is asked of.
        has_shortlist: whether models of its kind can have a table for `--shortlist`.
        has_likelihood: whether that is P(output | input), which any given output has, too.
        has_threads: whether its search has threads of its own, which no fork carries along.
        reads_files: whether a line names a file, which is what is read.
        most_lines: that are held in memory at once.
        longest_input: tokens of a line that is read whole, unless another bound is asked for.
        most_input: tokens of a line that can be read whole.
        most_written: tokens of an output that it can read.
        limit_flag: the option that bounds an input.
    """

    has_source: ClassVar[bool]
    n_scored: ClassVar[int]
    has_shortlist: ClassVar[bool] = False
    has_likelihood: ClassVar[bool] = True
    has_threads: bool = False
    reads_files: bool = False
    most_lines: int = 1 << 30
    longest_input: int = MAX_INPUT
    most_input: int = 1 << 62
    most_written: int = 1 << 62
    limit_flag: str = "--max-input"

    def __init__(self, models: Sequence[Model], steps: Sequence[StepModel], tgt: Tokenizer) -> None:
        self.say: Callable[[str], None] | None = None
        self.watch: Watch | None = None
        self.models = tuple(models)
        self.tgt = tgt
        self._steps = tuple(steps)
        self.device = next(models[0].parameters()).device
        self.never_ids = tgt.never_written

    @abstractmethod
    def requests(self, sources: Sequence[Source], options: SearchOptions) -> list[Request]:
        """What the search is asked for, one request for each source."""

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

    def input_limit(self, wanted: int | None, seconds: float | None = None) -> int:
        """Tokens of a line that is read whole, where so many are wanted.

        Args:
            wanted: tokens; None: what suits the model.
            seconds: the same of a recording.

        Raises:
            UsageError: these are more than the model can read, or it reads no recordings.
        """
        if seconds is not None:
            raise UsageError("--max-seconds: this model reads no recordings; leave it out")
        if wanted is not None and wanted > self.most_input:
            raise UsageError(
                f"--max-input {wanted:,}: the model has learned positions of "
                f"{plural(self.most_input, 'token')} and the end: at most {self.most_input:,}"
            )
        return wanted or self.longest_input

    def refused(self, source: Source, output: str) -> str | None:
        """Why a given output of an input can't be scored; None if it can."""
        return None

    def knows(self, source: Source) -> bool:
        """Whether the model knows anything of an input that is not blank."""
        return True

    def unread(self, source: Source) -> str | None:
        """What of an input is not read, and how more of it is; None if all of it is read."""
        return None

    def cut(self, source: Source, output: Hypothesis, search: SearchOptions) -> str | None:
        """What is said of an output that did not end by itself; None if it was asked to be so."""
        if search.max_len is not None:
            return None
        size, why = plural(self.n_written(source, output), "token"), "--max-len"
        if search.no_repeat_ngram:
            why += ", --no-repeat-ngram"
        return f"its output stops at {size}, before its end ({why}); so may others"

    def n_written(self, source: Source, output: Hypothesis) -> int:
        """How many tokens of an output are not its input's."""
        return len(output.tokens)

    @abstractmethod
    def encoded(self, sources: Sequence[Source]) -> Sequence[Sized]:
        """Inputs as `token_log_probs` and `alignment` take them."""

    def token_log_probs(self, model: Model, src: Sequence[Sized], tgt: Sequence[Ids]) -> Tensor:
        """Log-probability of each output token and of eos; padding beyond. Shape: (B, T).

        Raises:
            UsageError: this kind of model has none: see `has_likelihood`.
        """
        raise UsageError("this kind of model has no probability of a given text")

    @abstractmethod
    def scored(self, fields: Sequence[str]) -> tuple[str, str]:
        """Input and output text of a line's `n_scored` columns."""

    def texts(self, source: Source, hypotheses: Sequence[Hypothesis]) -> list[str]:
        """The outputs for one source, as texts."""
        return self.tgt.decode([hypothesis.tokens for hypothesis in hypotheses])

    def alignment(self, src: Sequence[Sized], tgt: Sequence[Ids]) -> Tensor:
        """What each output token attends to, of what aligns best. Shape: (B, T, S).

        Raises:
            UsageError: this kind of model has no source, or no attention to it.
        """
        raise UsageError("--align: a language model continues its input; leave it out")

    @property
    def aligns(self) -> bool:
        """Whether `alignment` can be had."""
        return False

    @property
    def reads_sound(self) -> bool:
        """Whether an input takes time, so that `word_times` says what is aligned."""
        return False

    def word_times(self, src: Sequence[Sized], tgt: Sequence[Ids]) -> list[Times]:
        """The seconds of recordings at which the words of their outputs begin and end.

        Raises:
            UsageError: this kind of model reads none, or nothing says where it looks.
        """
        raise UsageError("this model reads no recordings")

    def source_words(self, item: Sized) -> list[int]:
        """The word (or region, or time) that each place of an input belongs to."""
        return []

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
        if search.shortlist and not self.has_shortlist:
            raise UsageError(
                "--shortlist: only translators that write one token after another have one; leave "
                "it out"
            )
        self.check_files(decoding.image_root)
        self.check_texts(decoding)
        if decoding.constraints and (search.sample or search.n_groups > 1):
            flag = "--sample" if search.sample else "--diversity"
            raise UsageError(f"--constraints needs a plain beam search: leave out {flag}")
        if self.has_source:
            return
        wanted = {"prefix": decoding.prefix, "align": decoding.align, "lm": search.lm,
                  "coverage-penalty": search.coverage_penalty,
                  "ctc-weight": search.ctc_weight}  # fmt: skip
        for name, given in wanted.items():
            if given:
                raise UsageError(f"--{name}: a language model continues its input; leave it out")

    def has_log_prob(self, search: SearchOptions) -> bool:
        """Whether its hypotheses have the model's log P; else it is asked for."""
        return True

    def use_engine(self, search: SearchOptions, decoding: DecodeOptions) -> None:
        """Lets another program search with the same weights, where one is asked for.

        Raises:
            UsageError: it is not installed, or can't do what the options ask for.
            DataError: it can't hold this model.
        """
        if decoding.engine != "attn":
            raise UsageError(
                f"--engine {decoding.engine}: is for translators that write one token after "
                "another; leave it out"
            )

    def check_texts(self, decoding: DecodeOptions) -> None:
        """Raises UsageError where texts are to be cut or taken from a file that are none."""
        if self.has_source and not self.reads_files:
            if decoding.split and decoding.constraints:
                raise UsageError(
                    "--split: nothing says which sentence a phrase belongs to; leave out "
                    "--constraints"
                )
            return
        for name, given in {"split": decoding.split, "markup": decoding.markup}.items():
            if given:
                raise UsageError(f"--{name}: for models that translate texts; leave it out")

    def check_files(self, image_root: str | None) -> None:
        """Raises UsageError where `--image-root` is given to a model that reads no files."""
        if image_root is not None and not self.reads_files:
            raise UsageError("--image-root: this model reads texts, not files; leave it out")

    def step_model(self, options: SearchOptions) -> StepModel:
        """What searches step by step: the model, or all of them as one."""
        return self._steps[0] if len(self._steps) == 1 else Ensemble(self._steps)

    def search(
        self, requests: Sequence[Request], options: SearchOptions, max_tokens: int, seed: int
    ) -> list[list[Hypothesis]]:
        """The hypotheses of each request, shortest first; `max_tokens` counts as `batch_tokens`."""
        return search(
            self.step_model(options),
            requests,
            options,
            max_rows=_ROWS if self.device.type == "cpu" else max_tokens,
            max_tokens=max_tokens,
            seed=seed,
            forbidden_ids=self.never_ids,
            device=self.device,
            watch=self.watch,
        )

    @torch.inference_mode()
    def generate(
        self,
        sources: Sequence[Source],
        options: SearchOptions,
        *,
        batch_tokens: int,
        seed: int = 1,
        bf16: bool = False,
        watch: Watch | None = None,
    ) -> list[list[Hypothesis]]:
        """Outputs for texts, `options.n_best` each, in order; none for a blank text.

        Args:
            sources: the texts.
            options: of the search.
            batch_tokens: the most source tokens in flight, counted once per beam.
            seed: for sampling.
            bf16: whether to compute in bfloat16 where that is safe.
            watch: is told of the tokens of each text's first beam as they come.
        """
        requests = self.requests(sources, options)
        filled = (i for i, source in enumerate(sources) if not is_blank(source.text))
        waiting = sorted(filled, key=lambda i: len(requests[i].source))
        results: list[list[Hypothesis]] = [[] for _ in sources]
        while waiting:
            # Those that are much longer come apart: should memory be short, these are done.
            limit = 4 * len(requests[waiting[0]].source) + 64
            group = [i for i in waiting if len(requests[i].source) <= limit]
            waiting = waiting[len(group) :]
            alike = [requests[i] for i in group]
            self.watch = _of_group(watch, group) if watch else None
            needed = len(group) * options.width * len(alike[-1].source)
            tokens = min(batch_tokens, needed)
            found: list[list[Hypothesis]] | None = None
            while found is None:
                try:
                    with torch.autocast(self.device.type, torch.bfloat16, enabled=bf16):
                        found = self.search(alike, options, tokens, seed)
                except (RuntimeError, MemoryError) as error:
                    tokens = self._fewer(tokens, options, len(alike[-1].source), error)
            for i, hypotheses in zip(group, found, strict=True):
                texts = self.texts(sources[i], hypotheses)
                results[i] = [replace(h, text=t) for h, t in zip(hypotheses, texts, strict=True)]
        return results

    def _fewer(self, tokens: int, options: SearchOptions, length: int, error: BaseException) -> int:
        """Half of the tokens that memory was too short for; raises what nobody can help."""
        if not is_out_of_memory(error):
            raise error
        if tokens <= options.width:  # each sentence was alone
            raise AttnError(
                f"out of memory on {self.device} with one sentence of {length:,} tokens; lower "
                "--beam, --max-len or --max-input"
            ) from error
        if self.say:
            self.say("a batch did not fit into memory; such batches are halved")
            self.say = None
        return tokens // 2


def _of_group(watch: Watch, group: Sequence[int]) -> Watch:
    """The same, for requests that are some of all."""
    return lambda index, tokens: watch(group[index], tokens)


def gold_log_probs(
    hidden: Tensor, gold: Tensor, logits: Callable[[Tensor], Tensor], n_tokens: int
) -> Tensor:
    """Log-probabilities of given tokens, slice by slice over the vocabulary's logits.

    Args:
        hidden: Shape: (B, T, D).
        gold: Shape: (B, T).
        logits: of vectors, (N, D) -> (N, V).
        n_tokens: V.

    Returns:
        Shape: (B, T).
    """
    size = max(1, LOGITS_AT_ONCE // n_tokens)
    parts = [
        logits(some).float().log_softmax(-1).gather(-1, ids[:, None])
        for some, ids in zip(
            hidden.flatten(0, 1).split(size), gold.flatten().split(size), strict=True
        )
    ]
    return torch.cat(parts).view(gold.shape)
