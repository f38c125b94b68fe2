"""Accuracy, F1 and MCC: figures of what was predicted, what is gold, and what is both, by class."""

from __future__ import annotations

import unicodedata
from abc import abstractmethod
from array import array
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from attn_cli.metrics.base import OwnMetric, Segment, several_references
from attn_cli.metrics.tally import Tally, WeighedTally
from attn_cli.wording import plural

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

# Something predicted or gold: its class, and where in the line it is.
Item = tuple[str, *tuple[int, ...]]

NO_TAG = "\N{REPLACEMENT CHARACTER}"  # stands for the tags of an unanswered sentence: no class


@dataclass(frozen=True)
class ClassCounts:
    """The counts of each class: rightly predicted, predicted, and gold. Shape: (classes,)."""

    correct: NDArray[np.float64]
    predicted: NDArray[np.float64]
    gold: NDArray[np.float64]

    def f1(self) -> NDArray[np.float64]:
        """F1 = 2 correct / (predicted + gold) of each class; 0 where it never occurs."""
        return _ratio(2.0 * self.correct, self.predicted + self.gold)

    def macro_f1(self) -> float:
        """The mean F1 of the classes that were predicted or are gold."""
        seen = self.predicted + self.gold > 0
        return float(self.f1()[seen].mean()) if seen.any() else 0.0

    def micro_f1(self) -> float:
        """The F1 of all items together."""
        return share(2.0 * self.correct.sum(), self.predicted.sum() + self.gold.sum())

    def table(self, classes: Sequence[str]) -> dict[str, dict[str, float]]:
        """Precision, recall, F1 and support of each class that occurs, in alphabetical order."""
        columns = zip(
            classes,
            _ratio(self.correct, self.predicted).tolist(),
            _ratio(self.correct, self.gold).tolist(),
            self.f1().tolist(),
            self.gold.tolist(),
            self.predicted.tolist(),
            strict=True,
        )
        return {
            name: {"precision": precision, "recall": recall, "f1": f1, "support": int(support)}
            for name, precision, recall, f1, support, predicted in sorted(columns)
            if support or predicted
        }


class ClassTally(WeighedTally):
    """The classes of each line; sparse, so that a thousand classes cost no memory.

    Args:
        start: looks at the gold lines of a window before any is counted.
        items: hypothesis, reference -> what the line predicts, and what is gold.
        values: the counts of each class -> the figures. Shape: -> (names,).
        table: whether the first figure's details have the figures of each class.
        names: how many figures there are.
        systems: see `Tally`.
        keep: see `Tally`.
    """

    def __init__(
        self,
        start: Callable[[Sequence[tuple[str, ...]]], None],
        items: Callable[[str, str], tuple[set[Item], set[Item]]],
        values: Callable[[ClassCounts], list[float]],
        *,
        table: bool,
        names: int,
        systems: int,
        keep: bool,
    ) -> None:
        super().__init__(systems=systems, keep=keep)
        self._start = start
        self._items = items
        self._values = values
        self._has_table = table
        self._names = names
        self._ids: dict[str, int] = {}
        kinds = range(3)  # of items: rightly predicted, predicted, gold
        self._sums: list[list[Counter[int]]] = [[Counter() for _ in kinds] for _ in range(systems)]
        # The line and the class of every item.
        self._cells = [[(array("i"), array("i")) for _ in kinds] for _ in range(systems)]

    def count(
        self, hypotheses: Sequence[str], references: Sequence[tuple[str, ...]], system: int
    ) -> None:
        """Counts a window of one system's lines."""
        self._start(references)
        ids = self._ids
        lines = zip(hypotheses, references, strict=True)
        for number, (hypothesis, gold) in enumerate(lines, self.n_lines):
            predicted, expected = self._items(hypothesis, gold[0])
            for kind, items in enumerate((predicted & expected, predicted, expected)):
                classes = [ids.setdefault(item[0], len(ids)) for item in items]
                self._sums[system][kind].update(classes)
                if self.keep:
                    rows, columns = self._cells[system][kind]
                    rows.extend([number] * len(items))
                    columns.extend(classes)

    def figures(self, system: int = 0) -> Sequence[float]:
        """The figures of all lines of a system. Shape: (names,)."""
        return self._values(self._total(system))

    def details(self) -> Sequence[Mapping[str, object]]:
        """The counts of all items, and before the first figure those of each class."""
        counts = self._total(0)
        totals: dict[str, object] = {
            "correct": int(counts.correct.sum()),
            "predicted": int(counts.predicted.sum()),
            "gold": int(counts.gold.sum()),
        }
        table = {"classes": counts.table(list(self._ids))} if self._has_table else {}
        return [totals | table, *([totals] * (self._names - 1))]

    def unheard_of(self) -> tuple[list[str], list[str]]:
        """The classes that the system predicts and that are nowhere gold, often predicted first.

        And beside them those that are gold.
        """
        _, predicted, gold = self._sums[0]
        names = list(self._ids)
        strange = [names[i] for i, _ in predicted.most_common() if i not in gold]
        return strange, [names[i] for i in gold]

    def weighed(self, weights: NDArray[np.float64]) -> Sequence[float]:
        """The figures of a corpus of weighted lines. Shape: (systems * lines,) -> (names,)."""
        import numpy as np

        size = len(self._ids)
        return self._values(
            ClassCounts(
                *(
                    np.bincount(columns, weights=weights[rows], minlength=size).astype(np.float64)
                    for rows, columns in self._items_of_all
                )
            )
        )

    @cached_property
    def _items_of_all(self) -> list[tuple[NDArray[np.intp], NDArray[np.intp]]]:
        """Line (a baseline's behind the system's) and class of every item, when all are counted."""
        import numpy as np

        found = []
        for cells in zip(*self._cells, strict=True):
            pairs = [tuple(np.asarray(side, dtype=np.intp) for side in cell) for cell in cells]
            rows = [own + system * self.n_lines for system, (own, _) in enumerate(pairs)]
            found.append((np.concatenate(rows), np.concatenate([classes for _, classes in pairs])))
        return found

    def _total(self, system: int) -> ClassCounts:
        import numpy as np

        sums = [[counted[i] for i in range(len(self._ids))] for counted in self._sums[system]]
        return ClassCounts(*np.asarray(sums, dtype=np.float64).reshape(3, -1))


class ClassMetric(OwnMetric):
    """A metric of items that have a class: labels, tags, sets of labels, spans."""

    has_table = True

    @abstractmethod
    def items(self, hypothesis: str, reference: str) -> tuple[set[Item], set[Item]]:
        """The items that one line predicts, and the gold ones."""

    @abstractmethod
    def values(self, counts: ClassCounts) -> list[float]:
        """The figures, one for each name, of counts added over a corpus."""

    def start(self, references: Sequence[tuple[str, ...]]) -> None:
        """Looks at the gold lines of a window before any is counted."""

    def problem(self, segment: Segment) -> str | None:
        """The reason that a line can't be scored: several gold answers, or not as many tags."""
        if len(segment.references) != 1:
            return several_references(segment)
        if not self._options.by_word:
            return None
        n_gold = len(segment.references[0].split())
        for tags in (segment.hypothesis.split(), segment.baseline.split()):
            if tags and len(tags) != n_gold:
                return f"{len(tags)} tags, but {n_gold} gold ones"
        return None

    def tally(self, *, systems: int = 1, keep: bool = False) -> Tally:
        """An empty tally of lines; see `Metric.tally`."""
        return ClassTally(
            self.start,
            self.items,
            self.values,
            table=self.has_table,
            names=len(self.names),
            systems=systems,
            keep=keep,
        )

    def notes(self, tally: Tally) -> list[str]:
        """The classes that only hypotheses have, if there are some."""
        assert isinstance(tally, ClassTally)
        strange, golds = tally.unheard_of()
        names = [name for name in strange if name not in ("", NO_TAG)]
        if not names:
            return []
        meant = {_spelling_aside(gold): gold for gold in golds}
        likely = ((name, meant.get(_spelling_aside(name))) for name in names[:5])
        shown = ", ".join(
            f"{name!r} ({gold!r} meant?)" if gold else repr(name) for name, gold in likely
        )
        shown += ", ..." if len(names) > 5 else ""
        return [f"{plural(len(names), 'label')} of hypotheses in no reference: {shown}"]

    def recipe(self) -> str:
        """The part of the signature that says what an item is."""
        return f"item:{'tag' if self._options.by_word else 'line'}"


class LabelMetric(ClassMetric):
    """A metric of one label a line, or of one tag a word."""

    def items(self, hypothesis: str, reference: str) -> tuple[set[Item], set[Item]]:
        """Each label with its position; white space around it aside."""
        if not self._options.by_word:
            return {(label(hypothesis), 0)}, {(label(reference), 0)}
        predicted, gold = tag_pair(hypothesis, reference)
        return {(t, i) for i, t in enumerate(predicted)}, {(t, i) for i, t in enumerate(gold)}


class Accuracy(LabelMetric):
    """The share of labels that equal the gold one."""

    names = ("ACCURACY",)
    has_table = False

    def values(self, counts: ClassCounts) -> list[float]:
        """Correct labels per label."""
        return [share(counts.correct.sum(), counts.gold.sum())]


class F1(LabelMetric):
    """Macro F1, the mean over the classes; micro F1, which equals accuracy for single labels.

    As scikit-learn's `f1_score`: a class counts if it is gold or predicted somewhere.
    """

    names = ("MACRO_F1", "MICRO_F1")

    def values(self, counts: ClassCounts) -> list[float]:
        """Macro and micro F1."""
        return [counts.macro_f1(), counts.micro_f1()]


class MultilabelF1(ClassMetric):
    """Macro and micro F1 over sets of labels: a line is labels joined by commas, or none."""

    names = ("MACRO_F1", "MICRO_F1")

    def items(self, hypothesis: str, reference: str) -> tuple[set[Item], set[Item]]:
        """The labels of either side, in any order, each once."""
        return _label_set(hypothesis), _label_set(reference)

    def problem(self, segment: Segment) -> str | None:
        """The reason that a line can't be scored: several gold sets."""
        n_references = len(segment.references)
        if n_references == 1:
            return None
        return f"{n_references} references where one set of labels is needed"

    def values(self, counts: ClassCounts) -> list[float]:
        """Macro and micro F1."""
        return [counts.macro_f1(), counts.micro_f1()]

    def recipe(self) -> str:
        """The part of the signature that says what an item is."""
        return "item:set"


class Mcc(LabelMetric):
    """Matthews correlation coefficient of two or more classes, R_K of Gorodkin (2004), eq. 8.

    (c s - p·t) / sqrt((s² - p·p) (s² - t·t)) of c correct among s labels, p predicted and t gold
    by class; 0 where one side has a single class.
    """

    names = ("MCC",)
    has_table = False

    def values(self, counts: ClassCounts) -> list[float]:
        """The coefficient."""
        import numpy as np

        correct, size = counts.correct.sum(), counts.gold.sum()
        predicted, gold = counts.predicted, counts.gold
        spread = (size**2 - predicted @ predicted) * (size**2 - gold @ gold)
        return [share(correct * size - predicted @ gold, np.sqrt(spread))]


def tag_pair(hypothesis: str, reference: str) -> tuple[list[str], list[str]]:
    """The tags of a sentence; those of an unanswered one are all wrong."""
    gold = reference.split()
    return hypothesis.split() or [NO_TAG] * len(gold), gold


def _spelling_aside(name: str) -> str | float:
    """What labels have in common that differ in case alone, or as `1` and `1.0` do."""
    try:
        return float(name)
    except ValueError:
        return name.casefold()


def _label_set(text: str) -> set[Item]:
    return {(label(part), 0) for part in text.split(",") if part.strip()}


def label(text: str) -> str:
    """A label as it is compared: white space around it aside, in Unicode's composed form."""
    return unicodedata.normalize("NFC", text.strip())


def share(part: float, whole: float) -> float:
    """The share of a part in a whole; 0 of nothing."""
    return float(part / whole) if whole > 0 else 0.0


def _ratio(part: NDArray[np.float64], whole: NDArray[np.float64]) -> NDArray[np.float64]:
    import numpy as np

    return np.divide(part, whole, out=np.zeros(len(part)), where=whole > 0)
