"""Questions about a text: the answer is a span of it, or there is none (SQuAD v1.1 and v2.0).

Question and text are read together; the vector of each token gives the scores of its being the
answer's first and last one. A text that is too long is read in overlapping windows, each beside the
question; a question that would take more than half of a window is cut, and that is said. Where a
window does not have the answer, its start and end are the summary token: ⟨CLS⟩ of
BERT, the last token of a GPT, which alone saw the window (there, the start of an answer is found
without what follows it, so that an encoder answers better).

Devlin et al. 2019, 4.2 and 4.3: a span's score is S·Tᵢ + E·Tⱼ, j ≥ i, that of no answer S·C + E·C.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from attn_cli.config import shown
from attn_cli.config.decoding import AnswerOptions
from attn_cli.config.scoring import ScoreOptions
from attn_cli.data.templates import GptTemplate, InputRow, windows_of
from attn_cli.lines.squad import Question
from attn_cli.metrics.base import Segment
from attn_cli.metrics.squad import Squad
from attn_cli.nn.heads import SpanHead
from attn_cli.systems.tasks.base import (
    IGNORE_INDEX,
    Answer,
    EncodedExample,
    Task,
    TaskSetting,
    TextBatch,
)
from attn_cli.wording import plural

ALWAYS = 1e30  # a threshold that no score exceeds, yet a finite number: there is always an answer
_CANDIDATES = 20  # spans among which probability is shared, as in the official BERT


@dataclass(frozen=True)
class _Window:
    """Some tokens of a context beside a question.

    Attributes:
        row: the sequence.
        start: where the context's tokens begin in it.
        summary: where the token stands that says that there is no answer.
        first: the number of the first of them among all of the context's tokens.
        spans: the characters of the context that each of them stands for. Shape: (n, 2).
    """

    row: InputRow
    start: int
    first: int
    summary: int
    spans: NDArray[np.int64]


@dataclass(frozen=True)
class _Asked:
    """What is needed to make an answer of outputs."""

    context: str
    windows: list[_Window]


@dataclass(frozen=True)
class SpanAnswer(Answer):
    """An answer, and the choice behind it.

    Attributes:
        span: the best span's text, whether or not it is the answer.
        margin: the score of no answer minus the best span's: above the threshold, none is given.
    """

    span: str = field(default="", kw_only=True)
    margin: float = field(default=0.0, kw_only=True)


class Qa(Task):
    """Answers as spans of a text."""

    head: ClassVar[str] = "span"
    format: ClassVar[str] = "squad"
    columns: ClassVar[tuple[str, ...]] = ("question", "context")
    n_texts: ClassVar[int] = 2
    labelled: ClassVar[bool] = False
    metric: str = "squad_f1"
    measures: ScoreOptions = ScoreOptions(squad=True)

    def __init__(self, setting: TaskSetting) -> None:
        super().__init__(setting)
        self._options: AnswerOptions = setting.options or AnswerOptions()
        self._causal = isinstance(setting.template, GptTemplate)
        self._head: SpanHead | None = None
        self._has_said = False

    @classmethod
    def problem(cls, fields: list[str]) -> str | None:
        """None: `squad` has checked the questions."""
        return None

    @classmethod
    def texts_in(cls, fields: list[str]) -> Sequence[str]:
        """Question and context."""
        question = Question.from_row(fields[0])
        return question.question, question.context

    @classmethod
    def outputs(cls, labels: Sequence[str]) -> int:
        """Two: start and end."""
        return 2

    # --- questions to sequences ---

    def encode(self, examples: Sequence[list[str]], *, targets: bool) -> list[EncodedExample]:
        """Frames questions, rows of JSON as `Question.to_row` gives them.

        What is to be learnt comes window by window: they are examples of their own.
        """
        questions = [Question.from_row(fields[0]) for fields in examples]
        token_ids = self.setting.tokenizer.encode([question.question for question in questions])
        contexts = list(dict.fromkeys(question.context for question in questions))
        offsets = self.setting.tokenizer.encode_with_offsets(contexts)
        tokens_of = dict(zip(contexts, offsets, strict=True))
        encoded = []
        for question, ids in zip(questions, token_ids, strict=True):
            windows = self._windows(ids, *tokens_of[question.context])
            if targets:
                encoded += _taught(windows, question, tokens_of[question.context][1])
            else:
                rows = tuple(window.row for window in windows)
                encoded.append(EncodedExample(rows, notes=_Asked(question.context, windows)))
        return encoded

    def _windows(
        self, question: list[int], ids: list[int], spans: list[tuple[int, int]]
    ) -> list[_Window]:
        setting = self.setting
        room = setting.room(2)
        if len(question) > room // 2:
            self._say_cut(question, room // 2)
            question = question[: room // 2]
        characters = np.array(spans, np.int64).reshape(-1, 2)
        windows = []
        width = room - len(question)
        for first, end in windows_of(len(ids), width, setting.step(width)):
            row = setting.template.fill(question, ids[first:end])
            summary = len(row.ids) - 1 if self._causal else 0
            windows.append(_Window(row, row.starts[1], first, summary, characters[first:end]))
        return windows

    def _say_cut(self, question: Sequence[int], length: int) -> None:
        if self.setting.say and not self._has_said:
            (text,) = self.setting.tokenizer.decode([question])
            self.setting.say(
                f"the question {shown(text)} is cut to {plural(length, 'token')}, half of what the "
                "model reads (finetune --max-len), and so are others"
            )
        self._has_said = True

    # --- learning ---

    def loss(self, logits: Tensor, batch: TextBatch) -> Tensor:
        """-Σ (ln p(start) + ln p(end)) / 2, the softmax over the context and the summary token."""
        assert batch.targets is not None
        rows = torch.arange(len(batch.ids), device=batch.ids.device)
        allowed = (batch.segments == 1) & batch.mask
        allowed[rows, batch.mask.sum(1) - 1] = self._causal  # the last mark
        allowed[:, 0] |= not self._causal
        scores = logits.float().masked_fill(~allowed[..., None], -torch.inf)
        log_probs = scores.log_softmax(1).transpose(1, 2).flatten(0, 1)  # (2 R, T)
        gold = batch.targets.flatten()
        loss = F.nll_loss(log_probs, gold, ignore_index=IGNORE_INDEX, reduction="sum")
        if smoothing := self.setting.label_smoothing:
            places = allowed.repeat_interleave(2, 0)
            uniform = log_probs.masked_fill(~places, 0.0).sum(1) / places.sum(1)
            loss = (1 - smoothing) * loss - smoothing * uniform[gold != IGNORE_INDEX].sum()
        return loss / 2

    # --- answers ---

    def attach(self, head: nn.Module) -> None:
        """Takes the threshold from a `nn.heads.SpanHead`; other heads have 0, as the official."""
        self._head = head if isinstance(head, SpanHead) else None

    @property
    def threshold(self) -> float:
        """By how much the score of no answer must exceed the best answer's."""
        if self._options.no_answer_threshold is not None:
            return self._options.no_answer_threshold
        return 0.0 if self._head is None else float(self._head.no_answer_threshold)

    def answer(self, logits: Tensor, example: EncodedExample) -> SpanAnswer:
        """The best span of all windows, or "".

        A span's score counts from its own window's score of no answer: the windows' scores have no
        common zero otherwise. Probabilities are shared among the best spans and no answer, whose
        score is the threshold, negated; it takes part unless the model always answers.
        """
        asked = example.notes
        assert isinstance(asked, _Asked)
        scores = logits.float().numpy()
        spans = self._best_spans(scores, asked)
        threshold = self.threshold
        candidates = [(score, asked.context[first:end], first, end) for score, first, end in spans]
        if threshold < ALWAYS or not candidates:
            candidates = sorted([*candidates, (-threshold, "", 0, 0)], key=lambda c: -c[0])
        probs = _softmax([score for score, *_ in candidates])
        best = [
            {"text": text, "probability": p, "start": first, "end": end}
            for (_, text, first, end), p in zip(candidates, probs, strict=True)
        ]
        details: dict[str, object] = {"start": candidates[0][2], "end": candidates[0][3]}
        details |= {"n_best": best[: self.setting.n_best]} if self.setting.n_best > 1 else {}
        return SpanAnswer(
            candidates[0][1],
            probs[0],
            details,
            span=asked.context[spans[0][1] : spans[0][2]] if spans else "",
            margin=-spans[0][0] if spans else ALWAYS,
        )

    def _best_spans(
        self, scores: NDArray[np.float32], asked: _Asked
    ) -> list[tuple[float, int, int]]:
        """Scores and characters of the best spans, best first, each span once."""
        best: dict[tuple[int, int], float] = {}
        for row_scores, window in zip(scores, asked.windows, strict=True):
            usable = window.spans[:, 0] < window.spans[:, 1]
            if not usable.any():
                continue
            of_context = row_scores[window.start : window.start + len(usable)]
            masked = np.where(usable[:, None], of_context, -np.inf)
            none = row_scores[window.summary].sum()
            longest = self._options.max_answer_len
            most = max(_CANDIDATES, self.setting.n_best)
            for score, i, j in best_pairs(masked[:, 0], masked[:, 1], longest, most):
                span = (int(window.spans[i, 0]), int(window.spans[j, 1]))
                best[span] = max(best.get(span, -np.inf), float(score - none))
        ranked = sorted((-score, *span) for span, score in best.items())
        ranked = ranked[: max(_CANDIDATES, self.setting.n_best)]
        return [(-score, first, end) for score, first, end in ranked]

    def segment(self, answer: Answer, fields: list[str]) -> Segment:
        """An answer beside all gold ones; "" where there is none."""
        golds = tuple(text for text, _ in Question.from_row(fields[0]).answers)
        return Segment(answer.text, golds or ("",))

    def calibrated(self, answers: list[Answer], examples: Sequence[list[str]]) -> list[Answer]:
        """Chooses the head's threshold for the best F1 on dev examples, and answers by it."""
        spans = [answer for answer in answers if isinstance(answer, SpanAnswer)]
        golds = [self.segment(answer, row) for answer, row in zip(spans, examples, strict=True)]
        gains = [
            Squad(self.measures).line(Segment(answer.span, gold.references))[1]
            - Squad(self.measures).line(Segment("", gold.references))[1]
            for answer, gold in zip(spans, golds, strict=True)
        ]
        chosen = ALWAYS
        if any(gold.references == ("",) for gold in golds):
            chosen = best_threshold([answer.margin for answer in spans], gains)
        assert self._head is not None
        self._head.no_answer_threshold.data.fill_(chosen)
        threshold = self.threshold
        return [
            Answer(answer.span if answer.margin <= threshold else "", answer.probability)
            for answer in spans
        ]


def _taught(
    windows: Sequence[_Window], question: Question, spans: Sequence[tuple[int, int]]
) -> list[EncodedExample]:
    """Each window with the positions of the answer in it, or of the summary token.

    Of several gold answers the one that most people gave counts. An answer of which the tokenizer
    leaves nothing teaches nothing.
    """
    gold: tuple[int, int] | None = None
    if question.answers:
        (text, first), _ = Counter(question.answers).most_common(1)[0]
        inside = [i for i, (a, b) in enumerate(spans) if a < first + len(text) and b > first]
        if not inside:
            return []
        gold = inside[0], inside[-1]
    encoded = []
    for window in windows:
        places = (window.summary, window.summary)
        if gold and window.first <= gold[0] and gold[1] < window.first + len(window.spans):
            offset = window.start - window.first
            places = (gold[0] + offset, gold[1] + offset)
        encoded.append(EncodedExample((window.row,), np.array([places]), 1))
    return encoded


def best_pairs(
    start: NDArray[np.float32],
    end: NDArray[np.float32],
    max_len: int,
    count: int,
) -> list[tuple[float, int, int]]:
    """The pairs i ≤ j < i + `max_len` with the highest start[i] + end[j], best first.

    Shape: start, end (n,), n at least 1. Of equal ones the first come first.
    """
    n = len(start)
    offsets = np.arange(min(max_len, n))
    last = np.arange(n)[:, None] + offsets  # (n, lengths)
    sums = np.where(last < n, start[:, None] + end[np.minimum(last, n - 1)], -np.inf).ravel()
    order = np.argsort(-sums, kind="stable")[:count]
    order = order[np.isfinite(sums[order])]
    return [
        (float(sums[at]), int(i), int(i + k)) for at in order for i, k in [divmod(at, len(offsets))]
    ]


def best_threshold(margins: Sequence[float], gains: Sequence[float]) -> float:
    """The threshold τ with the greatest Σ gain over the questions with margin ≤ τ.

    Args:
        margins: of each question, the score of no answer minus the best answer's.
        gains: of each, how much better its best answer is than none, in any unit.

    Returns:
        Halfway between two margins; of several best ones, that nearest to 0.
    """
    order = np.argsort(margins, kind="stable")
    ordered = np.asarray(margins, float)[order]
    totals = np.concatenate([[0.0], np.cumsum(np.asarray(gains, float)[order])])
    bounds = np.concatenate([[ordered[0] - 1.0], ordered, [ordered[-1] + 1.0]])
    # Equal margins can't be parted.
    cuts = [k for k in range(len(totals)) if k in (0, len(ordered)) or ordered[k - 1] < ordered[k]]
    thresholds = {k: float(np.float32((bounds[k] + bounds[k + 1]) / 2)) for k in cuts}
    best = max(totals[k] for k in cuts)
    tied = [thresholds[k] for k in cuts if np.isclose(totals[k], best, rtol=0, atol=1e-9)]
    return min(tied, key=abs)


def _softmax(scores: Sequence[float]) -> list[float]:
    exps = np.exp(np.asarray(scores) - max(scores))
    return (exps / exps.sum()).tolist()
