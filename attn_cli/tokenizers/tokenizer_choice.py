"""Which kind of tokenizer, and how many pieces, suit a text."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

from attn_cli.config.tokenizing import TokenizerOptions
from attn_cli.wording import plural

_LONGEST_MEAN = 15  # characters a word; what is longer is writing without spaces between words


def choose_tokenizer(
    options: TokenizerOptions, segments: Sequence[str], usual_size: int
) -> tuple[TokenizerOptions, str | None]:
    """The options with type and vocabulary decided, and why they are what they are.

    Args:
        options: what the user decided stays.
        segments: the text.
        usual_size: of the vocabulary where nothing speaks against it.

    Returns:
        The decided options, and the reason; None where nothing was chosen.
    """
    decided = replace(options, vocab_size=options.vocab_size or usual_size)
    if options.type != "auto":
        return decided, None
    words = Counter(word for segment in segments for word in segment.split())
    n_distinct = plural(len(words), "distinct word")
    spaced = sum(map(len, words)) <= _LONGEST_MEAN * len(words)
    if spaced and len(words) < decided.n_pieces:
        # Unigram starts from pieces that it finds in many words, and keeps few where there are
        # few words: 611 where merging finds 2,031 in a text of a small grammar.
        few = f"{n_distinct}, fewer than a vocabulary of {decided.n_pieces:,}"
        return replace(decided, type="bpe"), f"the text has {few}"
    many = n_distinct if spaced else "few spaces between words"
    return replace(decided, type="unigram"), f"the text has {many}"
