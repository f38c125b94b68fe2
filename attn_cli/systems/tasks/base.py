"""What a task about text is: how examples are read, encoded, learnt, answered and measured.

A new task is one class here and one entry in `TASKS`; training, decoding and scoring take it as it
is. Shapes: n examples, R rows of a batch (an example has one, or several: windows of a long text,
choices, orders of a pair), T positions, C outputs.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from attn_cli.config.decoding import AnswerOptions
from attn_cli.config.scoring import ScoreOptions
from attn_cli.data.batching import Batch, moved
from attn_cli.data.padding import pad
from attn_cli.data.templates import BertTemplate, InputRow
from attn_cli.errors import DataError, UsageError
from attn_cli.lines.rows import is_blank
from attn_cli.metrics.base import Segment
from attn_cli.models.text import HeadConfig
from attn_cli.tokenizers.tokenizer import Tokenizer
from attn_cli.wording import plural

IGNORE_INDEX = -100  # a target that is not to be learnt, as in F.cross_entropy


@dataclass(frozen=True)
class EncodedExample:
    """An example as sequences.

    Attributes:
        rows: one sequence, or several that are answered together.
        targets: what each row is to give; None where there is nothing to learn. Shape: (R, ...).
        n_targets: how many losses the example adds.
        notes: what the task needs to make an answer of the outputs.
    """

    rows: tuple[InputRow, ...]
    targets: NDArray[np.generic] | None = None
    n_targets: int = 1
    notes: object = None

    @property
    def width(self) -> int:
        """Tokens of its longest row."""
        return max(len(row.ids) for row in self.rows)


@dataclass(frozen=True)
class TextBatch(Batch):
    """Padded rows of some examples.

    Attributes:
        ids: tokens. Shape: (R, T).
        mask: which of them are real. Shape: (R, T), boolean.
        segments: Shape: (R, T).
        owner: the example that each row belongs to, from 0, in order. Shape: (R,).
        targets: Shape: (R, ...), padded with `IGNORE_INDEX`; None where nothing is learnt.
        n_targets: losses that each row adds, all of an example's on its first row. Shape: (R,).
    """

    ids: Tensor
    mask: Tensor
    segments: Tensor
    owner: Tensor
    targets: Tensor | None
    n_targets: Tensor

    def __len__(self) -> int:
        return int(self.owner[-1]) + 1 if len(self.owner) else 0

    @property
    def n_tokens(self) -> int:
        """How many losses the batch adds."""
        return int(self.n_targets.sum())

    def rows(self, which: slice) -> TextBatch:
        """Some of the examples."""
        kept = torch.zeros(len(self), dtype=torch.bool)
        kept[which] = True
        number = kept.cumsum(0) - 1
        chosen = kept[self.owner]
        return TextBatch(
            self.ids[chosen],
            self.mask[chosen],
            self.segments[chosen],
            number[self.owner[chosen]],
            None if self.targets is None else self.targets[chosen],
            self.n_targets[chosen],
        )

    def without_targets(self) -> TextBatch:
        """The same rows with nothing to learn: what an idle rank computes to keep step."""
        targets = None if self.targets is None else torch.full_like(self.targets, IGNORE_INDEX)
        nothing = torch.zeros_like(self.n_targets)
        return TextBatch(self.ids, self.mask, self.segments, self.owner, targets, nothing)

    def to(self, device: torch.device) -> TextBatch:
        """The batch on a device."""
        there = (
            None if tensor is None else moved(tensor, device) for tensor in vars(self).values()
        )
        return TextBatch(*there)  # type: ignore[arg-type]


def collate(examples: Sequence[EncodedExample], pad_id: int) -> TextBatch:
    """Encoded examples as one padded batch."""
    rows = [row for example in examples for row in example.rows]
    ids, mask = pad([row.ids for row in rows], pad_id)
    segments, _ = pad([row.segments for row in rows], 0)
    counts = np.zeros(len(rows), np.int64)
    sizes = [len(example.rows) for example in examples]
    firsts = np.cumsum([0, *sizes])[:-1]
    counts[firsts] = [example.n_targets for example in examples]
    owner = np.repeat(np.arange(len(examples)), sizes)
    return TextBatch(
        ids, mask, segments, torch.from_numpy(owner), _targets(examples), torch.from_numpy(counts)
    )


def _targets(examples: Sequence[EncodedExample]) -> Tensor | None:
    """Targets of one width, the shorter ones padded."""
    arrays = [example.targets for example in examples if example.targets is not None]
    if len(arrays) < len(examples) or not arrays:
        return None
    if arrays[0].ndim == 1:
        return torch.from_numpy(np.concatenate(arrays))
    width = max(array.shape[1] for array in arrays)
    gaps = [((0, 0), (0, width - array.shape[1])) for array in arrays]
    padded = [
        np.pad(array, gap, constant_values=IGNORE_INDEX)
        for array, gap in zip(arrays, gaps, strict=True)
    ]
    return torch.from_numpy(np.concatenate(padded))


@dataclass(frozen=True)
class Answer:
    """What a model says of one example.

    Attributes:
        text: as `score` compares it with the gold answer, and as `decode` prints it.
        probability: of the answer, where the task has one.
        details: more for `--format json`, such as every label's probability.
        known: whether a piece of what was asked is known to the model.
    """

    text: str
    probability: float | None = None
    details: Mapping[str, Any] = field(default_factory=dict)
    known: bool = field(default=True, kw_only=True)


@dataclass(frozen=True)
class TaskSetting:
    """What a task needs to encode examples.

    Attributes:
        tokenizer: cuts texts.
        template: puts special tokens around them, and knows the longest input.
        labels: the answers there are, in the order of the outputs.
        stride: by how many tokens the windows of a long text advance; None: half a window.
        class_weights: what the losses of each label are multiplied with; empty: 1 each.
        label_smoothing: the share of a label's probability that all labels have together.
        options: the task's own options, e.g. qa's.
        n_best: how many answers are told, where a task ranks some.
        head: what is saved of the task with the model.
        say: is told, once, of what can't be read whole.
    """

    tokenizer: Tokenizer
    template: BertTemplate
    labels: Sequence[str] = ()
    stride: int | None = None
    class_weights: Sequence[float] = ()
    label_smoothing: float = 0.0
    options: AnswerOptions | None = None
    n_best: int = 1
    head: HeadConfig = HeadConfig(name="task", kind="text", n_outputs=1)
    say: Callable[[str], None] | None = None

    def room(self, n_texts: int) -> int:
        """Tokens that `n_texts` texts may have together in one sequence.

        Raises:
            DataError: the marks alone fill it.
        """
        room = self.template.max_len - self.template.overhead(n_texts)
        if room < n_texts:
            longest = plural(self.template.max_len, "token")
            raise DataError(
                f"a model that reads {longest} at a time has no room "
                f"for {plural(n_texts, 'text')} and their marks"
            )
        return room

    def step(self, room: int) -> int:
        """The stride of windows of so many tokens."""
        return max(1, min(room, self.stride or room // 2))


class Task(ABC):
    """A kind of task, set up for one model.

    Attributes:
        head: the kind of output layer it reads: "text", "tokens" or "span".
        format: how examples lie in a file, a key of `formats.FORMATS`.
        columns: what a training line has, in order; further ones are not read.
        n_texts: how many of them, from the first, are what a line to be answered has; 0: all.
        n_answered: the same for this model, where the task leaves it open.
        may_be_empty: columns that may be blank.
        labelled: whether its answers are some of a list of labels.
        reads_documents: whether its texts can be read sentence by sentence, a row for each.
        weighs_labels: whether `TaskSetting.class_weights` are read.
        metric: the figure that decides which weights are best: a score's name, in lower case.
        measures: what is measured.
        needs: said of a line to be answered that has too few columns.
        remark: what a user should know of this model's answers; nothing of most.
    """

    head: ClassVar[str]
    format: ClassVar[str] = "lines"
    columns: ClassVar[tuple[str, ...]]
    n_texts: ClassVar[int]
    may_be_empty: ClassVar[tuple[str, ...]] = ()
    labelled: ClassVar[bool] = True
    reads_documents: ClassVar[bool] = False
    weighs_labels: ClassVar[bool] = False
    needs: ClassVar[str] = ""
    remark: str = ""
    metric: str
    measures: ScoreOptions

    def __init__(self, setting: TaskSetting) -> None:
        if setting.template.by_sentence:
            self._require_documents(setting)
        self.setting = setting
        self.n_answered = self.n_texts
        self._number = {label: i for i, label in enumerate(setting.labels)}

    def _require_documents(self, setting: TaskSetting) -> None:
        """Raises DataError or UsageError if a model that reads documents can't serve."""
        if not self.reads_documents:
            raise DataError(
                f"a model that reads documents sentence by sentence (han) does not do "
                f"{setting.head.task}: it does classify, pair, regress, rate and "
                "multilabel"
            )
        if setting.stride:
            raise UsageError("--stride: a model that reads sentences (han) has no windows")

    @classmethod
    def problem(cls, fields: list[str]) -> str | None:
        """What is wrong with a training line's columns, if anything is."""
        return next(
            (
                f"empty {name}"
                for name, text in zip(cls.columns, fields, strict=False)
                if is_blank(text) and name not in cls.may_be_empty
            ),
            None,
        )

    @classmethod
    def question_problem(cls, texts: Sequence[str]) -> str | None:
        """What is wrong with the texts of a line to be answered, if anything is."""
        return "an empty text: nothing to answer" if any(map(is_blank, texts)) else None

    def question(self, fields: list[str]) -> list[str]:
        """What of a training line is given when it is to be answered."""
        return fields

    @classmethod
    def fitted(cls, examples: Iterable[list[str]]) -> dict[str, Any]:
        """What of the head's configuration follows from the training examples.

        Raises:
            DataError: there is nothing to learn from them.
        """
        return {}

    @classmethod
    def labels_in(cls, fields: list[str]) -> Sequence[str]:
        """The labels that a training line names: they become the outputs, sorted."""
        return ()

    @classmethod
    def texts_in(cls, fields: list[str]) -> Sequence[str]:
        """The texts of a training line, for a tokenizer that is trained on them."""
        return fields[: cls.n_texts]

    @classmethod
    def outputs(cls, labels: Sequence[str]) -> int:
        """C, for these labels."""
        return len(labels)

    @property
    def n_outputs(self) -> int:
        """C."""
        return self.outputs(self.setting.labels)

    @abstractmethod
    def encode(self, examples: Sequence[list[str]], *, targets: bool) -> list[EncodedExample]:
        """Encodes the columns of some lines, with what is to be learnt where that is wanted."""

    @abstractmethod
    def loss(self, logits: Tensor, batch: TextBatch) -> Tensor:
        """The loss, a sum over the batch's `n_tokens` targets.

        Shape: logits (R, C) of a text head, (R, T, C) of a token head.
        """

    @abstractmethod
    def answer(self, logits: Tensor, example: EncodedExample) -> Answer:
        """The answer to one example, from the outputs of its rows.

        Shape: logits (rows, C) or (rows, T, C).
        """

    def attach(self, head: nn.Module) -> None:
        """Takes what the model's output layer keeps for answers, if it keeps anything."""
        return

    def calibrated(self, answers: list[Answer], examples: Sequence[list[str]]) -> list[Answer]:
        """Chooses on dev examples what the output layer keeps; the answers that follow from it."""
        return answers

    def segment(self, answer: Answer, fields: list[str]) -> Segment:
        """An answer beside the gold one, as `score` takes it."""
        return Segment(answer.text, (fields[self.n_texts],))
