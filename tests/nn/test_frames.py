"""Recordings as vectors, against torch.nn; SpecAugment; padding."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from attn_cli.nn.audio import FrameEmbedding, SpecAugment, stripes, warped

NO_MASKS = (0, 0.0, 0, 0.0)


def embedding(n_features=9, d_model=16, positions="none", masks=NO_MASKS, *, are_bands=True):
    torch.manual_seed(1)
    place = (positions, 64, nn.Identity())
    return FrameEmbedding(n_features, d_model, SpecAugment(*masks), *place, are_bands=are_bands)


def test_vectors_are_two_convolutions_a_projection_and_a_norm_of_torchs():
    ours = embedding()
    first = nn.Conv2d(1, 16, 3, stride=2, padding=1, bias=False)
    second = nn.Conv2d(16, 16, 3, stride=2, padding=1, bias=False)
    with torch.no_grad():
        first.weight.copy_(ours.first.weight.view_as(first.weight))
        second.weight.copy_(ours.second.weight.view_as(second.weight))
    frames = torch.randn(2, 12, 9)
    x = second(first(frames[:, None]).relu()).relu()  # (B, C, 3, 3)
    expected = ours.norm(ours.project(torch.cat([x[:, c] for c in range(16)], dim=-1)))
    mask = torch.ones(2, 3, dtype=torch.bool)
    torch.testing.assert_close(ours(frames, mask), expected)


def test_features_that_are_no_bands_are_channels_of_convolutions_over_time():
    ours = embedding(are_bands=False)
    first = nn.Conv1d(9, 16, 3, stride=2, padding=1, bias=False)
    second = nn.Conv1d(16, 16, 3, stride=2, padding=1, bias=False)
    with torch.no_grad():
        first.weight.copy_(ours.first.weight.view_as(first.weight))
        second.weight.copy_(ours.second.weight.view_as(second.weight))
    frames = torch.randn(2, 12, 9)
    expected = ours.norm(ours.project(second(first(frames.mT).relu()).relu().mT))
    torch.testing.assert_close(ours(frames, torch.ones(2, 3, dtype=torch.bool)), expected)


@pytest.mark.parametrize("are_bands", [True, False])
@pytest.mark.parametrize("n_features", [1, 13, 80])
def test_there_is_a_vector_for_four_frames(n_features, are_bands):
    ours = embedding(n_features, 40, are_bands=are_bands)
    assert ours(torch.zeros(1, 20, n_features), torch.ones(1, 5, dtype=torch.bool)).shape == (
        *(1, 5, 40),
    )


@pytest.mark.parametrize("are_bands", [True, False])
@pytest.mark.parametrize("positions", ["sinusoidal", "learned", "none", "rotary"])
def test_padding_changes_nothing(positions, are_bands):
    ours = embedding(positions=positions, are_bands=are_bands)
    frames = torch.zeros(2, 24, 9)
    frames[0, :8], frames[1] = torch.randn(8, 9), torch.randn(24, 9)
    mask = torch.tensor([[True, True, *[False] * 4], [True] * 6])
    together = ours(frames, mask)
    torch.testing.assert_close(together[:1, :2], ours(frames[:1, :8], mask[:1, :2]))
    torch.testing.assert_close(together[1:], ours(frames[1:], mask[1:]))


def test_masks_hide_stretches_in_training_alone():
    augment = SpecAugment(2, 0.25, 1, 0.5)
    frames, mask = torch.ones(200, 40, 10), torch.ones(200, 40, dtype=torch.bool)
    assert augment.eval()(frames, mask) is frames
    torch.manual_seed(3)
    hidden = augment.train()(frames, mask) == 0
    times, bands = hidden.all(2), hidden.all(1)
    torch.testing.assert_close(hidden, times[:, :, None] | bands[:, None, :])
    assert times.sum(1).max() <= 20
    assert times.sum(1).float().mean() > 5
    assert bands.sum(1).max() == 5
    # One stretch of bands: where it begins and ends, the mask changes once each.
    assert (bands[:, 1:] & ~bands[:, :-1]).sum(1).max() == 1
    assert len({tuple(row.tolist()) for row in times}) > 150  # each recording has its own
    torch.manual_seed(3)
    assert torch.equal(augment(frames, mask) == 0, hidden)


def test_stripes_stay_within_their_lines():
    torch.manual_seed(4)
    sizes = torch.tensor([4, 20] * 300)
    found = stripes(1, 0.5, sizes, 20)
    assert not found[::2, 4:].any()
    lengths = found.sum(1)
    assert sorted(set(lengths[::2].tolist())) == [0, 1, 2]
    assert lengths[1::2].max() == 10
    assert found[1::2].any(0).all()  # anywhere
    assert not stripes(0, 0.5, sizes, 20).any()


def test_a_warp_moves_a_moment_and_leaves_the_ends():
    """Of a recording whose frames say when they are, each frame says when it was read."""
    torch.manual_seed(5)
    sizes = torch.tensor([40, 24] * 50)
    times = torch.arange(40.0)
    frames = times[None, :, None].repeat(100, 1, 3)
    read = warped(frames, sizes, 5)[:, :, 0]
    for row, size in zip(read, sizes.tolist(), strict=True):
        assert row[0] == 0 and row[size - 1] == pytest.approx(size - 1, abs=1e-4)
        torch.testing.assert_close(row[size:], times[size:])  # padding stays
        steps = row[1:size] - row[: size - 1]
        assert steps.min() > 0.49 and steps.max() < 2.01
        # Two speeds, and one step over the moment at which one ends.
        assert len({round(step, 3) for step in steps.tolist()}) <= 3
    moved = (read[::2] - times).abs().amax(1)
    assert moved.max() <= 5 and moved.mean() > 1
    assert len({round(value, 3) for value in moved.tolist()}) > 40


def test_a_warp_is_for_training_and_of_any_length():
    augment = SpecAugment(0, 0.0, 0, 0.0, warp=10)
    frames, mask = torch.randn(3, 12, 4), torch.ones(3, 12, dtype=torch.bool)
    assert augment.eval()(frames, mask) is frames
    assert not torch.equal(augment.train()(frames, mask), frames)
    for size in (1, 2, 4, 5):
        short = torch.randn(1, size, 4)
        found = warped(short, torch.tensor([size]), 10)
        assert torch.isfinite(found).all()
        torch.testing.assert_close(found[:, [0, -1]], short[:, [0, -1]])
