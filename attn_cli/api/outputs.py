"""What a model's methods give back."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from typing import TypeAlias

    import numpy as np
    from numpy.typing import NDArray

    from attn_cli.viz.maps import AttentionMap
    from attn_cli.viz.selection import HeadSelection

    Array: TypeAlias = NDArray[np.float32]


class Output(str):
    """What a model says of a line: a text, which knows more of itself.

    It is printed, joined and compared as any text. What was not asked for, or is not there, is None
    or empty.

    Attributes:
        log_prob: log P(output | input) in nats, the end of it included (`scores=True`).
        score: what the search ranks outputs by.
        alignment: pairs of source word and target word, from 0 (`align=True`).
        times: of a transcript, the seconds at which each word begins and ends (`align=True`).
        n_best: all outputs for the line, best first; the first of them is this one (`n_best=5`).
        probability: of a label or an answer.
        details: what else a task tells: `probs` of all labels, or of each tag; `tags`; `start` and
            `end` of an answer in its text; `words` and `probabilities` of a detector.
    """

    log_prob: float | None
    score: float | None
    alignment: tuple[tuple[int, int], ...]
    times: tuple[tuple[float, float], ...]
    n_best: tuple[Output, ...]
    probability: float | None
    details: Mapping[str, object]

    def __new__(
        cls,
        text: str = "",
        *,
        log_prob: float | None = None,
        score: float | None = None,
        alignment: tuple[tuple[int, int], ...] = (),
        times: tuple[tuple[float, float], ...] = (),
        n_best: tuple[Output, ...] = (),
        probability: float | None = None,
        details: Mapping[str, object] | None = None,
    ) -> Self:
        """Makes an output of a text and of what is known of it."""
        output = super().__new__(cls, text)
        output.log_prob, output.score, output.alignment = log_prob, score, alignment
        output.times, output.n_best, output.probability = times, n_best, probability
        output.details = details or {}
        return output


def read_output(line: str) -> Output:
    """The output that a line of `attn decode --format json` tells of."""
    entry = json.loads(line)
    entry.pop("line")
    entry.pop("columns")
    if "hypotheses" in entry:
        found = [each for each in entry["hypotheses"] if "log_prob" in each]  # none of a blank line
        best = _hypothesis(found[0]) if found else Output()
        best.n_best = tuple(map(_hypothesis, found))
        return best
    if "answer" in entry:
        n_best = [Output(n["text"], probability=n["probability"]) for n in entry.pop("n_best", ())]
        text, probability = entry.pop("answer"), entry.pop("probability", None)
        return Output(text, probability=probability, n_best=tuple(n_best), details=entry)
    numbers = entry.get("probabilities", ())
    text = " ".join("nan" if number is None else f"{number:.4f}" for number in numbers)
    return Output(text, details=entry)


def _hypothesis(entry: Mapping[str, Any]) -> Output:
    links = [link.split("-") for link in str(entry.get("align", "")).split()]
    return Output(
        str(entry["text"]),
        log_prob=float(entry["log_prob"]),
        score=float(entry["score"]),
        alignment=tuple((int(source), int(target)) for source, target in links),
        times=tuple((word["start"], word["end"]) for word in entry.get("words", ())),
    )


@dataclass(frozen=True)
class LineScore:
    """What a model thinks of a given output.

    Attributes:
        log_prob: log P(output | input) in nats; not a number where the line is blank, or can't be
            used.
        tokens: what it is a sum over: the output's tokens and its end; 1 of a label.
    """

    log_prob: float
    tokens: int


NO_SCORE = LineScore(math.nan, 0)


@dataclass(frozen=True, eq=False)
class UnitVectors:
    """The vectors of a line's tokens or words.

    Attributes:
        units: the tokens or words; none of a blank line.
        vectors: a row for each of them. Shape: (units, d_model).
    """

    units: tuple[str, ...]
    vectors: Array


@dataclass(frozen=True, eq=False)
class Attention:
    """What attends to what in a line, by one kind of attention.

    Attributes:
        kind: its name: cross, encoder or decoder of a translator; self, word, sentence, …; or
            attribution (`attribute=True`), which says what each token adds to a probability.
        title: which part of the line it is, where there are several.
        rows: the tokens (or words) that attend.
        columns: those that are attended to.
        layers: the numbers of the layers, from 1.
        heads: those of the heads, from 1; or "mean".
        weights: rows sum to 1, but for an attribution. Shape: (layers, heads, rows, columns).
    """

    kind: str
    title: str
    rows: tuple[str, ...]
    columns: tuple[str, ...]
    layers: tuple[int, ...]
    heads: tuple[str, ...]
    weights: Array


def attention_of(found: AttentionMap, selection: HeadSelection) -> Attention:
    """The chosen layers and heads of a map, of which one kind has equally many in every layer."""
    import numpy as np

    views = list(selection.views(found))
    return Attention(
        kind=found.kind,
        title=found.title,
        rows=found.rows.labels,
        columns=found.columns.labels,
        layers=tuple(view.layer for view in views),
        heads=views[0].heads,
        weights=np.stack([view.weights for view in views]),
    )
