"""CTC's loss against the sum over all paths."""

from __future__ import annotations

import itertools

import pytest
import torch

from attn_cli.nn.ctc import CtcOutput, ctc_alignment, ctc_nll, positions_needed


def says(path, blank_id):
    """What a path becomes, by the definition: equal neighbours are one, then blanks go."""
    groups = [token for token, _ in itertools.groupby(path)]
    return [token for token in groups if token != blank_id]


def by_all_paths(log_probs, target):
    """-ln Σ over every path of the product of its probabilities. Shape: (S, V + 1)."""
    n_positions, width = log_probs.shape
    total = 0.0
    for path in itertools.product(range(width), repeat=n_positions):
        if says(path, width - 1) == target:
            total += float(log_probs[range(n_positions), path].double().sum().exp())
    return -torch.tensor(total).log()


@pytest.mark.parametrize("target", [[], [0], [0, 1], [1, 1], [1, 0, 1], [0, 0, 0], [2, 1, 0]])
def test_the_loss_is_the_sum_over_all_paths(target):
    torch.manual_seed(1)
    log_probs = torch.randn(1, 5, 4).log_softmax(-1)
    targets = torch.tensor([[*target, 7, 7, 7][:4]])  # beyond its length anything may stand
    mask = torch.ones(1, 5, dtype=torch.bool)
    found = ctc_nll(log_probs, mask, targets, torch.tensor([len(target)]))
    torch.testing.assert_close(found[0], by_all_paths(log_probs[0], target), atol=1e-4, rtol=1e-4)


def test_padding_and_neighbours_change_nothing():
    torch.manual_seed(2)
    log_probs = torch.randn(2, 6, 4).log_softmax(-1)
    mask = torch.tensor([[True] * 4 + [False] * 2, [True] * 6])
    targets, lengths = torch.tensor([[0, 1, 0], [2, 2, 1]]), torch.tensor([1, 3])
    found = ctc_nll(log_probs, mask, targets, lengths)
    alone = ctc_nll(log_probs[:1, :4], mask[:1, :4], targets[:1, :1], lengths[:1])
    torch.testing.assert_close(found[:1], alone)


def test_what_can_t_be_said_or_is_not_to_be_learnt_costs_nothing():
    torch.manual_seed(3)
    scores = torch.randn(3, 3, 4, requires_grad=True)
    mask = torch.ones(3, 3, dtype=torch.bool)
    targets = torch.tensor([[0, 0, 1], [0, 1, 2], [0, 1, 2]])
    lengths = torch.tensor([3, 3, -1])  # 0 0 1 needs a fourth position, for a blank
    loss = ctc_nll(scores.log_softmax(-1), mask, targets, lengths)
    assert loss[0] == loss[2] == 0
    assert loss[1] > 0
    loss.sum().backward()
    assert not scores.grad[0].any() and not scores.grad[2].any()
    assert scores.grad[1].any() and scores.grad.isfinite().all()
    infinite = ctc_nll(scores.log_softmax(-1), mask, targets, lengths, infinite=True)
    assert infinite[0].isinf()


@pytest.mark.parametrize(("tokens", "needed"), [([], 0), ([3], 1), ([3, 3], 3), ([1, 2, 2, 2], 6)])
def test_equal_tokens_need_a_blank_between_them(tokens, needed):
    assert positions_needed(tokens) == needed


def test_blank_is_the_last_output():
    output = CtcOutput(8, 5)
    log_probs = output(torch.randn(2, 3, 8))
    assert log_probs.shape == (2, 3, 6)
    assert output.blank_id == 5
    torch.testing.assert_close(log_probs.exp().sum(-1), torch.ones(2, 3))


def by_best_path(log_probs, target):
    """The likeliest of all paths that become the target: where its tokens are."""
    n_positions, width = log_probs.shape
    best, found = -torch.inf, None
    for path in itertools.product(range(width), repeat=n_positions):
        if says(path, width - 1) == target:
            total = float(log_probs[range(n_positions), path].double().sum())
            if total > best:
                best, found = total, path
    places, at = [], 0
    for token, group in itertools.groupby(found):
        size = len(list(group))
        if token != width - 1:
            places.append([at, at + size])
        at += size
    return places


@pytest.mark.parametrize("seed", range(4))
def test_tokens_stand_where_the_likeliest_path_says_them(seed):
    """In one padded batch, against every path."""
    torch.manual_seed(seed)
    targets = [[0], [0, 1], [1, 1], [1, 0, 1], []]
    sizes = [5, 5, 3, 4, 2]
    log_probs = (2 * torch.randn(5, 5, 4)).log_softmax(-1)
    mask = torch.arange(5) < torch.tensor(sizes)[:, None]
    padded = torch.tensor([[*target, 2, 2, 2][:3] for target in targets])
    lengths = torch.tensor([len(target) for target in targets])
    found = ctc_alignment(log_probs, mask, padded, lengths)
    for row, target, size in zip(range(5), targets, sizes, strict=True):
        wanted = by_best_path(log_probs[row, :size], target)
        assert found[row, : len(target)].tolist() == wanted
