"""Words that are given as such, cut into tokens one by one."""

from __future__ import annotations

from collections.abc import Sequence

from attn_cli.tokenizers.tokenizer import Tokenizer


def encode_words(tokenizer: Tokenizer, words: Sequence[str]) -> list[list[int]]:
    """The tokens of each word, as they are in the text of these words with spaces between them.

    A word of which nothing is left, such as a control character alone, is the unknown token, so
    that every word has a token (or none, where the tokenizer has no such token).
    """
    # Byte-level vocabularies spell the space before a word into its first token; others mark the
    # beginning or the inside of a word by themselves. A probe tells them apart.
    together, alone, spaced = tokenizer.encode(["a a", "a", " a"])
    lead = " " if together == [*alone, *spaced] and alone != spaced else ""
    texts = [lead + word if number else word for number, word in enumerate(words)]
    unknown = [tokenizer.unk_id] if tokenizer.unk_id >= 0 else []
    return [ids or unknown for ids in tokenizer.encode(texts)]


def words_of_tokens(tokenizer: Tokenizer, ids: Sequence[int]) -> list[int]:
    """For each token the number of the white-space separated word that it belongs to."""
    starts = tokenizer.decode([ids[: end + 1] for end in range(len(ids))])
    return [max(0, len(start.split()) - 1) for start in starts]
