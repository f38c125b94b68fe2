"""Images as regions: what a decoder can attend to.

Shapes: B batch, P pixels of a region's side, R rows and C columns of regions, S = R C regions in
reading order, D d_model.
"""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from attn_cli.config import choose
from attn_cli.nn.positions import Positions, SinusoidalPositions
from attn_cli.nn.source import SourceEmbedding

_CHANNELS = 3
_NARROWEST = 16  # channels of the first convolution


class PatchRegions(nn.Module):
    """xᵢ E, the pixels of a square projected (Dosovitskiy et al. 2021, eq. 1).

    Args:
        region_size: P.
        d_model: D.
    """

    def __init__(self, region_size: int, d_model: int) -> None:
        super().__init__()
        self.region_size = region_size
        self.project = nn.Linear(_CHANNELS * region_size**2, d_model)
        nn.init.xavier_uniform_(self.project.weight)
        nn.init.zeros_(self.project.bias)

    def forward(self, pixels: Tensor) -> Tensor:
        """Shape: (B, 3, R P, C P) -> (B, R, C, D)."""
        size = self.region_size
        squares = pixels.unfold(2, size, size).unfold(3, size, size)  # (B, 3, R, C, P, P)
        return self.project(squares.permute(0, 2, 3, 1, 4, 5).flatten(3))


class Convolution(nn.Module):
    """A 3 x 3 convolution; each kernel is a row of one matrix, as optimizers of matrices want it.

    Shape: (B, d_input, h, w) -> (B, d_output, h / stride, w / stride).
    """

    def __init__(self, d_input: int, d_output: int, stride: int = 1) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(d_output, d_input * 9))
        nn.init.kaiming_normal_(self.weight, nonlinearity="relu")
        self.stride = stride

    def forward(self, x: Tensor) -> Tensor:
        """Shape: see the class."""
        kernels = self.weight.view(len(self.weight), -1, 3, 3)
        return F.conv2d(x, kernels, stride=self.stride, padding=1)


class ConvolutionStage(nn.Module):
    """y = g(N(W₁ * x)), then y + g(N(W₂ * y)): half the rows and columns, a wider view.

    g = ReLU and a residual connection as in He et al. 2016; N normalizes over all of an image's
    places and channels (Wu & He 2018, one group), so that no image depends on its batch.
    """

    def __init__(self, d_input: int, d_output: int) -> None:
        super().__init__()
        self.halve = Convolution(d_input, d_output, stride=2)
        self.refine = Convolution(d_output, d_output)
        self.norms = nn.ModuleList(nn.GroupNorm(1, d_output) for _ in range(2))

    def forward(self, x: Tensor) -> Tensor:
        """Shape: (B, d_input, 2 h, 2 w) -> (B, d_output, h, w)."""
        y = F.relu(self.norms[0](self.halve(x)))
        return y + F.relu(self.norms[1](self.refine(y)))


class ConvolutionRegions(nn.Module):
    """Annotation vectors a₁ … a_L of a convolutional layer (Xu et al. 2015, section 3.1.1).

    Each stage of convolutions halves the image; log₂ P of them leave one vector a region, which
    has seen more than its region. Learnt from scratch, where the paper takes a layer of VGG.

    Args:
        region_size: P, a power of two.
        d_model: D.
    """

    def __init__(self, region_size: int, d_model: int) -> None:
        super().__init__()
        n_stages = region_size.bit_length() - 1
        halvings = range(n_stages - 1, -1, -1)  # the last stage is as wide as the model
        widths = [min(d_model, max(_NARROWEST, d_model >> left)) for left in halvings]
        pairs = pairwise([_CHANNELS, *widths])
        self.stages = nn.Sequential(*(ConvolutionStage(*pair) for pair in pairs))
        self.project = nn.Linear(d_model, d_model)
        nn.init.xavier_uniform_(self.project.weight)
        nn.init.zeros_(self.project.bias)

    def forward(self, pixels: Tensor) -> Tensor:
        """Shape: (B, 3, R P, C P) -> (B, R, C, D)."""
        return self.project(self.stages(pixels).movedim(1, -1))


REGIONS: dict[str, type[nn.Module]] = {"conv": ConvolutionRegions, "patch": PatchRegions}


class GridPositions(nn.Module):
    """Where a region stands: half of the vector says its row, half its column.

    Each half is the sine and cosine code of that number (Vaswani et al. 2017, 3.5; on a grid:
    Parmar et al. 2018, section 3.1).
    """

    def __init__(self, d_model: int) -> None:
        super().__init__()
        self.rows = SinusoidalPositions(d_model // 2, 64)
        self.columns = SinusoidalPositions(d_model - d_model // 2, 64)

    def forward(self, height: int, width: int, device: torch.device) -> Tensor:
        """Codes of a grid of regions. Shape: (R, C, D)."""
        rows = self.rows(Positions.first(height, device))[0]
        columns = self.columns(Positions.first(width, device))[0]
        parts = rows[:, None].expand(-1, width, -1), columns[None].expand(height, -1, -1)
        return torch.cat(parts, dim=-1)


class RegionEmbedding(SourceEmbedding):
    """Images as sequences of region vectors, in the place of a `positions.TokenEmbedding`.

    Args:
        encoder: a key of `REGIONS`.
        region_size: P.
        d_model: D.
        dropout: of the result.
    """

    def __init__(self, encoder: str, region_size: int, d_model: int, dropout: nn.Module) -> None:
        super().__init__()
        self.regions = choose(REGIONS, encoder, "image encoder")(region_size, d_model)
        self.norm = nn.LayerNorm(d_model)  # as large as token vectors are
        self.positions = GridPositions(d_model)
        self.dropout = dropout

    def of_source(self, source: Tensor, mask: Tensor) -> Tensor:
        """See `SourceEmbedding`; pixels. Shape: (B, R P, C P, 3), (B, S) -> (B, S, D)."""
        vectors: Tensor = self(source)
        return vectors

    def forward(self, pixels: Tensor) -> Tensor:
        """Regions of images in bytes, from 0 to 255. Shape: (B, R P, C P, 3) -> (B, S, D)."""
        weight = self.norm.weight
        scaled = pixels.movedim(-1, 1).to(weight.dtype) / 127.5 - 1.0
        regions = self.norm(self.regions(scaled))  # (B, R, C, D)
        positions = self.positions(*regions.shape[1:3], regions.device).to(regions.dtype)
        return self.dropout(regions + positions).flatten(1, 2)
