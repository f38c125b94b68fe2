"""Several models as one: the mean of their probabilities."""

from __future__ import annotations

import math
from collections.abc import Sequence, Sized
from dataclasses import dataclass
from functools import reduce

import torch
from torch import Tensor

from attn_cli.errors import UsageError
from attn_cli.search.shortlist import Shortlist
from attn_cli.search.step import Begun, DecoderState, StepModel, StepOutput


@dataclass(frozen=True)
class EnsembleState:
    """The members' states, side by side."""

    members: tuple[DecoderState, ...]

    def expand(self, beam_size: int) -> EnsembleState:
        """Every member's state repeated to K = `beam_size` beams."""
        return EnsembleState(tuple(state.expand(beam_size) for state in self.members))

    def reorder(self, beams: Tensor) -> EnsembleState:
        """Every member's state with its beams reordered. Shape: beams (N, K)."""
        return EnsembleState(tuple(state.reorder(beams) for state in self.members))

    def keep(self, sentences: Tensor) -> EnsembleState:
        """Every member's state of these sentences alone. Shape: sentences (M,)."""
        return EnsembleState(tuple(state.keep(sentences) for state in self.members))

    def merge(self, other: EnsembleState) -> EnsembleState:
        """Every member's sentences followed by those of `other`."""
        pairs = zip(self.members, other.members, strict=True)
        return EnsembleState(tuple(state.merge(more) for state, more in pairs))


class Ensemble(StepModel):
    """M models that share a vocabulary: p(y) = (1/M) sum_m p_m(y), computed in log space.

    Args:
        models: the members; each reads the same sources.

    Raises:
        UsageError: no model, or models that disagree on their special tokens; while decoding,
            models whose vocabularies have different sizes.
    """

    def __init__(self, models: Sequence[StepModel]) -> None:
        if not models:
            raise UsageError("an ensemble needs at least one model")
        if len({(model.bos_id, model.eos_id, model.pad_id) for model in models}) > 1:
            raise UsageError("models of an ensemble must share one vocabulary; these do not")
        self._models = tuple(models)
        self.bos_id = models[0].bos_id
        self.eos_id = models[0].eos_id
        self.pad_id = models[0].pad_id

    def start(self, sources: Sequence[Sized]) -> EnsembleState:
        """Encodes the sources with every member."""
        return EnsembleState(tuple(model.start(sources) for model in self._models))

    def begin(self, sources: Sequence[Sized], prefixes: Sequence[Sequence[int]]) -> Begun:
        """Prefixes are read at once where every member can."""
        members = [model.begin(sources, prefixes) for model in self._models]
        read = [member.prefix for member in members if member.prefix is not None]
        if read and len(read) < len(members):
            return Begun(self.start(sources))
        state = EnsembleState(tuple(member.state for member in members))
        return Begun(state, _mean(read) if read else None)

    def step(
        self, state: DecoderState, tokens: Tensor, *, need_attention: bool = False
    ) -> StepOutput:
        """One step of every member, and the mean of their distributions.

        Attention is the members' mean where all of them give it. Shape: tokens (N, K).
        """
        assert isinstance(state, EnsembleState)
        outputs = [
            model.step(member, tokens, need_attention=need_attention)
            for model, member in zip(self._models, state.members, strict=True)
        ]
        sizes = sorted({output.log_probs.shape[-1] for output in outputs})
        if len(sizes) > 1:
            raise UsageError(
                f"models of an ensemble must share one vocabulary; these have {sizes} tokens"
            )
        return _joined(outputs)

    def step_among(
        self,
        state: DecoderState,
        tokens: Tensor,
        shortlist: Shortlist,
        *,
        need_attention: bool = False,
    ) -> StepOutput:
        """The same among the columns of a shortlist."""
        assert isinstance(state, EnsembleState)
        return _joined(
            [
                model.step_among(member, tokens, shortlist, need_attention=need_attention)
                for model, member in zip(self._models, state.members, strict=True)
            ]
        )


def _joined(outputs: Sequence[StepOutput]) -> StepOutput:
    return StepOutput(
        log_probs=_mean([output.log_probs for output in outputs]),
        state=EnsembleState(tuple(output.state for output in outputs)),
        attention=_mean_attention([output.attention for output in outputs]),
    )


def _mean(log_probs: list[Tensor]) -> Tensor:
    if len(log_probs) == 1:
        return log_probs[0]
    return reduce(torch.logaddexp, log_probs) - math.log(len(log_probs))


def _mean_attention(weights: list[Tensor | None]) -> Tensor | None:
    given = [weight for weight in weights if weight is not None]
    if len(given) < len(weights):
        return None
    return torch.stack(given).mean(0)
