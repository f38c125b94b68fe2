"""The probability that a classifier gives a label."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Iterator, Mapping

from attn_cli.api.outputs import NO_SCORE, LineScore, Output
from attn_cli.config import nearest
from attn_cli.errors import UsageError
from attn_cli.lines.items import Item, ItemReader
from attn_cli.lines.unusable import BadLines


def label_scores(
    outputs: Callable[[ItemReader], Iterator[Output]],
    reader: ItemReader,
    bad: BadLines,
    path: str,
) -> Iterator[LineScore]:
    """Scores the label that stands behind what a classifier reads, item by item.

    Args:
        outputs: what the classifier says of items.
        reader: items with a label each.
        bad: is told of labels that the model does not have.
        path: the model's directory.

    Raises:
        UsageError: while iterating: an item without a label, or no classifier of labels.
    """
    labels: deque[str] = deque()
    items = ItemReader(_without_labels(reader, labels))
    for number, output in enumerate(outputs(items), start=1):
        label = labels.popleft()
        if not (output or output.details):  # of a blank line, or one that can't be used
            yield NO_SCORE
            continue
        probs = output.details.get("probs")
        if not isinstance(probs, Mapping):
            raise UsageError(f"{path}: gives no probability of a given answer, as labels have")
        if label in probs:
            yield LineScore(math.log(probs[label]) if probs[label] else -math.inf, 1)
        else:
            cause = f"the model has no label {label[:80]!r}{nearest(label, probs)}"
            bad.add(reader.name, number, cause)
            yield NO_SCORE
    bad.finish(bad.outcome)


def _without_labels(reader: ItemReader, labels: deque[str]) -> Iterator[Item]:
    """What a classifier reads of items; their last texts are put into `labels`."""
    for item in reader.items:
        if isinstance(item, str) or len(item) < 2:
            raise UsageError("pairs: what the model reads and, last, a label are needed")
        labels.append(item[-1])
        yield tuple(item[:-1])
