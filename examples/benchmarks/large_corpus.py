"""Writes N different pairs of some 100 bytes: `python large_corpus.py 10000000 > train.tsv`."""

from __future__ import annotations

import itertools
import random
import sys

PHRASES = 20_000
CHUNK = 10_000


def phrases(generator: random.Random, consonants: str, vowels: str) -> list[str]:
    """Runs of three to six words, whose frequencies fall as those of a language do."""
    syllables = [a + b for a in consonants for b in vowels]
    words = [
        "".join(generator.choices(syllables, k=generator.randint(1, 4))) for _ in range(30_000)
    ]
    weights = list(itertools.accumulate(1 / (rank + 5) for rank in range(len(words))))
    return [
        " ".join(generator.choices(words, cum_weights=weights, k=generator.randint(3, 6)))
        for _ in range(PHRASES)
    ]


def main() -> None:
    """Writes the pairs."""
    generator = random.Random(1)
    sources = phrases(generator, "bdfgklmnprst", "aeiou")
    targets = phrases(generator, "bdfghjklmnrstvz", "aeiouäöü")
    size = int(sys.argv[1])
    for first in range(0, size, CHUNK):
        count = min(CHUNK, size - first)
        numbers = generator.choices(range(PHRASES), k=2 * count)
        sys.stdout.write(
            "".join(
                f"{sources[a]} {sources[b]} {n}\t{targets[a]} {targets[b]} {n}\n"
                for n, (a, b) in enumerate(zip(numbers[::2], numbers[1::2], strict=True), first)
            )
        )


if __name__ == "__main__":
    main()
