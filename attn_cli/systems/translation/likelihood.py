"""The likelihood of references, and what can be added to it.

Shapes: B batch, T target length, D d_model.
"""

from __future__ import annotations

import torch
from torch import Tensor

from attn_cli.config.seq2seq import LearningOptions
from attn_cli.errors import UsageError
from attn_cli.models.seq2seq_base import AutoregressiveModel, DecoderOutput
from attn_cli.nn.beam_state import BeamState
from attn_cli.nn.losses import hard_attention_loss, linear_cross_entropy
from attn_cli.systems.generation.generator import gold_log_probs
from attn_cli.systems.translation.pairs import Seq2SeqBatch
from attn_cli.systems.translation.professor import Discriminator, adversarial_losses
from attn_cli.systems.translation.scheduled_sampling import sampled_inputs, sampling_rate
from attn_cli.train.objective import Objective


class TranslationObjective(Objective[Seq2SeqBatch]):
    """-Σ ln p(yₜ | y₍<ₜ₎, x) by teacher forcing or scheduled sampling, with label smoothing.

    In training, terms are added: `head_penalty` times the model's penalty of like heads, the
    estimator of hard attention, and what a discriminator says of the model left to itself. All are
    sums over positions as the loss is one over tokens, so that batches of any size weigh alike.

    Args:
        model: what is trained.
        label_smoothing: ε.
        head_penalty: its weight.
        learning: scheduled sampling and professor forcing, whose discriminator is the partner.

    Attributes:
        done: the share of the run that is done: scheduled sampling depends on it.
        likelihood_weight: of the loss of tokens, beside the other terms.

    Raises:
        UsageError: the model has no part that a term is about.
    """

    model: AutoregressiveModel[BeamState]
    partner: Discriminator | None

    def __init__(
        self,
        model: AutoregressiveModel[BeamState],
        label_smoothing: float,
        head_penalty: float = 0.0,
        learning: LearningOptions | None = None,
    ) -> None:
        learning = learning or LearningOptions()
        forcing = learning.professor_forcing > 0
        super().__init__(model, Discriminator(model.config.d_model) if forcing else None)
        self.label_smoothing = label_smoothing
        self.head_penalty = head_penalty
        self.learning = learning
        self.done = 0.0
        self.likelihood_weight = 1.0
        if head_penalty > 0 and not model.has_attention:
            raise UsageError("--head-penalty: a model with --attention none has no heads")
        if head_penalty > 0 and model.hard_attention:
            raise UsageError(
                "--head-penalty: no gradient flows through the weights of --normalize hard"
            )
        if forcing and not model.is_recurrent:
            raise UsageError(
                "--professor-forcing needs --arch rnn: it is about states that go from step to step"
            )

    def begin_update(self, done: float) -> None:
        """Scheduled sampling follows the share of the run that is done."""
        self.done = done

    def forward(self, batch: Seq2SeqBatch) -> tuple[Tensor, Tensor]:
        """Sums over the batch's target tokens: the loss, and the unsmoothed one."""
        src, gold_in = (batch.src_ids, batch.src_mask), batch.tgt_ids[:, :-1]
        rate = sampling_rate(self.learning, self.done) if self.training else 0.0
        tgt_in = sampled_inputs(self.model, src, gold_in, rate, self.learning.sampling_choice)
        if self.training and self.head_penalty > 0:
            hidden, maps = self.model.attentions(*src, tgt_in)
            terms = [self.head_penalty * maps.head_penalty(batch.src_mask, batch.tgt_mask)]
        else:
            output: DecoderOutput = self.model(*src, tgt_in)
            hidden, terms = output.hidden, self.terms(output, batch) if self.training else []
        if self.training and self.partner is not None:
            terms += self._professor(batch, hidden if rate <= 0 else None)
        gold = batch.tgt_ids[:, 1:][batch.tgt_mask]
        weight, bias = self.model.output_layer
        loss, nll = linear_cross_entropy(
            hidden[batch.tgt_mask], weight, bias, gold, self.label_smoothing
        )
        return sum(terms, self.likelihood_weight * loss), nll

    def terms(self, output: DecoderOutput, batch: Seq2SeqBatch) -> list[Tensor]:
        """What an output adds to the loss in training.

        Of hard attention, what teaches its scores which positions are worth drawing.
        """
        if not self.model.hard_attention:
            return []
        assert output.log_probs is not None
        with torch.no_grad():
            size = self.model.config.tgt_vocab
            rewards = gold_log_probs(output.hidden, batch.tgt_ids[:, 1:], self.model.logits, size)
        return [hard_attention_loss(output.log_probs, rewards, batch.tgt_mask)]

    def _professor(self, batch: Seq2SeqBatch, forced: Tensor | None) -> list[Tensor]:
        """The discriminator's loss and the model's, where it reads gold tokens and its own."""
        src, gold_in = (batch.src_ids, batch.src_mask), batch.tgt_ids[:, :-1]
        if forced is None:
            forced = self.model(*src, gold_in).hidden
        free_in = sampled_inputs(self.model, src, gold_in, 1.0, "sampled")
        free = self.model(*src, free_in).hidden
        assert self.partner is not None
        of_discriminator, of_model = adversarial_losses(self.partner, forced, free, batch.tgt_mask)
        return [of_discriminator, self.learning.professor_forcing * of_model]
