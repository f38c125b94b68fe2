"""Sequence-level training: outputs are sampled, judged by sentence BLEU, made likelier or not.

They are found by the one search there is, without gradient and without dropout, and then scored
with gradient by teacher forcing, so that every architecture that can be searched learns so (Shen
et al. 2016; Ranzato et al. 2016; Edunov et al. 2018). They are scored with dropout: without it the
gradient has less than half the variance, but nothing holds the model back from learning by heart.

Shapes: B sentences, C outputs of each at most, S source length, T target length.
"""

from __future__ import annotations

import contextlib
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence, Sized
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor, nn

from attn_cli.config.criterion import CriterionOptions
from attn_cli.config.decoding import SearchOptions
from attn_cli.config.scoring import ScoreOptions
from attn_cli.config.seq2seq import LearningOptions
from attn_cli.data.padding import pad
from attn_cli.errors import UsageError
from attn_cli.metrics import METRICS
from attn_cli.metrics.base import Metric, Segment
from attn_cli.metrics.scripts import Letters
from attn_cli.models.seq2seq_base import AutoregressiveModel
from attn_cli.nn.beam_state import BeamState
from attn_cli.nn.sequence_losses import expected_risk, self_critical, sequence_log_probs
from attn_cli.search.search import Request, search
from attn_cli.search.step import DecoderState
from attn_cli.systems.translation.likelihood import TranslationObjective
from attn_cli.systems.translation.pairs import Seq2SeqBatch
from attn_cli.systems.translation.steps import Seq2SeqStep
from attn_cli.systems.translation.translator import Translator
from attn_cli.tokenizers.tokenizer import Tokenizer


class Output(NamedTuple):
    """What was drawn for a source.

    Attributes:
        tokens: without bos and eos.
        finished: whether eos was drawn; it was not where the output was cut at its longest.
    """

    tokens: tuple[int, ...]
    finished: bool


class Criterion(ABC):
    """What is done with outputs of the model's own.

    Attributes:
        has_baseline: whether the greedy output's reward is asked for.
        search_options: how outputs are looked for: samples, unless a criterion says otherwise.
    """

    has_baseline: ClassVar[bool]

    def __init__(self, options: CriterionOptions) -> None:
        self.options = options
        self.search_options = SearchOptions(sample=True, n_best=options.samples)

    @abstractmethod
    def candidates(self, drawn: Sequence[Output], reference: Output) -> list[Output]:
        """The outputs of a sentence that count."""

    @abstractmethod
    def loss(self, log_probs: Tensor, rewards: Tensor, baseline: Tensor, mask: Tensor) -> Tensor:
        """The sum over sentences. Shape: (B, C), (B, C), (B,), (B, C)."""


class Risk(Criterion):
    """Minimum risk training (Shen et al. 2016): 1 - BLEU, expected among different outputs."""

    has_baseline: ClassVar[bool] = False

    def __init__(self, options: CriterionOptions) -> None:
        super().__init__(options)
        if options.candidates == "beam":
            count = options.samples
            self.search_options = SearchOptions(beam=count, n_best=count)

    def candidates(self, drawn: Sequence[Output], reference: Output) -> list[Output]:
        """Each once, and the reference where that was asked for."""
        gold = [reference] if self.options.with_reference else []
        return list(dict.fromkeys([*gold, *drawn]))

    def loss(self, log_probs: Tensor, rewards: Tensor, baseline: Tensor, mask: Tensor) -> Tensor:
        """See `expected_risk`."""
        return expected_risk(log_probs, 1 - rewards, mask, self.options.sharpness)


class Reinforce(Criterion):
    """Self-critical sequence training (Rennie et al. 2017): better than the greedy output, or not.

    A sample counts as often as it was drawn: so the gradient is not biased.
    """

    has_baseline: ClassVar[bool] = True

    def candidates(self, drawn: Sequence[Output], reference: Output) -> list[Output]:
        """All that were drawn."""
        return list(drawn)

    def loss(self, log_probs: Tensor, rewards: Tensor, baseline: Tensor, mask: Tensor) -> Tensor:
        """See `self_critical`."""
        return self_critical(log_probs, rewards, baseline, mask)


SEQUENCE_CRITERIA: dict[str, type[Criterion]] = {"risk": Risk, "reinforce": Reinforce}
# Outputs are scored in so many groups by length: one that is long would pad all of them.
_GROUPS = 4


class SentenceBleu:
    """Sentence BLEU of token sequences as text, from 0 to 1: what `score --per-line` measures.

    A reference without spaces between its words is parted by the tokenizer of its script.
    """

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        self._metrics: dict[str, Metric] = {}  # by the tokenizer of words

    def __call__(
        self, outputs: Sequence[Sequence[Output]], references: Sequence[Output]
    ) -> list[list[float]]:
        """The rewards of each sentence's outputs."""
        gold = self._tokenizer.decode([reference.tokens for reference in references])
        return [
            [
                self._metric(reference).line(Segment(text, (reference,)))[0] / 100
                for text in self._tokenizer.decode([output.tokens for output in samples])
            ]
            for samples, reference in zip(outputs, gold, strict=True)
        ]

    def _metric(self, reference: str) -> Metric:
        written = Letters([reference]).unspaced
        name = written.tokenizer if written else ScoreOptions().tokenize
        if name not in self._metrics:
            self._metrics[name] = METRICS["bleu"](ScoreOptions(bleu=True, tokenize=name))
        return self._metrics[name]


class SequenceObjective(TranslationObjective):
    """w · likelihood + (1 - w) · criterion of sampled outputs (Wu et al. 2018, eq. 6).

    The first is the mean over tokens, the second over sentences: BLEU of a sentence's outputs
    differs by tenths, so that ln P of the whole reference, whose gradient is more than ten times
    the criterion's, would drown it. Not in training, the likelihood alone.

    Args:
        model: what is trained.
        label_smoothing: ε of the likelihood.
        translator: of that model; it says what is never produced, and spells outputs.
        options: the criterion.
        head_penalty: see `TranslationObjective`.
        learning: likewise.

    Raises:
        UsageError: the model has no ln P(y) that a gradient could be taken of.
    """

    def __init__(
        self,
        model: AutoregressiveModel[BeamState],
        label_smoothing: float,
        translator: Translator,
        options: CriterionOptions,
        head_penalty: float = 0.0,
        learning: LearningOptions | None = None,
    ) -> None:
        super().__init__(model, label_smoothing, head_penalty, learning)
        if model.hard_attention:
            raise UsageError(
                f"--criterion {options.criterion}: with --normalize hard the probability of an "
                "output depends on what was drawn to attend to; leave one of them out"
            )
        self.options = options
        self.criterion = SEQUENCE_CRITERIA[options.criterion](options)
        self._translator = translator
        self._reward = SentenceBleu(translator.tgt)

    @property
    def rows_per_sentence(self) -> int:
        """Target sequences that a sentence puts into memory: its reference and its outputs."""
        return 1 + self.options.samples + self.options.with_reference

    @property
    def keeps_step(self) -> bool:
        """See `Objective`: a search ends when its outputs do."""
        return False

    def forward(self, batch: Seq2SeqBatch) -> tuple[Tensor, Tensor]:
        """Sums over the batch: the loss, and the references' negative log-likelihood."""
        loss, nll = super().forward(batch)
        weight = self.options.likelihood_weight
        if not self.training or weight == 1.0:
            return loss, nll
        (filled,) = batch.tgt_mask.any(1).nonzero(as_tuple=True)
        if not len(filled):  # an idle rank keeps step
            return weight * loss, nll
        # Sums over tokens: a sentence's criterion counts once for each token.
        length = batch.n_tokens / len(filled)
        return weight * loss + (1 - weight) * length * self._sequence_loss(batch.rows(filled)), nll

    def _sequence_loss(self, batch: Seq2SeqBatch) -> Tensor:
        references, device = _references(batch), batch.tgt_ids.device
        baseline = torch.zeros(len(batch), device=device)
        drawn = self._search(batch, references, self.criterion.search_options)
        if self.criterion.has_baseline:
            best = self._search(batch, references, SearchOptions(greedy=True))
            baseline = _matrix(self._reward(best, references), device)[0][:, 0]
        outputs = [
            self.criterion.candidates(samples, reference)
            for samples, reference in zip(drawn, references, strict=True)
        ]
        rewards, mask = _matrix(self._reward(outputs, references), device)
        log_probs = torch.zeros_like(rewards).masked_scatter(mask, self._scored(batch, outputs))
        return self.criterion.loss(log_probs, rewards, baseline, mask)

    def _search(
        self, batch: Seq2SeqBatch, references: Sequence[Output], options: SearchOptions
    ) -> list[list[Output]]:
        """What the search finds for each row; about as long as its reference at most."""
        requests = [
            Request(_Row(number), options.longest(len(reference.tokens)))
            for number, reference in enumerate(references)
        ]
        # Drawn from the generator that is saved with the training's state.
        seed = int(torch.randint(1 << 62, ())) if options.sample else 0
        with torch.no_grad(), _at_rest(self.model):
            hypotheses = search(
                _BatchStep(self.model, batch, self._translator),
                requests,
                options,
                max_rows=len(requests) * options.width,
                seed=seed,
                forbidden_ids=self._translator.never_ids,
                device=batch.tgt_ids.device,
            )
        return [[Output(item.tokens, item.finished) for item in items] for items in hypotheses]

    def _scored(self, batch: Seq2SeqBatch, outputs: Sequence[Sequence[Output]]) -> Tensor:
        """Log P of all outputs, sentence by sentence. Shape: (R,)."""
        flat = [(row, output) for row, samples in enumerate(outputs) for output in samples]
        order = sorted(range(len(flat)), key=lambda number: len(flat[number][1].tokens))
        size = -(-len(flat) // _GROUPS)
        groups = [order[start : start + size] for start in range(0, len(order), size)]
        log_probs = torch.cat(
            [self._scored_at_once(batch, [flat[i] for i in group]) for group in groups]
        )
        return log_probs[torch.tensor(order, device=log_probs.device).argsort()]

    def _scored_at_once(self, batch: Seq2SeqBatch, outputs: Sequence[tuple[int, Output]]) -> Tensor:
        """Log P of outputs of rows of the batch, by one teacher-forced pass. Shape: (R,)."""
        tgt, device = self._translator.tgt, batch.tgt_ids.device
        sequences = [[tgt.bos_id, *output.tokens, tgt.eos_id] for _, output in outputs]
        ids = pad(sequences, tgt.pad_id)[0].to(device)
        # A sample that was cut has drawn no end: its ln P is that of its tokens.
        lengths = torch.tensor([len(output.tokens) + output.finished for _, output in outputs])
        mask = torch.arange(ids.shape[1] - 1, device=device) < lengths.to(device)[:, None]
        rows = torch.tensor([row for row, _ in outputs], device=device)
        hidden = self.model(batch.src_ids[rows], batch.src_mask[rows], ids[:, :-1]).hidden
        return sequence_log_probs(hidden, ids[:, 1:], mask, *self.model.output_layer)


class _Row:
    """A row of a batch, as a request's source."""

    def __init__(self, number: int) -> None:
        self.number = number

    def __len__(self) -> int:
        return 1


class _BatchStep(Seq2SeqStep):
    """A model that is searched for outputs of a batch's rows, which are tensors already."""

    def __init__(
        self, model: AutoregressiveModel[BeamState], batch: Seq2SeqBatch, translator: Translator
    ) -> None:
        super().__init__(model, translator.src, translator.tgt)
        self.batch = batch

    def start(self, sources: Sequence[Sized]) -> DecoderState:
        """Encodes rows of the batch."""
        rows = [source.number for source in sources if isinstance(source, _Row)]
        numbers = torch.tensor(rows, device=self.batch.src_ids.device)
        return self.model.start(self.batch.src_ids[numbers], self.batch.src_mask[numbers])


@contextlib.contextmanager
def _at_rest(model: nn.Module) -> Iterator[None]:
    """The model without dropout inside, as it was outside."""
    training = model.training
    model.eval()
    try:
        yield
    finally:
        model.train(training)


def _references(batch: Seq2SeqBatch) -> list[Output]:
    rows = zip(batch.tgt_ids[:, 1:].tolist(), batch.tgt_mask.sum(1).tolist(), strict=True)
    return [Output(tuple(ids[: length - 1]), True) for ids, length in rows]


def _matrix(rows: Sequence[Sequence[float]], device: torch.device) -> tuple[Tensor, Tensor]:
    """Padded rows of different lengths, and their mask. Shape: (B, C) twice."""
    lengths = torch.tensor([len(row) for row in rows])
    mask = torch.arange(int(lengths.max())) < lengths[:, None]
    values = torch.tensor([value for row in rows for value in row])
    return torch.zeros(mask.shape).masked_scatter(mask, values).to(device), mask.to(device)
