"""Sequence-to-sequence models as the search sees them: the decoder alone, or with CTC."""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Sized

from torch import Tensor

from attn_cli.config.audio import CTC_WEIGHT
from attn_cli.models.directory import ModelConfig
from attn_cli.models.seq2seq_base import AutoregressiveModel
from attn_cli.nn.beam_state import BeamState
from attn_cli.nn.ctc_prefix import CtcPrefixes
from attn_cli.search.ctc import without
from attn_cli.search.ensemble import EnsembleState
from attn_cli.search.shortlist import Shortlist
from attn_cli.search.step import DecoderState, StepModel, StepOutput
from attn_cli.systems.translation.source_base import SourceSide
from attn_cli.tokenizers.tokenizer import Tokenizer


class Seq2SeqStep(StepModel):
    """A sequence-to-sequence model as the search sees it."""

    def __init__(
        self, model: AutoregressiveModel[BeamState], src: SourceSide, tgt: Tokenizer
    ) -> None:
        self.model = model
        self.src = src
        self.bos_id, self.eos_id, self.pad_id = tgt.bos_id, tgt.eos_id, tgt.pad_id

    def start(self, sources: Sequence[Sized]) -> DecoderState:
        """Encodes items of the source's side."""
        return self.model.start(*self.tensors(sources))

    def tensors(self, sources: Sequence[Sized]) -> tuple[Tensor, Tensor]:
        """What the model takes, where it is: items, and the mask of their positions."""
        items, mask = self.src.collate(sources)
        device = next(self.model.parameters()).device
        return items.to(device), mask.to(device)

    def step(
        self, state: DecoderState, tokens: Tensor, *, need_attention: bool = False
    ) -> StepOutput:
        """One step of every beam."""
        assert isinstance(state, BeamState)
        logits, after, attention = self.model.step(state, tokens, need_attention=need_attention)
        return StepOutput(logits.float().log_softmax(-1), after, attention)

    def step_among(
        self,
        state: DecoderState,
        tokens: Tensor,
        shortlist: Shortlist,
        *,
        need_attention: bool = False,
    ) -> StepOutput:
        """See `StepModel.step_among`."""
        assert isinstance(state, BeamState)
        output = shortlist.product(self, self.model.output_of)
        logits, after, attention = self.model.step(
            state, tokens, need_attention=need_attention, output=output
        )
        return StepOutput(shortlist.log_probs(logits.float()), after, attention)


class JointStep(Seq2SeqStep):
    """Decoder and encoder together: (1 - λ) ln p_att(y) + λ ln p_ctc(y), token by token.

    p_ctc is how the probability of the prefix goes on (Watanabe et al. 2017, eq. 39): what the
    decoder makes up, says twice or leaves out, the encoder has not heard so.

    Args:
        model: whose encoder has an output of its own.
        src: what it reads.
        tgt: its tokens.
        weight: λ.
    """

    def __init__(
        self,
        model: AutoregressiveModel[BeamState],
        src: SourceSide,
        tgt: Tokenizer,
        weight: float,
    ) -> None:
        super().__init__(model, src, tgt)
        self._weight = weight
        self._never = (*tgt.never_written, tgt.eos_id)

    def start(self, sources: Sequence[Sized]) -> EnsembleState:
        """Encodes once for both."""
        items, mask = self.tensors(sources)
        started, output = self.model.started(items, mask), self.model.ctc
        assert output is not None
        heard = without(output(started.encoded), self._never)
        return EnsembleState((started.state, CtcPrefixes.begin(heard, mask)))

    def step(
        self, state: DecoderState, tokens: Tensor, *, need_attention: bool = False
    ) -> StepOutput:
        """One step of both."""
        assert isinstance(state, EnsembleState)
        decoder, prefixes = state.members
        assert isinstance(prefixes, CtcPrefixes)
        output = super().step(decoder, tokens, need_attention=need_attention)
        prefixes = prefixes.read(tokens)
        log_probs = output.log_probs.mul_(1.0 - self._weight)
        log_probs.add_(prefixes.next_log_probs(self.eos_id), alpha=self._weight)
        return StepOutput(log_probs, EnsembleState((output.state, prefixes)), output.attention)


def trained_weight(config: ModelConfig) -> float:
    """λ of the training of a model whose encoder has an output, which suits its search.

    A training by samples of the decoder's outputs has none.
    """
    source, criterion = (config.options.get(name) for name in ("source", "criterion"))
    if isinstance(criterion, Mapping) and criterion.get("criterion") not in (None, "likelihood"):
        return 0.0
    asked = source.get("ctc_weight") if isinstance(source, Mapping) else None
    return asked if isinstance(asked, float) and 0.0 <= asked <= 1.0 else CTC_WEIGHT
