"""Word and character error rate, counted by jiwer's library on lines that attn reads itself."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from typing import TYPE_CHECKING

from attn_cli.metrics.base import CountMetric, case_signature

if TYPE_CHECKING:
    from jiwer import CharacterOutput, WordOutput

_APOSTROPHES = str.maketrans("\u2019\u02bc\uff07", "'''")
_PUNCTUATION = re.compile(r"[^\w\s]|_")
_KINDS = ("substitute", "delete", "insert")


class WordErrorRate(CountMetric):
    """WER = (substitutions + deletions + insertions) / reference words, as jiwer counts them.

    Of several references the one with the lowest error rate counts for its line. A corpus whose
    references are all empty has no rate: jiwer's convention, the number of insertions, is kept.
    """

    names = ("WER",)
    lower_is_better = True
    unit = "words"

    def counts(
        self, hypotheses: Sequence[str], references: Sequence[tuple[str, ...]]
    ) -> list[list[float]]:
        """Substitutions, deletions, insertions and reference length of each line."""
        owners = [i for i, lines in enumerate(references) for _ in lines]
        aligned = self._align(
            [self._prepared(line) for lines in references for line in lines],
            [self._prepared(hypotheses[i]) for i in owners],
        )
        candidates: list[list[list[float]]] = [[] for _ in hypotheses]
        for owner, chunks, units in zip(
            owners, aligned.alignments, aligned.references, strict=True
        ):
            edits = dict.fromkeys(_KINDS, 0.0)
            for chunk in chunks:
                if chunk.type in edits:
                    in_reference = chunk.ref_end_idx - chunk.ref_start_idx
                    in_hypothesis = chunk.hyp_end_idx - chunk.hyp_start_idx
                    edits[chunk.type] += max(in_reference, in_hypothesis)
            candidates[owner].append([*edits.values(), float(len(units))])
        return [min(each, key=lambda row: self.values(row)[0]) for each in candidates]

    def values(self, totals: Sequence[float]) -> list[float]:
        """Errors per unit of the reference."""
        return [float(sum(totals[:3]) / max(totals[3], 1.0))]

    def details(self, totals: Sequence[float]) -> dict[str, object]:
        """The errors by kind, and what they are divided by."""
        substitutions, deletions, insertions, length = (int(total) for total in totals)
        return {
            "substitutions": substitutions,
            "deletions": deletions,
            "insertions": insertions,
            f"reference_{self.unit}": length,
        }

    def recipe(self) -> str:
        """The part of the signature that says how text was compared, and by which jiwer."""
        from importlib.metadata import version

        case = case_signature(lowercase=self._options.lowercase or self._options.normalize)
        rules = "|norm:nfc|punct:no|space:one" if self._options.normalize else ""
        return f"{case}{rules}|tok:{self.unit}|jiwer:{version('jiwer')}"

    def _prepared(self, text: str) -> str:
        if self._options.normalize:
            return normalized(text)
        return text.lower() if self._options.lowercase else text

    def _align(self, references: list[str], hypotheses: list[str]) -> WordOutput | CharacterOutput:
        from jiwer import process_words

        return process_words(references, hypotheses)


class CharacterErrorRate(WordErrorRate):
    """CER: the same over characters; spaces inside a line count, those around it don't."""

    names = ("CER",)
    unit = "characters"

    def _align(self, references: list[str], hypotheses: list[str]) -> CharacterOutput:
        from jiwer import process_characters

        return process_characters(references, hypotheses)


def normalized(text: str) -> str:
    """A transcript as `--normalize` compares it: case, punctuation and white space aside.

    Unicode NFC, lower case. A punctuation mark (Unicode P) is a space, but an apostrophe between
    two letters (`don't`, whichever way it is written) and a full stop, comma or colon between two
    digits (`3.5`, `1,000`, `10:30`) stay. Any white space is one space, none at the ends.
    """
    text = unicodedata.normalize("NFC", text).lower().translate(_APOSTROPHES)
    return " ".join(_PUNCTUATION.sub(_mark, text).split())


def _mark(match: re.Match[str]) -> str:
    """What a character that is no letter, digit or white space becomes."""
    mark, text, at = match[0], match.string, match.start()
    if not unicodedata.category(mark).startswith("P"):
        return mark
    before, after = text[at - 1 : at], text[at + 1 : at + 2]
    inside = (mark == "'" and before.isalpha() and after.isalpha()) or (
        mark in ".,:" and before.isdigit() and after.isdigit()
    )
    return mark if inside else " "
