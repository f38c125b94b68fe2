"""A number for a pair of texts (how alike are they?), or for one (how hard is it to read?)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from attn_cli.config.scoring import ScoreOptions
from attn_cli.data.templates import InputRow
from attn_cli.errors import DataError
from attn_cli.metrics.correlation import not_a_number, parse_number
from attn_cli.systems.tasks.base import Answer, EncodedExample
from attn_cli.systems.tasks.classify import TextTask


class Regress(TextTask):
    """A number y for two texts: the least squares of (y - mean) / std over the training examples.

    Answers stay between the least and the greatest number that was trained on. A backbone that
    reads one way (GPT) is given both orders of the pair, and its outputs for them are averaged: up
    to a factor of W the sum of the two representations (Radford et al. 2018, 3.3).
    """

    columns: ClassVar[tuple[str, ...]] = ("text", "text", "number")
    n_texts: ClassVar[int] = 2
    needs: ClassVar[str] = (
        "this model gives a number for two texts (regress); one that gives it for one is "
        "trained, or converted, with --task rate"
    )
    labelled: ClassVar[bool] = False
    metric: str = "pearson"
    measures: ScoreOptions = ScoreOptions(pearson=True, spearman=True)

    @classmethod
    def problem(cls, fields: list[str]) -> str | None:
        """See `Task.problem`."""
        if problem := super().problem(fields):
            return problem
        number = fields[cls.n_texts]
        if parse_number(number) is not None:
            return None
        header = number.strip().isalpha() and number.strip().lower() not in ("nan", "inf")
        return not_a_number(number) + ("; a header? --columns takes its names" if header else "")

    @classmethod
    def outputs(cls, labels: Sequence[str]) -> int:
        """One."""
        return 1

    @classmethod
    def fitted(cls, examples: Iterable[list[str]]) -> dict[str, Any]:
        """Mean, standard deviation and range of the training numbers."""
        numbers = np.array([float(fields[cls.n_texts]) for fields in examples])
        low, high = float(numbers.min()), float(numbers.max())
        if low == high:
            raise DataError(f"all numbers to be learnt are {low:g}: nothing to learn")
        unit = max(abs(low), abs(high))  # sums and squares of 1e308 don't overflow
        scaled = numbers / unit
        spread = float(scaled.std()) * unit
        if not spread:
            raise DataError(f"all numbers to be learnt are {low:g} to {high:g}: too much alike")
        return {"mean": float(scaled.mean()) * unit, "std": spread, "low": low, "high": high}

    def rows(self, texts: list[list[int]]) -> list[InputRow]:
        """See `WindowedTask.rows`."""
        both = self.setting.template.both_orders and len(texts) == 2
        orders = [texts, texts[::-1]] if both else [texts]
        return [row for order in orders for row in super(Regress, self).rows(order)]

    def target(self, fields: list[str]) -> NDArray[np.generic]:
        """The number, in standard deviations from the mean."""
        head = self.setting.head
        number = float(fields[self.n_texts])
        return np.array(number / head.std - head.mean / head.std, np.float32)

    def example_loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Σ (o - y)²."""
        return (outputs.float().squeeze(-1) - targets).square().sum()

    def answer(self, logits: Tensor, example: EncodedExample) -> Answer:
        """The number, in its own unit."""
        head = self.setting.head
        number = head.mean + head.std * float(logits.float().mean())
        return Answer(f"{min(max(number, head.low), head.high):.6g}")


class Rate(Regress):
    """The same for one text."""

    columns: ClassVar[tuple[str, ...]] = ("text", "number")
    n_texts: ClassVar[int] = 1
    needs: ClassVar[str] = ""
