from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

import torch

from attn_cli.nn.beam_state import BEAMS, LONGEST, BeamState, sentences
from attn_cli.nn.cache import KeyValue, KeyValueCache


class Pair(NamedTuple):
    left: torch.Tensor
    right: torch.Tensor


@dataclass(frozen=True)
class Everything(BeamState):
    memory: tuple[Pair, ...] = field(metadata=sentences(padded=1))
    number: torch.Tensor = field(metadata=sentences())
    rows: torch.Tensor = field(metadata=BEAMS)
    cache: KeyValueCache = field(metadata=BEAMS)
    longest: int = field(metadata=LONGEST)


def state(numbers: list[int], length: int) -> Everything:
    """Sentence n has n everywhere, `length` times in its memory, and its key in the cache is n."""
    number = torch.tensor(numbers)
    keys = number.float().view(-1, 1, 1, 1)
    cache = KeyValueCache.empty(len(numbers), 1, number.device).advance()
    cache.append(0, KeyValue(keys, -keys))
    repeated = number[:, None].repeat(1, length)
    pair = Pair(repeated, -repeated)
    return Everything(1, (pair, pair), number, number * 10, cache, length)


def keys(found: Everything) -> list[float]:
    """What each beam sees of its cache before the last column, its own."""
    cache = found.cache.advance()
    last = torch.zeros(cache.rows, 1, cache.shared, 1)
    seen = cache.append(0, KeyValue(last, last)).key[:, 0, :, 0]
    return [
        row[own][-2].item() for row, beams in zip(seen, cache.visible, strict=True) for own in beams
    ]


def test_beams_are_repeated_and_share_what_is_of_their_sentence():
    found = state([3, 5], 2).expand(2)
    assert found.beam_size == 2
    assert found.rows.tolist() == [30, 30, 50, 50]
    assert keys(found) == [3, 3, 5, 5]
    assert found.number.tolist() == [3, 5]
    assert found.memory[1].right.tolist() == [[-3, -3], [-5, -5]]


def test_beams_are_reordered_and_sentences_kept():
    found = state([3, 5, 7], 2).expand(2)
    found.rows.copy_(torch.arange(6))
    moved = found.reorder(torch.tensor([[1, 1], [0, 1], [1, 0]]))
    assert moved.rows.tolist() == [1, 1, 2, 3, 5, 4]
    kept = moved.keep(torch.tensor([2, 0]))
    assert kept.rows.tolist() == [5, 4, 1, 1]
    assert keys(kept) == [7, 7, 3, 3]
    assert kept.number.tolist() == [7, 3]
    assert isinstance(kept.memory[0], Pair)
    assert kept.memory[0].left.tolist() == [[7, 7], [3, 3]]
    assert kept.longest == 2


def test_merged_memories_are_padded_to_one_length():
    found = state([3], 1).expand(2).merge(state([5, 7], 3).expand(2))
    assert found.number.tolist() == [3, 5, 7]
    assert found.rows.tolist() == [30, 30, 50, 50, 70, 70]
    assert keys(found) == [3, 3, 5, 5, 7, 7]
    assert found.memory[1].left.tolist() == [[3, 0, 0], [5, 5, 5], [7, 7, 7]]
    assert (found.longest, found.beam_size) == (3, 2)
