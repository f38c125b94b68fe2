"""Models of different kinds as one: the weighted sum of what they think of each next token."""

from __future__ import annotations

from collections.abc import Sequence, Sized

import torch
from torch import Tensor

from attn_cli.search.ensemble import EnsembleState
from attn_cli.search.shortlist import Shortlist
from attn_cli.search.step import DecoderState, StepModel, StepOutput


class Fusion(StepModel):
    """A model and others that rank its tokens: Σ_m w_m ln p_m(y), which no sum makes 1.

    So a language model has a say in a translation (shallow fusion: Gülçehre et al. 2015, eq. 9).

    Args:
        model: whose candidates and attention these are; its weight is 1.
        others: models of the same tokens, and their weights.
    """

    def __init__(self, model: StepModel, others: Sequence[tuple[StepModel, float]]) -> None:
        self._model = model
        self._others = tuple(others)
        self.bos_id, self.eos_id, self.pad_id = model.bos_id, model.eos_id, model.pad_id

    def start(self, sources: Sequence[Sized]) -> EnsembleState:
        """The states of all of them."""
        models = (self._model, *(model for model, _ in self._others))
        return EnsembleState(tuple(model.start(sources) for model in models))

    def step(
        self, state: DecoderState, tokens: Tensor, *, need_attention: bool = False
    ) -> StepOutput:
        """One step of all of them. Shape: tokens (N, K)."""
        assert isinstance(state, EnsembleState)
        output = self._model.step(state.members[0], tokens, need_attention=need_attention)
        return self._weighed(state, output, tokens, None)

    def step_among(
        self,
        state: DecoderState,
        tokens: Tensor,
        shortlist: Shortlist,
        *,
        need_attention: bool = False,
    ) -> StepOutput:
        """The same of a shortlist's columns: those of the others are of all their tokens."""
        assert isinstance(state, EnsembleState)
        output = self._model.step_among(
            state.members[0], tokens, shortlist, need_attention=need_attention
        )
        return self._weighed(state, output, tokens, shortlist.tokens)

    def _weighed(
        self, state: EnsembleState, output: StepOutput, tokens: Tensor, columns: Tensor | None
    ) -> StepOutput:
        """The model's output with what the others think, of some tokens or of all."""
        log_probs, states = output.log_probs, [output.state]
        for (model, weight), member in zip(self._others, state.members[1:], strict=True):
            other = model.step(member, tokens)
            opinion = other.log_probs if columns is None else other.log_probs[:, :, columns]
            log_probs = torch.add(log_probs, opinion, alpha=weight)
            states.append(other.state)
        return StepOutput(log_probs, EnsembleState(tuple(states)), output.attention)
