"""What is unusual about lines to score, and makes a figure mean less than it seems to."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass

from attn_cli.config.scoring import DEFAULT_METRICS, ScoreOptions
from attn_cli.metrics.base import Segment
from attn_cli.metrics.scripts import Letters
from attn_cli.wording import plural

_TOKENIZED = 100  # lines with a full stop apart, from which on sacreBLEU warns
_SAMPLE = 1_000  # lines whose script is looked at
# These compare texts in NFC.
_LABELS = {"accuracy", "f1", "multilabel_f1", "mcc"}
_PARTED_BY_SPACES = ("13a", "intl", "none")


@dataclass
class _Seen:
    """How often something was seen, and the first line where it was."""

    count: int = 0
    first: int = 0

    def add(self, segment: Segment) -> None:
        self.count += 1
        self.first = self.first or segment.number

    def lines(self, noun: str) -> str:
        """`2 references (the first: line 7)`."""
        return plural(self.count, noun) + (f" (the first: line {self.first})" if self.first else "")


class Remarks:
    """Looks at lines as they are scored.

    Args:
        options: the metrics, and how they take text.
    """

    def __init__(self, options: ScoreOptions) -> None:
        metrics = set(options.metrics or DEFAULT_METRICS)
        self._tokenizer = options.tokenize if "bleu" in metrics else ""
        self._chrf = bool(metrics & {"chrf", "chrfpp"})
        composing = _LABELS | ({"wer", "cer"} if options.normalize else set())
        self._composes = metrics <= composing
        self._tokenized = 0
        self._empty = _Seen()
        self._forms = _Seen()
        self._letters = Letters()
        self._n_lines = 0

    def add(self, segments: Sequence[Segment]) -> None:
        """Looks at a window of lines."""
        for segment in segments:
            self._n_lines += 1
            self._tokenized += segment.hypothesis.endswith(" .")
            if segment.hypothesis and not any(segment.references):
                self._empty.add(segment)
            if not self._composes and _differ_in_form(segment):
                self._forms.add(segment)
            if self._tokenizer and self._n_lines <= _SAMPLE:
                self._letters.add(segment.references[0])

    def notes(self) -> list[str]:
        """What a user should know of the lines."""
        notes = []
        if self._tokenizer not in ("", "none") and self._tokenized >= _TOKENIZED:
            notes.append(
                f"{plural(self._tokenized, 'line')} end in ' .': tokenized text? BLEU is of text "
                "as people write it: detokenize, or say --tokenize none"
            )
        if self._chrf and self._empty.count:
            notes.append(
                f"{self._empty.lines('empty reference')}: chrF does not count what stands "
                "against one"
            )
        if self._forms.count:
            notes.append(
                f"{self._forms.lines('line')}: equal letters in other Unicode forms (composed and "
                "decomposed) count as different; bring both sides to NFC (WER, CER: --normalize)"
            )
        if self._tokenizer in _PARTED_BY_SPACES and (written := self._letters.unspaced):
            notes.append(
                f"{written.name} has no spaces between words, and BLEU with --tokenize "
                f"{self._tokenizer} says little of it: take --tokenize {written.advised}"
            )
        return notes


def _differ_in_form(segment: Segment) -> bool:
    """Whether words of the hypothesis equal a reference's in Unicode's composed form alone."""
    texts = (segment.hypothesis, *segment.references)
    if all(text.isascii() or unicodedata.is_normalized("NFC", text) for text in texts):
        return False
    found, *golds = (set(text.split()) for text in texts)
    composed, *expected = (
        {unicodedata.normalize("NFC", word) for word in words} for words in (found, *golds)
    )
    pairs = zip(golds, expected, strict=True)
    return any(len(composed & after) > len(found & before) for before, after in pairs)
