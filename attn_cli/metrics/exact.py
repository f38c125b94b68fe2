"""Exact match: the share of hypotheses that equal one of their references."""

from __future__ import annotations

from collections.abc import Sequence

from attn_cli.metrics.base import CountMetric, case_signature


class ExactMatch(CountMetric):
    """Counts hypotheses that equal a reference, white space at both ends aside."""

    names = ("EXACT_MATCH",)

    def counts(
        self, hypotheses: Sequence[str], references: Sequence[tuple[str, ...]]
    ) -> list[list[float]]:
        """Matches (0 or 1) and 1 for each line."""
        return [
            [float(self._plain(hypothesis) in map(self._plain, lines)), 1.0]
            for hypothesis, lines in zip(hypotheses, references, strict=True)
        ]

    def values(self, totals: Sequence[float]) -> list[float]:
        """Matches per line."""
        return [float(totals[0] / totals[1])]

    def details(self, totals: Sequence[float]) -> dict[str, object]:
        """The number of lines that matched."""
        return {"matches": int(totals[0])}

    def recipe(self) -> str:
        """The part of the signature that says how text was compared."""
        return case_signature(lowercase=self._options.lowercase)

    def _plain(self, text: str) -> str:
        return text.strip().lower() if self._options.lowercase else text.strip()
