"""Exact match and F1 of answers, as the official SQuAD v2.0 script gives them (and v1.1's)."""

from __future__ import annotations

import io
import json
import re
import string
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from attn_cli.errors import DataError, UsageError
from attn_cli.lines.reading import copy_stream, display_name
from attn_cli.metrics.base import CountMetric, Segment
from attn_cli.metrics.segments import SegmentFiles
from attn_cli.wording import plural

_ARTICLES = re.compile(r"\b(a|an|the)\b")
_PUNCTUATION = str.maketrans("", "", string.punctuation)


class Squad(CountMetric):
    """Exact match and word F1 (Rajpurkar et al. 2016, 2018); the best gold answer counts.

    Case, ASCII punctuation, English articles and the amount of white space make no difference. A
    question without an answer has the gold answer "": only an empty hypothesis is right.
    """

    names = ("SQUAD_EM", "SQUAD_F1")
    decimals = 4

    def counts(
        self, hypotheses: Sequence[str], references: Sequence[tuple[str, ...]]
    ) -> list[list[float]]:
        """Exact match, F1 and 1 for each line, in the first three places or the last.

        The first are for questions that have an answer.
        """
        rows = []
        for hypothesis, lines in zip(hypotheses, references, strict=True):
            golds = [words for line in lines if (words := answer_words(line))] or [[]]
            predicted = answer_words(hypothesis)
            exact = float(any(predicted == words for words in golds))
            row = [exact, max(word_f1(predicted, words) for words in golds), 1.0]
            rows.append(row + [0.0] * 3 if any(lines) else [0.0] * 3 + row)
        return rows

    def values(self, totals: Sequence[float]) -> list[float]:
        """Exact match and F1 in percent."""
        n_lines = totals[2] + totals[5]
        return [float(100.0 * (totals[i] + totals[3 + i]) / n_lines) for i in range(2)]

    def details(self, totals: Sequence[float]) -> dict[str, object]:
        """The official script's split into questions with and without an answer."""
        counted: dict[str, object] = {"total": int(totals[2] + totals[5])}
        for name, (exact, f1, total) in (("HasAns", totals[:3]), ("NoAns", totals[3:])):
            if total:
                counted[f"{name}_exact"] = float(100.0 * exact / total)
                counted[f"{name}_f1"] = float(100.0 * f1 / total)
                counted[f"{name}_total"] = int(total)
        return counted

    def recipe(self) -> str:
        """The part of the signature that says whose rules these are."""
        return "script:squad-2.0"


def answer_words(text: str) -> list[str]:
    """The words of an answer as the official script compares them."""
    return _ARTICLES.sub(" ", text.lower().translate(_PUNCTUATION)).split()


def word_f1(predicted: Sequence[str], gold: Sequence[str]) -> float:
    """F1 of two bags of words; of an empty one, whether both are empty."""
    if not predicted or not gold:
        return float(predicted == gold)
    same = (Counter(predicted) & Counter(gold)).total()
    return 2.0 * same / (len(predicted) + len(gold))


def is_squad(files: SegmentFiles) -> bool:
    """Whether the reference is SQuAD's JSON, which its name must say: `.json` or `.json.gz`."""
    return any(path.removesuffix(".gz").endswith(".json") for path in files.references)


def read_squad(
    files: SegmentFiles, metrics: Sequence[str], warn: Callable[[str], None]
) -> list[Segment]:
    """The questions of a SQuAD file with the answers of the official predictions JSON.

    Args:
        files: a predictions object (question id -> answer), one SQuAD file, maybe a baseline's
            predictions.
        metrics: the metrics asked for, of which only SQuAD's own know such files.
        warn: told how many questions have no prediction; they count as empty.

    Raises:
        UsageError: other metrics, several references, or columns.
        DataError: a file can't be read, or is not what it should be.
    """
    if list(metrics) != ["squad"] or len(files.references) != 1 or files.columns:
        raise UsageError("--squad with JSON takes predictions.json and one --ref, nothing beside")
    if [files.hypothesis, *files.references, files.baseline].count("-") > 1:
        raise UsageError("standard input can be only one of hypothesis, reference and baseline")
    questions = _questions(files.references[0])
    predictions = _predictions(files.hypothesis, questions, warn)
    others = {} if files.baseline is None else _predictions(files.baseline, questions, warn)
    return [
        Segment(predictions.get(key, ""), golds or ("",), others.get(key, ""))
        for key, golds in questions.items()
    ]


def _questions(path: str) -> dict[str, tuple[str, ...]]:
    """Question id -> its gold answers, of a SQuAD file."""
    try:
        return {
            str(question["id"]): tuple(str(answer["text"]) for answer in question["answers"])
            for article in _load(path)["data"]
            for paragraph in article["paragraphs"]
            for question in paragraph["qas"]
        }
    except (KeyError, TypeError) as error:
        raise DataError(
            f"{path}: not SQuAD's JSON, which has data, paragraphs, qas, id and answers "
            f"({error!r} is what failed)"
        ) from error


def _predictions(
    path: str, questions: Mapping[str, object], warn: Callable[[str], None]
) -> dict[str, str]:
    """Question id -> answer, of the official predictions JSON."""
    answers, name = _load(path), display_name(path)
    for key, answer in answers.items():
        if not isinstance(answer, str):
            raise DataError(f'{name}: the answer to question {key} is not a text; "" is none')
    missing = sum(key not in answers for key in questions)
    if missing:
        asked = plural(len(questions), "question")
        warn(f"{name}: {missing:,} of {asked} without an answer, counted as empty")
    strange = sum(key not in questions for key in answers)
    if strange:
        warn(f"{name}: {plural(strange, 'answer')} to questions that are not in the reference")
    return answers


def _load(path: str) -> dict[str, Any]:
    """A JSON object from a file, a `.gz` file, or standard input."""
    raw, name = io.BytesIO(), display_name(path)
    copy_stream(path, raw)
    try:
        value = json.loads(raw.getvalue().decode("utf-8-sig"))
    except (ValueError, RecursionError) as error:
        raise DataError(f"{name}: not JSON: {error}") from error
    if not isinstance(value, dict):
        raise DataError(f"{name}: a JSON object is needed")
    return value
