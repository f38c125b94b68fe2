"""Words and their tokens: the one rule of taggers, `embed --words`, `attend --words` and `--align`.

A word is what white space surrounds, and its tokens are those that it has in a text of words with
single spaces between them. A token that is white space alone belongs to the word behind it.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from attn_cli.tokenizers.tokenizer import Tokenizer


def encode_words(tokenizer: Tokenizer, texts: Sequence[Sequence[str]]) -> list[list[list[int]]]:
    """The tokens of each word of texts that are given as words.

    A word of which nothing is left, such as a control character alone, is the unknown token, so
    that every word has a token (or none, where the tokenizer has no such token).
    """
    # Byte-level vocabularies spell the space before a word into its first token; others mark the
    # beginning or the inside of a word by themselves. A probe tells them apart.
    together, alone, spaced = tokenizer.encode(["a a", "a", " a"])
    lead = " " if together == [*alone, *spaced] and alone != spaced else ""
    unknown = [tokenizer.unk_id] if tokenizer.unk_id >= 0 else []
    spelled = [
        lead + word if number else word for words in texts for number, word in enumerate(words)
    ]
    cut = iter(tokenizer.encode(spelled))
    return [[next(cut) or unknown for _ in words] for words in texts]


def words_of_tokens(tokenizer: Tokenizer, ids: Sequence[int]) -> list[int]:
    """The number of the word of a text that each of its tokens belongs to."""
    if not ids:
        return []
    text = tokenizer.decode([ids])[0]
    numbers = [number for number, word in enumerate(text.split()) for _ in word]
    firsts = np.flatnonzero(tokenizer.word_starts(np.array(ids, np.int64))).tolist()
    groups = [ids[first:end] for first, end in zip(firsts, [*firsts[1:], len(ids)], strict=True)]
    owners: list[int] = []
    at = 0  # characters of words so far: decoded apart, tokens may lack a space but no character
    for group, part in zip(groups, tokenizer.decode(groups), strict=True):
        number = numbers[min(at, len(numbers) - 1)] if numbers else 0
        owners += [number] * len(group)
        at += sum(map(len, part.split()))
    return owners


def word_groups(
    tokenizer: Tokenizer, ids: Sequence[int], texts: Sequence[str] = ()
) -> list[tuple[str, int]]:
    """The words that tokens are, in order, each with the number of its tokens.

    A special token is a word of its own. Tokens between them are looked for in the texts that they
    may have been cut from: words that a tokenizer parts at punctuation can't be told from the
    tokens alone.

    Args:
        tokenizer: that of the tokens.
        ids: the tokens.
        texts: whole texts, of which the tokens may be windows.
    """
    special = tokenizer.reserved_ids - {tokenizer.unk_id}
    cuts = []
    for words, cut in zip(
        split := [text.split() for text in texts], encode_words(tokenizer, split), strict=True
    ):
        owners = [number for number, tokens in enumerate(cut) for _ in tokens]
        cuts.append((words, owners, _packed([index for tokens in cut for index in tokens])))
    groups: list[tuple[str, int]] = []
    first = 0
    while first < len(ids):
        end = first
        while end < len(ids) and ids[end] not in special:
            end += 1
        run = ids[first:end]
        if run:
            names, owners = _looked_up(run, cuts) or (
                tokenizer.decode([run])[0].split(),
                words_of_tokens(tokenizer, run),
            )
            begins = [0, *(np.flatnonzero(np.diff(owners)) + 1).tolist(), len(run)]
            for begin, stop in zip(begins[:-1], begins[1:], strict=True):
                pieces = "".join(tokenizer.pieces(run[begin:stop]))
                groups.append((names[owners[begin]] if names else pieces, stop - begin))
        if end < len(ids):
            groups.append((tokenizer.pieces([ids[end]])[0], 1))
        first = end + 1
    return groups


def _looked_up(
    run: Sequence[int], cuts: Sequence[tuple[list[str], list[int], bytes]]
) -> tuple[list[str], list[int]] | None:
    """The words of the text that a run of tokens is cut from, and the number of each token's."""
    needle = _packed(run)
    for words, owners, packed in cuts:
        at = packed.find(needle)
        while at >= 0 and at % 4:
            at = packed.find(needle, at + 1)
        if at >= 0:
            return words, owners[at // 4 : at // 4 + len(run)]
    return None


def _packed(ids: Sequence[int]) -> bytes:
    return np.array(ids, np.int32).tobytes()
