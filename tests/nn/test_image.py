"""Images as regions, against torch.nn and numbers by hand."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from attn_cli.nn.image import (
    ConvolutionRegions,
    ConvolutionStage,
    GridPositions,
    PatchRegions,
    RegionEmbedding,
)
from attn_cli.nn.rnn import NoCells


def test_patches_are_the_squares_of_an_image_in_reading_order():
    patches = PatchRegions(2, 12)
    with torch.no_grad():  # E copies the pixels: channel by channel, row by row
        patches.project.weight.copy_(torch.eye(12))
    pixels = torch.arange(3 * 4 * 6.0).view(1, 3, 4, 6)
    found = patches(pixels)
    assert found.shape == (1, 2, 3, 12)
    # Row 1, column 2: rows 2 and 3, columns 4 and 5 of each channel of 24 pixels.
    square = [16.0, 17.0, 22.0, 23.0]
    assert found[0, 1, 2].tolist() == [24.0 * c + p for c in range(3) for p in square]


def test_a_stage_is_two_convolutions_with_torch_own_layers():
    torch.manual_seed(1)
    stage = ConvolutionStage(3, 5)
    halve = nn.Conv2d(3, 5, 3, stride=2, padding=1, bias=False)
    refine = nn.Conv2d(5, 5, 3, padding=1, bias=False)
    with torch.no_grad():
        for theirs, ours in ((halve, stage.halve), (refine, stage.refine)):
            theirs.weight.copy_(ours.weight.view_as(theirs.weight))
    x = torch.randn(2, 3, 8, 12)
    first = nn.GroupNorm(1, 5)(halve(x)).relu()
    expected = first + nn.GroupNorm(1, 5)(refine(first)).relu()
    torch.testing.assert_close(stage(x), expected)
    assert stage(x).shape == (2, 5, 4, 6)


@pytest.mark.parametrize("size", [4, 16, 64])
def test_convolutions_leave_one_vector_a_region(size):
    regions = ConvolutionRegions(size, 40)
    assert len(regions.stages) == math.log2(size)
    assert regions(torch.zeros(1, 3, 2 * size, 3 * size)).shape == (1, 2, 3, 40)


def test_places_say_row_and_column():
    codes = GridPositions(8)(3, 5, torch.device("cpu"))
    assert codes.shape == (3, 5, 8)
    # Frequencies of a half of width 4: 1 and 1/100.
    row = [math.sin(2), math.cos(2), math.sin(0.02), math.cos(0.02)]
    column = [math.sin(4), math.cos(4), math.sin(0.04), math.cos(0.04)]
    torch.testing.assert_close(codes[2, 4], torch.tensor([*row, *column]))
    assert len({tuple(code.tolist()) for code in codes.flatten(0, 1)}) == 15


def test_regions_are_normalized_vectors_and_their_places():
    embedding = RegionEmbedding("patch", 2, 12, nn.Identity())
    with torch.no_grad():
        embedding.regions.project.weight.copy_(torch.eye(12))
    pixels = torch.zeros(1, 2, 4, 3, dtype=torch.uint8)
    pixels[0, :, 2:, 0] = 255  # the right half is red: 4 of 12 numbers are 1, the others -1
    left, right = embedding(pixels)[0] - GridPositions(12)(1, 2, pixels.device)[0]
    assert left.abs().max() < 1e-5  # all pixels alike: nothing is left of them
    mean, spread = -1 / 3, math.sqrt(1 - 1 / 9)
    expected = [((1 if i < 4 else -1) - mean) / spread for i in range(12)]
    torch.testing.assert_close(right, torch.tensor(expected), atol=1e-4, rtol=0)


@pytest.mark.parametrize("encoder", ["conv", "patch"])
def test_an_image_does_not_depend_on_its_batch(encoder):
    torch.manual_seed(2)
    embedding = RegionEmbedding(encoder, 8, 16, nn.Identity())
    pixels = torch.randint(0, 256, (3, 16, 24, 3), dtype=torch.uint8)
    torch.testing.assert_close(embedding(pixels)[1:2], embedding(pixels[1:2]))


def test_without_cells_regions_are_the_states_and_their_mean_the_last_one():
    x = torch.tensor([[[1.0, 2.0], [3.0, 6.0], [9.0, 9.0]]])
    states, last = NoCells(2)(x, torch.tensor([[True, True, False]]))
    assert states.tolist() == [[[1.0, 2.0], [3.0, 6.0], [0.0, 0.0]]]
    assert last.shape == (1, 1, 1, 2, 2)
    assert last[0, 0, 0].tolist() == [[2.0, 4.0]] * 2
