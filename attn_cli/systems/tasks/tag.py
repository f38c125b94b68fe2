"""One tag a word: part of speech, named entities (Devlin et al. 2019, 5.3).

Each word is tokenized by itself, and the vector of its first token gives its tag; a word of which
the tokenizer leaves nothing is read as an unknown token. A long sentence is read in overlapping
windows, and every word is answered once, from the window in which it has most context. A causal
backbone (GPT) tags a word by what stands before it alone.
"""

from __future__ import annotations

import json
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from attn_cli.config.scoring import ScoreOptions
from attn_cli.data.templates import InputRow, widest_context, windows_of
from attn_cli.lines.tags import parse_tag
from attn_cli.metrics.base import Segment
from attn_cli.metrics.spans import iob1_to_bio
from attn_cli.systems.tasks.base import (
    IGNORE_INDEX,
    Answer,
    EncodedExample,
    Task,
    TaskSetting,
    TextBatch,
)
from attn_cli.tokenizers.words import encode_words


@dataclass(frozen=True)
class _Read:
    """A sentence as windows of tokens.

    Attributes:
        rows: the windows.
        window: of each word, the number of the window that answers it. Shape: (words,).
        position: of each word, the position of its first token there. Shape: (words,).
    """

    rows: tuple[InputRow, ...]
    window: NDArray[np.int64]
    position: NDArray[np.int64]


class Tag(Task):
    """One label for each word.

    Labels that all are O or of the form B-TYPE, I-TYPE (BIO; with E- and S- BIOES, or BILOU) are
    spans: they are measured by span F1, and the answer is the likeliest sequence of tags that is
    well-formed, found by Viterbi's algorithm with the log-probabilities of the words and transition
    scores of 0 (legal) and -inf. Other labels are measured by accuracy, each word's best is taken.
    So it is of a model that learnt IOB1 elsewhere (`HeadConfig.scheme`), whose answer is in BIO.
    """

    head: ClassVar[str] = "tokens"
    format: ClassVar[str] = "blocks"
    columns: ClassVar[tuple[str, ...]] = ("word", "tag")
    n_texts: ClassVar[int] = 1
    weighs_labels: ClassVar[bool] = True

    metric: str = "accuracy"
    measures: ScoreOptions = ScoreOptions(accuracy=True, f1=True, tags=True)

    def __init__(self, setting: TaskSetting) -> None:
        super().__init__(setting)
        self._is_iob1 = setting.head.scheme == "iob1"
        if self._is_iob1:
            self.remark = "the model's tags are IOB1 (I- begins spans), answered as BIO"
        self._legal = None if self._is_iob1 else well_formed(setting.labels)
        if self._legal or self._is_iob1:
            self.metric = "span_f1"
            self.measures = ScoreOptions(span_f1=True, accuracy=True)

    @classmethod
    def problem(cls, fields: list[str]) -> str | None:
        """None: `data.conll` has checked the sentences."""
        return None

    @classmethod
    def labels_in(cls, fields: list[str]) -> Sequence[str]:
        """The tags of a sentence."""
        return json.loads(fields[0])[1]

    @classmethod
    def texts_in(cls, fields: list[str]) -> Sequence[str]:
        """The sentence."""
        return [" ".join(json.loads(fields[0])[0])]

    def encode(self, examples: Sequence[list[str]], *, targets: bool) -> list[EncodedExample]:
        """Frames sentences, `[[word, …], [tag, …]]` as JSON; the tags are read for targets alone.

        What is to be learnt comes window by window: they are examples of their own.
        """
        sentences = [json.loads(fields[0]) for fields in examples]
        cut = encode_words(self.setting.tokenizer, [words for words, *_ in sentences])
        nothing = [self.setting.template.separator_id]  # of a word that leaves no token
        encoded = []
        for (_, *tags), words in zip(sentences, cut, strict=True):
            read = self._read([tokens or nothing for tokens in words])
            if targets:
                encoded += self._taught(read, tags[0])
            else:
                encoded.append(EncodedExample(read.rows, notes=read))
        return encoded

    def _read(self, words: Sequence[Sequence[int]]) -> _Read:
        setting = self.setting
        room = setting.room(1)
        tokens = [index for word in words for index in word]
        windows = windows_of(len(tokens), room, setting.step(room))
        rows = tuple(setting.template.fill(tokens[first:end]) for first, end in windows)
        firsts = np.cumsum([0, *map(len, words)])[:-1]
        window = np.array([_best_window(windows, first) for first in firsts.tolist()], np.int64)
        begins = np.array([first for first, _ in windows])[window]
        starts = np.array([row.starts[0] for row in rows])[window]
        return _Read(rows, window, starts + firsts - begins)

    def _taught(self, read: _Read, tags: Sequence[str]) -> list[EncodedExample]:
        """The windows that answer words whose tags are known."""
        gold = np.array([self._number.get(tag, IGNORE_INDEX) for tag in tags])
        encoded = []
        for number, row in enumerate(read.rows):
            chosen = (read.window == number) & (gold != IGNORE_INDEX)
            if chosen.any():
                targets = np.full((1, len(row.ids)), IGNORE_INDEX)
                targets[0, read.position[chosen]] = gold[chosen]
                encoded.append(EncodedExample((row,), targets, int(chosen.sum())))
        return encoded

    def loss(self, logits: Tensor, batch: TextBatch) -> Tensor:
        """-Σ w_y ln p(y) over the tagged words."""
        assert batch.targets is not None
        weights = self.setting.class_weights
        weight = logits.new_tensor(weights).float() if weights else None
        targets = batch.targets[:, : logits.shape[1]]
        return F.cross_entropy(
            logits.float().flatten(0, 1),
            targets.flatten(),
            weight,
            ignore_index=IGNORE_INDEX,
            reduction="sum",
            label_smoothing=self.setting.label_smoothing,
        )

    def answer(self, logits: Tensor, example: EncodedExample) -> Answer:
        """A tag for each word, joined by spaces; the details have tags and their probabilities."""
        read = example.notes
        assert isinstance(read, _Read)
        scores = logits.float()[torch.from_numpy(read.window), torch.from_numpy(read.position)]
        log_probs = scores.log_softmax(-1).numpy()  # (words, C)
        best = viterbi(log_probs, *self._legal) if self._legal else log_probs.argmax(-1)
        tags = [self.setting.labels[number] for number in best.tolist()]
        tags = iob1_to_bio(tags) if self._is_iob1 else tags
        probs = np.exp(log_probs[np.arange(len(best)), best]).tolist()
        return Answer(" ".join(tags), None, {"tags": tags, "probs": probs})

    def segment(self, answer: Answer, fields: list[str]) -> Segment:
        """The tags of a sentence, joined by spaces, beside the gold ones."""
        return Segment(answer.text, (" ".join(json.loads(fields[0])[1]),))


def _best_window(windows: Sequence[tuple[int, int]], position: int) -> int:
    """`widest_context`, asked only of the windows that hold the position."""
    low = bisect_right(windows, position, key=lambda window: window[1])
    high = bisect_right(windows, position, key=lambda window: window[0])
    return low + widest_context(windows[low:high], position)


Legal = tuple[NDArray[np.bool_], NDArray[np.bool_], NDArray[np.bool_]]


def well_formed(labels: Sequence[str]) -> Legal | None:
    """Which tags may follow each other, come first, and come last, in BIO or BIOES.

    Returns:
        None if the labels are of neither scheme: some are no such tags, none begins a span, or one
        continues spans of a type that none begins (of IOB1, which a training would make BIO).
        Shapes: (C, C), (C,), (C,).
    """
    parsed = [parse_tag(label) for label in labels]
    begun = {kind for prefix, kind in parsed if prefix == "B"}
    strange = any(
        (prefix == "O" and label != "O") or (prefix in ("I", "E") and kind not in begun)
        for label, (prefix, kind) in zip(labels, parsed, strict=True)
    )
    if strange or not begun:
        return None
    must_close = any(prefix in ("E", "S") for prefix, _ in parsed)
    opened = [kind if prefix in ("B", "I") else None for prefix, kind in parsed]
    wants = [kind if prefix in ("I", "E") else None for prefix, kind in parsed]
    pairs = [
        [want == open_ if want or (open_ and must_close) else True for want in wants]
        for open_ in opened
    ]
    begins = [want is None for want in wants]
    ends = [not (open_ and must_close) for open_ in opened]
    return np.array(pairs, bool), np.array(begins, bool), np.array(ends, bool)


def viterbi(
    log_probs: NDArray[np.float32],
    pairs: NDArray[np.bool_],
    begins: NDArray[np.bool_],
    ends: NDArray[np.bool_],
) -> NDArray[np.int64]:
    """The sequence of labels with the highest sum of log-probabilities among the legal ones.

    Args:
        log_probs: of each label at each position. Shape: (T, C), T at least 1.
        pairs: whether label j may follow label i. Shape: (C, C).
        begins: whether a label may come first. Shape: (C,).
        ends: whether a label may come last. Shape: (C,).

    Returns:
        The labels' numbers. Shape: (T,).
    """
    transitions = np.where(pairs, 0.0, -np.inf)
    scores = log_probs[0] + np.where(begins, 0.0, -np.inf)
    came_from = np.zeros(log_probs.shape, np.int64)
    for at in range(1, len(log_probs)):
        paths = scores[:, None] + transitions
        came_from[at] = paths.argmax(0)
        scores = paths.max(0) + log_probs[at]
    best = np.empty(len(log_probs), np.int64)
    best[-1] = np.argmax(scores + np.where(ends, 0.0, -np.inf))
    for at in range(len(log_probs) - 1, 0, -1):
        best[at - 1] = came_from[at, best[at]]
    return best
