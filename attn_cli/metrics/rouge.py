"""ROUGE-1, ROUGE-2, ROUGE-L and ROUGE-Lsum (Lin 2004) by rouge-score, with words of any script.

rouge-score's own tokenizer keeps `a-z0-9` alone, so that a Hindi text equals nothing, not even
itself. Ours cuts Latin text in the same places, but for letters with diacritics, which it keeps.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Sequence
from functools import cached_property

from attn_cli.config.scoring import MetricOptions
from attn_cli.metrics.base import CountMetric
from attn_cli.metrics.tally import Tally

# Scripts written without spaces whose characters are words or syllables stand one by one.
_CJK = ("CJK UNIFIED", "CJK COMPATIBILITY", "HIRAGANA", "KATAKANA")


class _Cuts(dict[int, str]):
    """A table for `str.translate`: what separates words becomes a space."""

    def __init__(self, replace: Callable[[str], str]) -> None:
        super().__init__()
        self._replace = replace

    def __missing__(self, code: int) -> str:
        self[code] = self._replace(chr(code))
        return self[code]


def _any_script(char: str) -> str:
    """Letters, marks and digits of every script are parts of words."""
    if unicodedata.category(char) not in ("Lu", "Ll", "Lt", "Lm", "Lo", "Mn", "Mc", "Me", "Nd"):
        return " "
    return f" {char} " if unicodedata.name(char, "").startswith(_CJK) else char


def _latin(char: str) -> str:
    """In Latin text alpha and sigma are symbols, and a ligature cuts, as in rouge-score."""
    if char.isascii():
        return char if char.isalnum() else " "
    if unicodedata.category(char).startswith("M"):
        return char
    ligature = unicodedata.decomposition(char).startswith("<")
    return char if unicodedata.name(char, "").startswith("LATIN") and not ligature else " "


class UnicodeTokenizer:
    """Words of any script, for `rouge_score.rouge_scorer.RougeScorer`.

    Args:
        stem: the stemmer of ASCII words longer than three letters, rouge-score's rule.
    """

    def __init__(self, stem: Callable[[str], str] | None) -> None:
        self._stem = stem
        self._tables = {True: _Cuts(_latin), False: _Cuts(_any_script)}

    def tokenize(self, text: str) -> list[str]:
        """Lower-cases, cuts and stems one text."""
        text = text.lower()
        ascii_letters = sum(char.isascii() for char in text if char.isalpha())
        other_letters = sum(char.isalpha() for char in text) - ascii_letters
        words = text.translate(self._tables[ascii_letters > other_letters]).split()
        if self._stem is None:
            return words
        return [self._stem(word) if len(word) > 3 and word.isascii() else word for word in words]


class Rouge(CountMetric):
    """Mean F1 over the lines; of several references the best counts, for each type on its own.

    Attributes:
        types: rouge-score's names of the types.
    """

    names: tuple[str, ...] = ("ROUGE-1", "ROUGE-2", "ROUGE-L")
    types: tuple[str, ...] = ("rouge1", "rouge2", "rougeL")
    is_slow = True

    def prepare(self) -> None:
        """See `Metric.prepare`."""
        self._scorer  # noqa: B018 - built once it is asked for

    def counts(
        self, hypotheses: Sequence[str], references: Sequence[tuple[str, ...]]
    ) -> list[list[float]]:
        """The F1 of each type, and 1, for each line."""
        rows = []
        for hypothesis, lines in zip(hypotheses, references, strict=True):
            golds = [self._sentences(line) for line in lines]
            scores = self._scorer.score_multi(golds, self._sentences(hypothesis))
            rows.append([*(float(scores[kind].fmeasure) for kind in self.types), 1.0])
        return rows

    def values(self, totals: Sequence[float]) -> list[float]:
        """Mean F1 of each type."""
        return [float(total / totals[-1]) for total in totals[:-1]]

    def details(self, totals: Sequence[float]) -> dict[str, object]:
        """Nothing beyond the figure: F1 does not split into counts."""
        return {}

    def recipe(self) -> str:
        """The part of the signature that says how words were made, and by which rouge-score."""
        from importlib.metadata import version

        stem = "porter" if self._options.stem else "no"
        mark = f"|mark:{self._options.sentence_mark}" if self._options.rouge_lsum else ""
        return f"case:lc|tok:unicode|stem:{stem}{mark}|rouge-score:{version('rouge-score')}"

    def _sentences(self, text: str) -> str:
        """A text with a sentence a line, where sentences matter; their mark is no word then."""
        if not self._options.rouge_lsum:
            return text
        return text.replace(self._options.sentence_mark, "\n")

    @cached_property
    def _scorer(self):  # type: ignore[no-untyped-def] # noqa: ANN202 - the library has no types
        from rouge_score.rouge_scorer import RougeScorer

        stem = None
        if self._options.stem:
            from nltk.stem.porter import PorterStemmer

            stem = PorterStemmer().stem
        return RougeScorer(self.types, tokenizer=UnicodeTokenizer(stem))


class RougeLsum(Rouge):
    """ROUGE-L of summaries of several sentences (Lin 2004, section 3.2).

    A sentence of the reference is matched by the union of its longest common subsequences with the
    sentences of the hypothesis. A sentence ends at `--sentence-mark`, and at a line end, which a
    text from JSON may hold.
    """

    names = ("ROUGE-Lsum",)
    types = ("rougeLsum",)

    def __init__(self, options: MetricOptions) -> None:
        super().__init__(options)
        self._marked = False

    def notes(self, tally: Tally) -> list[str]:
        """That no line is more than one sentence, if so: then ROUGE-Lsum is ROUGE-L."""
        if self._marked:
            return []
        mark = self._options.sentence_mark
        return [f"no {mark} in any line: each text is one sentence for ROUGE-Lsum; --sentence-mark"]

    def _sentences(self, text: str) -> str:
        lines = super()._sentences(text)
        self._marked = self._marked or "\n" in lines
        return lines
