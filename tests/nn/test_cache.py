from __future__ import annotations

import pytest
import torch

from attn_cli.nn.cache import KeyValue, KeyValueCache

HEADS, WIDTH, LAYERS = 2, 3, 2
CPU = torch.device("cpu")


class Histories:
    """The keys that each beam of each sentence ought to see, as lists, beside the cache."""

    def __init__(self, sentences: int, seed: int = 0) -> None:
        self.random = torch.Generator().manual_seed(seed)
        self.cache = KeyValueCache.empty(sentences, LAYERS, CPU)
        self.seen: list[list[list[torch.Tensor]]] = [[[]] for _ in range(sentences)]

    def step(self) -> None:
        cache = self.cache = self.cache.advance()
        size = (LAYERS, cache.rows, HEADS, cache.shared, WIDTH)
        keys = torch.randn(size, generator=self.random)
        for layer, own in enumerate(keys):
            found = cache.layer(layer).append(KeyValue(own, -own))
            assert torch.equal(found.value, -found.key)
        beams = keys.transpose(2, 3).flatten(3).movedim(0, 2)  # (R, G, LAYERS, HEADS * WIDTH)
        beams = beams.reshape(len(self.seen), cache.beams, -1)
        for sentence, new in zip(self.seen, beams, strict=True):
            for beam, key in zip(sentence, new, strict=True):
                beam.append(key)

    def expand(self, beams: int) -> None:
        self.cache = self.cache.expand(beams)
        self.seen = [[list(sentence[0]) for _ in range(beams)] for sentence in self.seen]

    def reorder(self) -> None:
        size = (len(self.seen), self.cache.beams)
        beams = torch.randint(self.cache.beams, size, generator=self.random)
        self.cache = self.cache.reorder(beams)
        self.seen = [
            [list(old[at]) for at in new]
            for old, new in zip(self.seen, beams.tolist(), strict=True)
        ]

    def keep(self, sentences: list[int]) -> None:
        self.cache = self.cache.keep(torch.tensor(sentences, dtype=torch.long))
        self.seen = [self.seen[i] for i in sentences]

    def merge(self, other: Histories) -> None:
        self.cache = self.cache.merge(other.cache)
        self.seen = self.seen + other.seen

    def check(self) -> None:
        """Every beam sees its own history, in order, and nothing else."""
        self.step()
        cache = self.cache
        buffers = torch.stack([b[0, :, :, : cache.length] for b in cache.buffers])
        columns = buffers.permute(1, 3, 0, 2, 4).flatten(2)  # (R, C, LAYERS * HEADS * WIDTH)
        every = torch.ones(cache.rows, cache.shared, cache.length, dtype=torch.bool)
        visible = every if cache.mask is None else cache.mask[:, 0]
        found = [row[own] for row, beams in zip(columns, visible, strict=True) for own in beams]
        wanted = [torch.stack(beam) for sentence in self.seen for beam in sentence]
        assert len(found) == len(wanted)
        assert all(torch.equal(a, b) for a, b in zip(found, wanted, strict=True))


def test_every_step_sees_all_steps_so_far_beyond_the_first_block():
    histories = Histories(2)
    for _ in range(36):
        histories.step()
    histories.check()
    assert histories.cache.mask is None  # nothing is masked where nothing must be
    assert histories.cache.length == histories.cache.steps == 37


@pytest.mark.parametrize("beams", [2, 5, 20])  # 20: more than share a row
def test_beams_that_go_on_from_one_another(beams):
    histories = Histories(3, seed=beams)
    histories.step()
    histories.expand(beams)
    for _ in range(40):
        histories.step()
        histories.reorder()
    histories.check()
    # Columns that nobody sees are dropped: a history has 42 steps.
    assert histories.cache.length < 42 + 10 * beams


@pytest.mark.parametrize("beams", [1, 3, 20])
def test_sentences_leave_and_others_enter_with_histories_of_other_lengths(beams):
    histories, random = Histories(4, seed=beams), torch.Generator().manual_seed(1)
    histories.step()
    histories.expand(beams)
    for turn in range(12):
        for _ in range(int(torch.randint(1, 7, (1,), generator=random))):
            histories.step()
            histories.reorder()
        size = len(histories.seen)
        stay = torch.randperm(size, generator=random)[: size - 1 - turn % 2]
        histories.keep(stay.tolist())
        entering = Histories(2, seed=100 * turn)
        if turn % 3:
            entering.step()
        entering.expand(beams)
        histories.merge(entering)
        histories.check()
    histories.keep([len(histories.seen) - 1])
    for _ in range(30):
        histories.step()
        histories.reorder()
    histories.check()
    assert histories.cache.length < 33 + 10 * min(beams, 16)  # what only others saw is dropped


def test_an_empty_cache_merged_into_a_filled_one_keeps_the_order():
    filled, empty = Histories(1), Histories(2)
    for _ in range(3):
        filled.step()
    empty.merge(filled)
    empty.check()


def test_no_sentence_may_be_left():
    histories = Histories(3)
    histories.step()
    histories.keep([])
    assert histories.cache.rows == 0


def test_a_beginning_read_at_once_is_seen_where_it_is_no_padding():
    cache = KeyValueCache.empty(2, 1, CPU)
    valid = torch.tensor([[False, True, True], [True, True, True]])
    cache = cache.read(valid, 3)
    keys = torch.randn(2, HEADS, 3, WIDTH)
    cache.append(0, KeyValue(keys, -keys))
    cache = cache.expand(2).advance()
    last = torch.randn(2, HEADS, 2, WIDTH)
    found = cache.append(0, KeyValue(last, -last)).key
    assert torch.equal(found, torch.cat((keys, last), 2))
    assert cache.mask[0, 0].tolist() == [
        [False, True, True, True, False],
        [False, True, True, False, True],
    ]
    assert cache.mask[1, 0].tolist() == [[True] * 4 + [False], [True] * 3 + [False, True]]


def test_copies_of_a_beam_that_share_nothing_move_no_keys():
    histories = Histories(2)
    histories.step()
    histories.expand(4)
    histories.step()
    before = histories.cache.buffers[0]
    histories.reorder()
    assert histories.cache.buffers[0] is before
    histories.check()
