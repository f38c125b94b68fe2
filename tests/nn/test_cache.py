from __future__ import annotations

import torch

from attn_cli.nn.cache import KeyValue, KeyValueCache

HEADS, WIDTH, LAYERS = 2, 3, 2
CPU = torch.device("cpu")


def history(rows: int, steps: int, seed: int) -> torch.Tensor:
    """Keys of every layer and step. Shape: (steps, LAYERS, rows, HEADS, 1, WIDTH)."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(steps, LAYERS, rows, HEADS, 1, WIDTH, generator=generator)


def fed(cache: KeyValueCache, keys: torch.Tensor):
    """The cache after some steps (values are minus the keys), and what the last step returned."""
    seen = []
    for step in keys:
        cache = cache.advance()
        pairs = [KeyValue(keys, -keys) for keys in step]
        seen = [cache.layer(index).append(pair) for index, pair in enumerate(pairs)]
    return cache, seen


def expected(keys: torch.Tensor, layer: int) -> torch.Tensor:
    return torch.cat(tuple(keys[:, layer]), 2)  # (rows, HEADS, steps, WIDTH)


def test_every_step_sees_all_steps_so_far_beyond_the_first_block():
    keys = history(2, 37, 0)
    cache, seen = fed(KeyValueCache.empty(2, LAYERS, CPU), keys)
    for layer, (key, value) in enumerate(seen):
        assert torch.equal(key, expected(keys, layer))
        assert torch.equal(value, -expected(keys, layer))
    assert cache.length == 37
    assert cache.mask is None


def test_select_orders_repeats_and_drops_rows():
    keys = history(3, 4, 1)
    cache, _ = fed(KeyValueCache.empty(3, LAYERS, CPU), keys)
    rows = torch.tensor([2, 0, 2])
    more = history(3, 1, 2)
    chosen, seen = fed(cache.select(rows), more)
    whole = torch.cat((keys[:, :, rows], more))
    assert chosen.rows == 3
    assert torch.equal(seen[1][0], expected(whole, 1))
    assert cache.select(torch.tensor([], dtype=torch.long)).rows == 0


def test_merged_histories_are_aligned_at_their_last_step():
    long, short = history(2, 5, 3), history(1, 2, 4)
    old, _ = fed(KeyValueCache.empty(2, LAYERS, CPU), long)
    young, _ = fed(KeyValueCache.empty(1, LAYERS, CPU), short)
    fresh = KeyValueCache.empty(1, LAYERS, CPU)
    cache = old.merge(young).merge(fresh)
    assert cache.starts.tolist() == [0, 0, 3, 5]
    more = history(4, 18, 5)
    cache, seen = fed(cache, more)
    mask = cache.mask[:, 0, 0]
    assert mask.sum(1).tolist() == [23, 23, 20, 18]
    for layer, (key, value) in enumerate(seen):
        for row, (before, at) in enumerate(((long, 0), (long, 1), (short, 0), (None, 0))):
            real = key[row][:, mask[row]]
            wanted = expected(more[:, :, row : row + 1], layer)[0]
            if before is not None:
                wanted = torch.cat((expected(before[:, :, at : at + 1], layer)[0], wanted), 1)
            assert torch.equal(real, wanted)
            assert torch.equal(value[row], -key[row])


def test_an_empty_cache_merged_into_a_filled_one_keeps_the_order():
    keys = history(1, 3, 6)
    filled, _ = fed(KeyValueCache.empty(1, LAYERS, CPU), keys)
    merged = KeyValueCache.empty(2, LAYERS, CPU).merge(filled)
    assert merged.starts.tolist() == [3, 3, 0]
    more = history(3, 1, 7)
    _, seen = fed(merged, more)
    assert torch.equal(seen[0][0][2], expected(torch.cat((keys, more[:, :, 2:])), 0)[0])
