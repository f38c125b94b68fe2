from __future__ import annotations

import itertools
import threading
from collections import Counter

import numpy as np
import pytest

from attn_cli.data import batching
from attn_cli.data.batching import Position, RowReader, RowSource, cut_by_budget, stream
from attn_cli.data.permutation import Permutation

SIZE = 97


class Reader(RowReader):
    """Of rows whose batches are lists of their numbers."""

    def __init__(self) -> None:
        self.read = []

    def encode(self, numbers, seed):
        self.read += numbers.tolist()
        return [(n, seed) for n in numbers.tolist()]

    def cut(self, items, seed):
        groups = cut_by_budget(lengths_of([n for n, _ in items]), 40, seed)
        return [[items[i] for i in group] for group in groups]


class Together:
    """`Peers` in threads."""

    def __init__(self, rank, world, barrier, made):
        self.rank, self.world, self._barrier, self._made = rank, world, barrier, made

    def gathered(self, make):
        self._made[self.rank] = make()
        self._barrier.wait(10)
        found = list(self._made)
        self._barrier.wait(10)
        return found


def lengths_of(numbers):
    return [(1 + n % 13, 1 + n * 7 % 11) for n in numbers]


@pytest.fixture
def source(monkeypatch):
    """Pools of at most 20 rows or 300 bytes, of which 3 are read at a time."""
    monkeypatch.setattr(batching, "POOL_ROWS", 20)
    monkeypatch.setattr(batching, "POOL_BYTES", 300)
    monkeypatch.setattr(batching, "CHUNK_ROWS", 3)
    return rows()


def rows():
    return RowSource(SIZE, lambda n: 10 + n % 11, Reader())


def taken(source, seed, position, count, peers=None):
    batches = stream(source, seed, position, peers)
    found = list(itertools.islice(batches, count))
    batches.close()
    return found


def test_every_row_comes_once_an_epoch_in_another_order_each(source):
    found = taken(source, 1, Position(), 400)
    orders = []
    for epoch in range(3):
        order = [n for item in found if epoch < item.epochs <= epoch + 1 for n, _ in item.batch]
        assert sorted(order) == list(range(SIZE))
        orders.append(order)
    assert orders[0] != orders[1] != orders[2]
    ends = [item for item in found if item.epochs == int(item.epochs)]
    assert [item.after for item in ends[:3]] == [Position(1), Position(2), Position(3)]
    assert all(a.epochs < b.epochs for a, b in itertools.pairwise(found))


def test_from_any_position_the_stream_continues_as_if_never_stopped(source):
    whole = taken(source, 5, Position(), 60)
    for stop in range(50):
        position = whole[stop].after
        assert taken(source, 5, position, 3) == whole[stop + 1 : stop + 4]


def test_the_seed_decides_the_order(source):
    one, same, other = (taken(source, seed, Position(), 30) for seed in (1, 1, 2))
    assert one == same
    assert [item.batch for item in one] != [item.batch for item in other]


@pytest.mark.parametrize("world", [2, 3])
def test_each_process_reads_its_part_and_all_have_the_batches_of_one(source, world):
    wanted = taken(source, 5, Position(), 90)
    sources = [rows() for _ in range(world)]
    barrier, made = threading.Barrier(world), [None] * world
    found = [[] for _ in range(world)]

    def read(rank):
        peers = Together(rank, world, barrier, made)
        found[rank] += taken(sources[rank], 5, Position(), 50, peers)
        found[rank] += taken(sources[rank], 5, found[rank][-1].after, 40, peers)

    threads = [threading.Thread(target=read, args=(rank,)) for rank in range(world)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [wanted] * world
    counts = [Counter(each.reader.read) for each in sources]
    assert sum(counts, Counter()).keys() == set(range(SIZE))
    most = max(count.total() for count in counts)
    assert most < 1.3 * sum(count.total() for count in counts) / world


def test_an_error_of_the_preparing_thread_is_raised_to_the_reader():
    class Broken(Reader):
        def encode(self, numbers, seed):
            raise ValueError("a tokenizer broke")

    with pytest.raises(ValueError, match="a tokenizer broke"):
        next(stream(RowSource(3, lambda n: n, Broken()), 1, Position()))


@pytest.mark.parametrize("budget", [1, 13, 40, 200, 10_000])
def test_groups_hold_to_the_budget_and_lose_nothing(budget):
    lengths = lengths_of(range(300))
    groups = cut_by_budget(lengths, budget, seed=3)
    assert sorted(item for group in groups for item in group) == list(range(300))
    for group in groups:
        padded = len(group) * max(max(lengths[item]) for item in group)
        assert padded <= budget or len(group) == 1
    assert groups == cut_by_budget(lengths, budget, seed=3)
    if 1 < len(groups) < 300:
        assert groups != cut_by_budget(lengths, budget, seed=4)


def test_groups_pad_little():
    lengths = lengths_of(range(2000))
    groups = cut_by_budget(lengths, 400, seed=0)
    padded = sum(len(group) * max(lengths[i][1] for i in group) for group in groups)
    assert padded < 1.35 * sum(target for _, target in lengths)
    assert cut_by_budget([], 10, seed=0) == []


@pytest.mark.parametrize("size", [1, 2, 3, 4, 5, 15, 16, 17, 63, 64, 65, 257, 1000, 4097, 70_001])
def test_a_permutation_is_a_bijection_that_the_seed_changes(size):
    values = Permutation(size, (1, 2))[np.arange(size)]
    assert np.array_equal(np.sort(values), np.arange(size))
    assert np.array_equal(Permutation(size, (1, 2))[np.arange(size)], values)
    if size > 16:
        assert not np.array_equal(Permutation(size, (1, 3))[np.arange(size)], values)
        assert (values == np.arange(size)).mean() < 0.5


def test_a_permutation_of_billions_needs_no_memory():
    size = 3_000_000_007
    order = Permutation(size, (9,))
    values = order[np.array([0, 1, size - 1])]
    assert len(set(values.tolist())) == 3
    assert ((values >= 0) & (values < size)).all()


def test_little_is_padded_of_pairs_whose_lengths_differ():
    """Lengths as of sentences and their translations: no side may be padded by a seventh."""
    rng = np.random.default_rng(5)
    src = rng.poisson(15, 20_000) + 1
    tgt = np.maximum(1, (src * rng.normal(1.05, 0.2, len(src))).round().astype(np.int64))
    lengths = np.stack((src, tgt), 1)
    groups = cut_by_budget(lengths, 4096, seed=0)
    padded = sum(len(group) * lengths[group].max(0) for group in groups)
    assert (lengths.sum(0) / padded > 0.86).all()
    assert lengths.sum() / padded.sum() > 0.92
