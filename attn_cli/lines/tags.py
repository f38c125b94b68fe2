"""Tags of words that name spans, as columns of CoNLL files hold them. Standard library only."""

from __future__ import annotations

import re
from collections.abc import Collection

# BILOU's last and unit are BIOES's end and single.
_PREFIXES = {"B": "B", "I": "I", "E": "E", "S": "S", "L": "E", "U": "S"}
_TAG = re.compile(r"([BIESLU])(?:-(.+))?")


def parse_tag(tag: str) -> tuple[str, str]:
    """Prefix and type of a tag: `B-PER` is B and PER, a bare `B` has the type `_`; else O."""
    match = _TAG.fullmatch(tag)
    return (_PREFIXES[match[1]], match[2] or "_") if match else ("O", "")


def is_tag(tag: str) -> bool:
    """Whether it is O, or of the form B-TYPE."""
    return tag == "O" or _TAG.fullmatch(tag) is not None


def scheme_of_labels(labels: Collection[str]) -> str:
    """The scheme that a set of tags tells: bio, bioes, iob1, or "" if they are not of spans.

    It is IOB1 where a type has I-X and no B-X (plain IO is read alike). A set that has both of each
    type is BIO or IOB1, which it does not tell: "bio".
    """
    parsed = {label: parse_tag(label) for label in labels}
    if any(prefix == "O" and label != "O" for label, (prefix, _) in parsed.items()):
        return ""
    kinds = {p: {kind for prefix, kind in parsed.values() if prefix == p} for p in "BIES"}
    if kinds["E"] | kinds["S"]:
        return "bioes"
    if kinds["I"] - kinds["B"]:
        return "iob1"
    return "bio" if kinds["B"] else ""
