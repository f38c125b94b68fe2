"""Hiding tokens for masked language models, the same way for every tokenizer.

Which tokens are hidden follows from a key of each token and a seed, and from nothing else: neither
batches nor epochs matter unless the seed says so.

Shapes: B batch, T length, n tokens that can be hidden, W words.
"""

from __future__ import annotations

from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from attn_cli.config.pretraining import MaskingOptions
from attn_cli.data.permutation import mixed
from attn_cli.tokenizers.tokenizer import Tokenizer

_AS_MASK, _AS_RANDOM = 0.8, 0.1  # the other tenth stays as it is (Devlin et al. 2019, 3.1)
_SPAN_P, _LONGEST_SPAN = 0.2, 10  # words (Joshi et al. 2020, SpanBERT, 3.1)
_CHOICE, _FORM, _TOKEN, REPLACEMENT = range(4)  # streams of random numbers

Ids = NDArray[np.int64]
Flags = NDArray[np.bool_]


class Masker:
    """Replaces a share of the tokens: 80 % by the mask, 10 % by a random token, 10 % by themselves.

    Units are tokens, whole words, or spans of whole words. Each is chosen with the same
    probability, independently of others; a row in which none was gets one.

    Args:
        tokenizer: whose mask is written; its reserved ids are neither hidden nor put in.
        options: the share and the units.
    """

    def __init__(self, tokenizer: Tokenizer, options: MaskingOptions) -> None:
        self._mask_id = tokenizer.mask_id
        self._options = options
        self.maskable = np.ones(tokenizer.vocab_size, bool)
        self.maskable[sorted(tokenizer.reserved_ids)] = False
        self._replacements = np.flatnonzero(self.maskable)

    def __call__(
        self, ids: Ids, starts: Flags, keys: NDArray[np.uint64], seed: int
    ) -> tuple[Ids, Flags]:
        """Hides tokens of padded rows, each of which begins and ends with a special token.

        Args:
            ids: Shape: (B, T).
            starts: which tokens begin a word. Shape: (B, T).
            keys: what sets each token apart from all others. Shape: (B, T).
            seed: the same keys and seed hide the same tokens.

        Returns:
            What the model reads, and which positions it predicts. Shape: (B, T) each.
        """
        candidates = np.flatnonzero(self.maskable[ids])
        row = candidates // ids.shape[1]
        flat_keys = keys.ravel()[candidates]
        unit = self._units(candidates, starts)
        first = np.flatnonzero(np.diff(unit, prepend=-1))  # the first token of each unit
        chance = uniform(flat_keys[first], seed, _CHOICE)
        chosen = self._chosen_units(chance, row[first])[unit]
        positions, position_keys = candidates[chosen], flat_keys[chosen]
        form = uniform(position_keys, seed, _FORM)
        if self._options.span and len(positions):  # a span is replaced as one (SpanBERT, 3.1)
            begins = np.diff(positions, prepend=-2) > 1
            form = form[np.maximum.accumulate(np.where(begins, np.arange(len(positions)), 0))]
        read = ids.copy()
        flat = read.reshape(-1)
        flat[positions[form < _AS_MASK]] = self._mask_id
        as_random = (form >= _AS_MASK) & (form < _AS_MASK + _AS_RANDOM)
        draw = uniform(position_keys[as_random], seed, _TOKEN) * len(self._replacements)
        flat[positions[as_random]] = self._replacements[draw.astype(np.int64)]
        masked = np.zeros(ids.shape, bool)
        masked.reshape(-1)[positions] = True
        return read, masked

    def _units(self, candidates: Ids, starts: Flags) -> Ids:
        """The number of the unit that each candidate belongs to. Shape: (n,) -> (n,)."""
        if not (self._options.whole_word or self._options.span):
            return np.arange(len(candidates))
        begins = starts.ravel()[candidates]
        begins[1:] |= np.diff(candidates) > 1  # a special token parts words
        begins[:1] = True
        return np.cumsum(begins) - 1

    def _chosen_units(self, chance: NDArray[np.float64], row: Ids) -> Flags:
        """The mask of hidden units, by a random number and the row of each. Shape: (W,)."""
        options = self._options
        chosen = self._in_spans(chance, row) if options.span else chance < options.mask
        # The least of the random numbers is the one that a higher share would have chosen first.
        firsts = np.flatnonzero(np.diff(row, prepend=-1))
        if len(firsts):
            counts = np.add.reduceat(chosen, firsts)
            least = np.minimum.reduceat(chance, firsts)
            if (counts == 0).any():
                bare = np.repeat(counts == 0, np.diff(firsts, append=len(row)))
                chosen |= bare & (chance == np.repeat(least, np.diff(firsts, append=len(row))))
        return chosen

    def _in_spans(self, chance: NDArray[np.float64], row: Ids) -> Flags:
        """The mask of words in a span, which may begin at every word, also before a row's first."""
        inner, edge = self._span_tails
        is_first = np.diff(row, prepend=-1) != 0
        reach = (chance[:, None] < inner).sum(1)
        reach[is_first] = (chance[is_first, None] < edge).sum(1)
        ends = np.searchsorted(row, row, side="right")
        here = np.arange(len(row))
        return np.maximum.accumulate(np.minimum(here + reach, ends)) > here

    @cached_property
    def _span_tails(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """P(the words from here on that a span hides >= k), k = 1 …, inside a row and at its start.

        Lengths are geometric, cut off at 10. With S_j = P(length > j), a word is hidden unless no
        span of more than j words begins j words before it, for every j: 1 - Π (1 - q S_j), where q
        is the probability that a span begins at a word. q is found so that this is the share asked
        for; the first word of a row gets what spans from before it would have covered.
        """
        lengths = (1 - _SPAN_P) ** np.arange(_LONGEST_SPAN)
        longer: NDArray[np.float64] = np.cumsum(lengths[::-1])[::-1] / lengths.sum()
        low, high = 0.0, 1.0
        for _ in range(60):
            middle = (low + high) / 2
            enough = 1 - np.prod(1 - middle * longer) >= self._options.mask
            low, high = (low, middle) if enough else (middle, high)
        tails = high * longer
        edge = 1.0 - np.cumprod((1.0 - tails)[::-1])[::-1]
        return tails, np.asarray(edge, np.float64)


def any_number(lengths: Ids, width: int, rng: np.random.Generator) -> Flags:
    """Hides k of the N tokens of each row, k ~ Uniform{1 … N}, all choices being equally likely.

    How a conditional masked language model learns from outputs at every stage of their making
    (Ghazvininejad et al. 2019, section 3.1).

    Args:
        lengths: N; nothing is hidden where it is 0. Shape: (B,).
        width: T, at least the largest N.
        rng: what is drawn from: the same number of draws whatever comes out.

    Returns:
        Which tokens are hidden. Shape: (B, T).
    """
    chance = rng.random((len(lengths), width))
    chance[np.arange(width) >= lengths[:, None]] = 2.0  # padding ranks behind all tokens
    counts = np.ceil((1.0 - rng.random(len(lengths))) * lengths)  # of numbers in (0, 1]
    return chance.argsort(1).argsort(1) < counts[:, None]


def uniform(keys: NDArray[np.uint64], seed: int, kind: int) -> NDArray[np.float64]:
    """A number in [0, 1) that follows from a key, a seed and a kind. Shape: any -> the same."""
    salt = np.random.SeedSequence((seed, kind)).generate_state(2, np.uint64)
    bits = mixed(mixed(keys + salt[0]) ^ salt[1])
    return (bits >> np.uint64(11)).astype(np.float64) * 2.0**-53
