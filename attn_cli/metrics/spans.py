"""Span F1 of tag sequences: strict BIO and BIOES as seqeval, IOB1, or lenient as conlleval."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence

from attn_cli.config.scoring import MetricOptions
from attn_cli.lines.tags import is_tag, parse_tag
from attn_cli.metrics.base import Segment
from attn_cli.metrics.classification import NO_TAG, ClassCounts, ClassMetric, Item, share, tag_pair
from attn_cli.metrics.tally import Tally
from attn_cli.wording import plural


def bio_spans(tags: Sequence[str]) -> set[Item]:
    """Spans (type, start, end) under strict BIO (IOB2): B-X, then any I-X.

    An I-X that continues no X is outside. `end` is exclusive.
    """
    spans: set[Item] = set()
    open_type, start = None, 0
    for i, tag in enumerate([*tags, "O"]):
        prefix, kind = parse_tag(tag)
        if prefix == "I" and kind == open_type:
            continue
        if open_type is not None:
            spans.add((open_type, start, i))
        open_type, start = (kind, i) if prefix == "B" else (None, i)
    return spans


def bioes_spans(tags: Sequence[str]) -> set[Item]:
    """Spans (type, start, end) under strict BIOES (and BILOU): S-X, or B-X, any I-X, E-X.

    What begins and never ends is no span.
    """
    spans: set[Item] = set()
    open_type, start = None, 0
    for i, tag in enumerate(tags):
        prefix, kind = parse_tag(tag)
        if prefix in ("I", "E") and kind == open_type:
            if prefix == "E":
                spans.add((kind, start, i + 1))
                open_type = None
            continue
        open_type, start = (kind, i) if prefix == "B" else (None, i)
        if prefix == "S":
            spans.add((kind, i, i + 1))
    return spans


def lenient_spans(tags: Sequence[str]) -> set[Item]:
    """Spans (type, start, end) as conlleval and seqeval's default find them.

    Any tag outside a span of its type begins one: an I-X after O counts as B-X.
    """
    spans: set[Item] = set()
    open_type, start = None, 0
    for i, tag in enumerate([*tags, "O"]):
        prefix, kind = parse_tag(tag)
        continues = kind == open_type and prefix in ("I", "E")
        if open_type is not None and not continues:
            spans.add((open_type, start, i))
            open_type = None
        if prefix != "O" and not continues:
            open_type, start = kind, i
        if prefix in ("E", "S") and open_type is not None:
            spans.add((open_type, start, i + 1))
            open_type = None
    return spans


def iob1_spans(tags: Sequence[str]) -> set[Item]:
    """Spans (type, start, end) of IOB1 (Ramshaw & Marcus 1995): I-X, then any I-X.

    A B-X parts neighbours of one type. Well-formed BIO has the same spans here, so that answers
    may be in either scheme.
    """
    return lenient_spans(tags)


def scheme_of(sentences: Iterable[Sequence[str]]) -> str:
    """The scheme of gold tags: bioes where a tag ends a span, else iob1 or bio.

    It is IOB1 where spans begin with I-X, and B-X stands nowhere but behind a span of X. Where both
    schemes are broken it is BIO.
    """
    opens, needless = False, False  # by I-X; a B-X that parts no neighbours
    for tags in sentences:
        previous = ""
        for tag in tags:
            prefix, kind = parse_tag(tag)
            if prefix in ("E", "S"):
                return "bioes"
            opens = opens or (prefix == "I" and kind != previous)
            needless = needless or (prefix == "B" and kind != previous)
            previous = kind
    return "iob1" if opens and not needless else "bio"


def iob1_to_bio(tags: Sequence[str]) -> list[str]:
    """Tags of IOB1 as BIO: I-X that begins a span becomes B-X. Well-formed BIO stays as it is."""
    converted, previous = [], ""
    for tag in tags:
        prefix, kind = parse_tag(tag)
        converted.append(f"B{tag[1:]}" if prefix == "I" and kind != previous else tag)
        previous = kind
    return converted


_READERS: dict[str, Callable[[Sequence[str]], set[Item]]] = {
    "bio": bio_spans,
    "bioes": bioes_spans,
    "iob1": iob1_spans,
    "lenient": lenient_spans,
}


class SpanF1(ClassMetric):
    """Micro F1, precision and recall of typed spans; a span counts if type and borders agree."""

    names = ("SPAN_F1", "SPAN_PRECISION", "SPAN_RECALL")

    def __init__(self, options: MetricOptions) -> None:
        super().__init__(options)
        self._scheme = options.scheme
        self._strange: Counter[str] = Counter()  # tags of hypotheses that are none

    @property
    def sees_all_first(self) -> bool:
        """Whether the gold tags have to say first of which scheme they are."""
        return self._options.scheme == "auto"

    def start(self, references: Sequence[tuple[str, ...]]) -> None:
        """Finds out of which scheme the gold tags are, where that is asked for."""
        if self._options.scheme == "auto":
            self._scheme = scheme_of(line.split() for (line,) in references)

    def items(self, hypothesis: str, reference: str) -> tuple[set[Item], set[Item]]:
        """The spans of either side."""
        predicted, gold = tag_pair(hypothesis, reference)
        self._strange.update(tag for tag in predicted if not is_tag(tag) and tag != NO_TAG)
        return _READERS[self._scheme](predicted), _READERS[self._scheme](gold)

    def problem(self, segment: Segment) -> str | None:
        """The reason that a line can't be scored: another number of tags, or strange gold ones.

        A strange tag in a hypothesis is a wrong answer, not a wrong line: it counts as outside.
        """
        cause = super().problem(segment)
        strange = [tag for tag in segment.references[0].split() if not is_tag(tag)]
        if cause or not strange:
            return cause
        return (
            f"the gold tag {strange[0]!r} is neither O nor of the form B-TYPE (B, I, E or S); of "
            "tags without spans take --accuracy --f1 --tags"
        )

    def notes(self, tally: Tally) -> list[str]:
        """That the tags are IOB1, if so, and the tags of hypotheses that are none of spans."""
        told = self._scheme == "iob1" and self._options.scheme == "auto"
        notes = ["gold tags are IOB1 (I- begins spans), read so; --scheme names another"] * told
        if not self._strange:
            return notes
        shown = ", ".join(repr(tag) for tag, _ in self._strange.most_common(3))
        counted = plural(self._strange.total(), "tag")
        strange = f"{counted} of hypotheses neither O nor of the form B-TYPE ({shown}): no spans"
        return [*notes, strange]

    def values(self, counts: ClassCounts) -> list[float]:
        """F1, precision, recall of all spans together."""
        correct = counts.correct.sum()
        return [
            counts.micro_f1(),
            share(correct, counts.predicted.sum()),
            share(correct, counts.gold.sum()),
        ]

    def recipe(self) -> str:
        """The part of the signature that says what a span is."""
        return f"item:span|scheme:{self._scheme}"
