"""Which kind of tokenizer, and how many pieces, suit a text."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

from attn_cli.config.tokenizing import CONTROL_SYMBOLS, TokenizerOptions
from attn_cli.tokenizers.tokenizer import ID_LIMIT
from attn_cli.wording import plural

_LONGEST_MEAN = 15  # characters a word; what is longer is writing without spaces between words
_OFTEN = 10  # times that a word stands in a text which teaches something of it
_PIECES_A_WORD = 2  # for each word that stands there often
_ALL_OFTEN = 0.95  # of a text whose words are few, and all of them frequent


def choose_tokenizer(
    options: TokenizerOptions, segments: Sequence[str], usual_size: int, *, predicted: bool
) -> tuple[TokenizerOptions, str]:
    """The options with type and vocabulary decided, and why they are what they are.

    Args:
        options: what the user decided stays.
        segments: the text.
        usual_size: of the vocabulary where nothing speaks against it.
        predicted: whether a model will predict the pieces, which are its classes then.

    Returns:
        The decided options, and the reasons; "" where nothing was chosen by the text.
    """
    words = Counter(word for segment in segments for word in segment.split())
    spaced = sum(map(len, words)) <= _LONGEST_MEAN * len(words)
    decided = replace(options, vocab_size=options.vocab_size or usual_size)
    reasons = []
    if options.type == "auto":
        kind, reason = _type(len(words), decided.n_pieces, spaced=spaced)
        decided = replace(decided, type=kind)
        reasons.append(reason)
    if predicted and not options.vocab_size and spaced and decided.type not in ("char", "word"):
        often, size = fitting_size(words)
        size += len(options.own_symbols) + 256 * options.with_bytes
        if size < usual_size:
            decided = replace(decided, vocab_size=size)
            reasons.append(
                f"a piece has to be seen often: {_PIECES_A_WORD} for each of the "
                f"{plural(often, 'word')} that stand there {_OFTEN} times or more"
            )
    return decided, "; ".join(reasons)


def _type(n_words: int, size: int, *, spaced: bool) -> tuple[str, str]:
    """The kind that suits a text of so many distinct words, and why."""
    if not spaced:
        return "unigram", "the text has few spaces between words"
    if n_words < size:
        # Unigram starts from pieces that it finds in many words, and keeps few where there are
        # few words: 611 where merging finds 2,031 in a text of a small grammar.
        few = f"{plural(n_words, 'distinct word')}, fewer than a vocabulary of {size:,}"
        return "bpe", f"the text has {few}"
    return "unigram", f"the text has {plural(n_words, 'distinct word')}"


def fitting_size(words: Counter[str]) -> tuple[int, int]:
    """How many words are frequent, and the largest vocabulary whose pieces mostly are.

    A piece that is rarely seen is a class that is hardly learnt: Gowda & May 2020 find the best
    vocabulary to be the largest one whose pieces occur often, but for a few of them. They count in
    vocabularies that were made; here words are counted, before any is. 29,000 pairs of Multi30k
    allow 9,500 pieces, more than its translators have; the first 5,000 of them 2,500, where
    Sennrich & Zhang 2019 take 2,000 for as many.

    Args:
        words: how often each stands in the text.

    Returns:
        The count and the size, which has no bound where all words are frequent.
    """
    often = [count for count in words.values() if count >= _OFTEN]
    if sum(often) >= _ALL_OFTEN * words.total():
        return len(often), ID_LIMIT
    first = {word[0] for word in words}
    inner = {character for word in words for character in word[1:]}
    return len(often), len(CONTROL_SYMBOLS) + len(first) + len(inner) + _PIECES_A_WORD * len(often)
