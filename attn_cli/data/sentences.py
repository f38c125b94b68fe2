"""Texts as sentences: those that a file names one by one, or those that a rule finds."""

from __future__ import annotations

import re

from attn_cli.lines.columns import SENTENCE_MARK

SENTENCE_END = re.compile(r"(?<=[.!?…。！？;:])\s+")


def sentences_of(text: str) -> list[str]:
    """The sentences of a text that are not blank.

    They are what its JSON line had as a list; else what ends with a line, or with one of
    `. ! ? … ; :` and white space behind it.
    """
    if SENTENCE_MARK in text:
        parts = text.split(SENTENCE_MARK)
    else:
        parts = [part for line in text.split("\n") for part in SENTENCE_END.split(line)]
    return [sentence for part in parts if (sentence := part.strip())]
