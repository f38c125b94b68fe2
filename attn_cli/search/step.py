"""What the search knows of a model: a step function and a state value.

Rows of a batch are sentences times beams, laid out as (N, K): N sentences, K beams each. The state
is passed in and returned, never kept inside the model, so one search serves every model.

Shapes: N sentences, K beams, V vocabulary, S source positions.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence, Sized
from dataclasses import dataclass
from typing import Protocol, Self

from torch import Tensor

from attn_cli.errors import UsageError
from attn_cli.search.shortlist import Shortlist


class DecoderState(Protocol):
    """Everything a model must remember between two steps of N sentences with K beams each."""

    def expand(self, beam_size: int) -> Self:
        """The state of K = 1 repeated to K = `beam_size` beams."""

    def reorder(self, beams: Tensor) -> Self:
        """Beam `beams[n, k]` of sentence n becomes its beam k. Shape: beams (N, K), integer."""

    def keep(self, sentences: Tensor) -> Self:
        """The state of the sentences with these indices alone. Shape: sentences (M,), M <= N."""

    def merge(self, other: Self) -> Self:
        """The sentences of this state followed by those of `other` (the same K)."""


@dataclass(frozen=True)
class StepOutput:
    """One step's answer.

    Attributes:
        log_probs: natural-log probabilities of the next token, a tensor of its own: the search
            writes its masks into it. Shape: (N, K, V), or (N, K, U) of a shortlist.
        state: the state after the step.
        attention: weights over the source, mean of the last layer's heads, where they were asked
            for. Shape: (N, K, S).
    """

    log_probs: Tensor
    state: DecoderState
    attention: Tensor | None = None


@dataclass(frozen=True)
class Begun:
    """Sentences before their first step.

    Attributes:
        state: with K = 1.
        prefix: natural-log probabilities of the tokens that the outputs must begin with, padded
            with 0; the state has then read the begin token and all of them but the last. None:
            they are still to be read. Shape: (N, longest prefix).
    """

    state: DecoderState
    prefix: Tensor | None = None


class StepModel(ABC):
    """A model as the search sees it."""

    bos_id: int
    eos_id: int
    pad_id: int

    @abstractmethod
    def start(self, sources: Sequence[Sized]) -> DecoderState:
        """Encodes sources (whatever the model reads) into a state with K = 1."""

    @abstractmethod
    def step(
        self, state: DecoderState, tokens: Tensor, *, need_attention: bool = False
    ) -> StepOutput:
        """Reads one token per beam and predicts the next. Shape: tokens (N, K)."""

    def step_among(
        self,
        state: DecoderState,
        tokens: Tensor,
        shortlist: Shortlist,
        *,
        need_attention: bool = False,
    ) -> StepOutput:
        """As `step`, with probabilities of a shortlist's columns alone; each sentence's sum to 1.

        Raises:
            UsageError: this model has no such step.
        """
        raise UsageError("--shortlist: this kind of model chooses among all of its tokens")

    def begin(self, sources: Sequence[Sized], prefixes: Sequence[Sequence[int]]) -> Begun:
        """As `start`; a model that can reads at once what its outputs must begin with.

        The prefixes have no begin token.
        """
        return Begun(self.start(sources))
