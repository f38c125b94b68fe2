"""What a pre-training objective is made of: a reader of documents, and a loss with its figures."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Self

from torch import nn

from attn_cli.config.pretraining import PretrainCommand
from attn_cli.data.batching import B, I, RowReader, RowSource
from attn_cli.data.corpus import Corpus
from attn_cli.data.split import RowNumbers
from attn_cli.models.text import TextModel
from attn_cli.tokenizers.tokenizer import Tokenizer
from attn_cli.train.objective import Objective
from attn_cli.train.spread import Spread, alone

_POOL_BYTES = 1 << 23  # of text: the first batch comes within seconds


@dataclass
class DocumentReader(RowReader[B, I]):
    """Cuts documents into batches.

    Attributes:
        corpus: rows that are documents, as lines.
        rows: which of them are used.
        tokenizer: of their text.
        options: of the command: lengths, masking, seed.
    """

    corpus: Corpus
    rows: RowNumbers
    tokenizer: Tokenizer
    options: PretrainCommand

    def source(self) -> RowSource[B, I]:
        """What `batching.stream` walks."""
        return RowSource(
            len(self.rows),
            lambda numbers: self.corpus.sizes(self.rows[numbers]),
            self,
            pool_bytes=_POOL_BYTES,
        )

    @property
    def max_len(self) -> int:
        """Tokens of an input at most."""
        return min(self.options.objective.max_len, self.batch_tokens)

    @property
    def batch_tokens(self) -> int:
        """The budget of a batch."""
        return self.options.training.batch_tokens


class PretrainingObjective(Objective[B]):
    """The loss of a text model, and the figures of a validation.

    Args:
        model: what is trained.
        label_smoothing: ε.
        partner: a module that is trained along, if any.
    """

    model: TextModel

    def __init__(
        self, model: TextModel, label_smoothing: float, partner: nn.Module | None = None
    ) -> None:
        super().__init__(model, partner)
        self.label_smoothing = label_smoothing

    @classmethod
    def as_asked(cls, model: TextModel, options: PretrainCommand) -> Self:
        """What the options of the command make of it."""
        return cls(model, options.training.label_smoothing)

    @property
    def unused(self) -> Iterable[nn.Parameter]:
        """Parameters of the model that it does not train."""
        return ()

    @abstractmethod
    def figures(self, batches: Sequence[B], spread: Spread = alone) -> dict[str, float]:
        """The loss in nats per token, and what else tells how good the weights are."""
