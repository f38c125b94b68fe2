"""What ranks exchange, among three processes that meet over a file."""

from __future__ import annotations

import itertools

import pytest
import torch
import torch.multiprocessing
from torch import distributed, nn

from attn_cli.errors import AttnError, EndedElsewhereError, UsageError
from attn_cli.train.exchange import LostProcessError
from attn_cli.train.orthogonal import orthogonalized
from attn_cli.train.processes import Processes, _shares

WORLD = 3


def model():
    """Weights of several shapes; the last is never used."""
    torch.manual_seed(1)
    layers = [nn.Linear(6, 4), nn.Linear(4, 6), nn.Linear(6, 4), nn.Linear(4, 9), nn.Linear(9, 2)]
    return nn.ModuleList(layers)


def losses(layers, rank):
    """Of a rank; only rank 1 uses the fourth layer."""
    x = torch.arange(12.0).reshape(2, 6).add(rank).sin()
    x = layers[2](layers[1](layers[0](x)))
    return x.square().sum() + (layers[3](x).sum() if rank == 1 else 0.0)


def stacks(layers):
    weights = [layers[0].weight, layers[1].weight, layers[2].weight]
    return [torch.stack([weights[0], weights[2]]), weights[1][None], weights[1][None] + 1]


def rank_of_three(index, folder):
    store = distributed.FileStore(f"{folder}/store", -1)
    processes = Processes(index, 1, torch.device("cpu"), 3).meet(store, WORLD)
    assert torch.get_num_threads() == 1
    layers = model()
    if index:
        nn.init.zeros_(layers[0].weight)
    processes.align([layers])
    losses(layers, index).backward()
    processes.sum_gradients([layers])
    with torch.no_grad():
        factors = list(processes.each(orthogonalized, stacks(layers)))
    found = {f"gradient {name}": w.grad for name, w in layers.named_parameters()}
    found |= {f"factor {number}": factor for number, factor in enumerate(factors)}
    with pytest.raises((UsageError, EndedElsewhereError)) as refused, processes.together():
        if index:  # rank 2 fails, too, and rank 1 says why
            raise UsageError(f"refused by {index}")
    numbers = list(range(7))
    done = processes.spread(lambda n: (n, index), numbers)
    assert done == [(n, n % WORLD) for n in numbers]
    with pytest.raises((ZeroDivisionError, EndedElsewhereError)) as ended:
        processes.spread(lambda n: 1 // (n - 4), numbers)  # which is rank 1's
    assert ended.type is (ZeroDivisionError if index == 1 else EndedElsewhereError)
    torch.save([found, refused.value.exit_code, str(refused.value)], f"{folder}/{index}")
    if index == 2:
        return  # without a word
    with pytest.raises(AttnError) as lost:
        for _ in range(100):
            processes.total(1.0)
    assert isinstance(lost.value, LostProcessError if index == 0 else EndedElsewhereError)


@pytest.mark.slow
def test_ranks_have_the_sums_of_one_process_and_end_alike(tmp_path):
    torch.multiprocessing.spawn(rank_of_three, (str(tmp_path),), nprocs=WORLD)
    ranks = [torch.load(tmp_path / str(rank)) for rank in range(WORLD)]

    layers = model()
    sum(losses(layers, rank) for rank in range(WORLD)).backward()
    expected = {f"gradient {name}": w.grad for name, w in layers.named_parameters()}
    with torch.no_grad():
        factors = [orthogonalized(stack) for stack in stacks(layers)]
    expected |= {f"factor {number}": factor for number, factor in enumerate(factors)}
    assert sum(tensor is None for tensor in expected.values()) == 2
    for name, tensor in expected.items():
        found = [rank[0][name] for rank in ranks]
        if tensor is None:
            assert found == [None] * WORLD
        else:
            torch.testing.assert_close(found[0], tensor, atol=1e-5, rtol=1e-5)
            assert all(torch.equal(found[0], other) for other in found), "bit for bit"
    assert [rank[1] for rank in ranks] == [2, 2, 2]
    assert [rank[2] for rank in ranks] == ["", "refused by 1", ""]


@pytest.mark.parametrize("world", [2, 3, 7])
def test_matrices_are_shared_out_in_order_and_by_what_they_cost(world):
    shapes = [(5, 8, 8), (1, 16, 4), (12, 4, 4), (2, 9, 30)]
    shares = _shares(shapes, world)
    owners = [
        (stack, [next(r for r in range(world) if shares[r][stack][0] <= i < shares[r][stack][1])])
        for stack, (n, _, _) in enumerate(shapes)
        for i in range(n)
    ]
    ranks = [rank for _, (rank,) in owners]
    assert ranks == sorted(ranks), "the parts of the ranks, one after the other, are the whole"
    costs = [rows * cols * min(rows, cols) for n, rows, cols in shapes for _ in range(n)]
    dearest = max(costs)
    for rank in range(world):
        mine = sum(cost for cost, owner in zip(costs, ranks, strict=True) if owner == rank)
        assert abs(mine - sum(costs) / world) <= dearest
    assert all(b >= a for share in shares for a, b in share)
    assert all(
        before[stack][1] == after[stack][0]
        for before, after in itertools.pairwise(shares)
        for stack in range(len(shapes))
    )
