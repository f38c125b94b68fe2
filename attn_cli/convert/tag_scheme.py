"""How a foreign tagger's tags name spans: their files have no word for it."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence

from attn_cli.errors import UsageError
from attn_cli.lines.tags import scheme_of_labels
from attn_cli.models.text import HeadConfig

_TAGGER = "tag"


def with_scheme(
    heads: Mapping[str, HeadConfig],
    labels: Sequence[str],
    wanted: str | None,
    say: Callable[[str], None],
) -> dict[str, HeadConfig]:
    """The heads, a tagger's with the scheme of its tags.

    Args:
        heads: of the model, the tagger's under "tag".
        labels: the tags, if it is a tagger.
        wanted: their scheme; None: as they tell.
        say: is told of what they leave open.

    Raises:
        UsageError: a scheme is wanted of what has none.
    """
    told = scheme_of_labels(labels) if _TAGGER in heads else ""
    if wanted and not told:
        raise UsageError(f"--scheme {wanted}: this model has no tags of spans (B-X, I-X)")
    if told == "bio" and not wanted and any(label.startswith("I") for label in labels):
        say(
            "its tags are those of BIO, and of IOB1: taken as BIO; of a tagger that learnt IOB1 "
            "(I- begins spans, as in CoNLL-2003 and WikiNER) say --scheme iob1"
        )
    if told == "iob1" and not wanted:
        say("its tags are IOB1 (I- begins spans); attn decode answers in BIO")
    found = dict(heads)
    if told:
        found[_TAGGER] = dataclasses.replace(heads[_TAGGER], scheme=wanted or told)
    return found


def say_scheme(
    heads: Sequence[HeadConfig], labels: Sequence[str], say: Callable[[str], None]
) -> None:
    """Says of tags in IOB1 that look like BIO that a foreign directory does not tell them apart."""
    if any(head.scheme == "iob1" for head in heads) and scheme_of_labels(labels) != "iob1":
        say("its tags are IOB1, which no file of theirs says: convert it back with --scheme iob1")
