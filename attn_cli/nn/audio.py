"""Recordings as vectors: what a decoder can attend to.

Shapes: B batch, T = 4 S frames, F features of a frame, S positions, D d_model, C channels, M masks.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from attn_cli.config import choose
from attn_cli.nn.image import Convolution
from attn_cli.nn.positions import POSITIONS, Positions
from attn_cli.nn.source import SourceEmbedding

_FEWEST_CHANNELS = 16


class SpecAugment(nn.Module):
    """Warps time, hides stretches of it and ranges of features in training (Park et al. 2019).

    Section 2 there. Each mask is as wide as is drawn from 0 to a share of the recording or of the
    features, and stands anywhere in it. What is hidden becomes the mean, 0.

    Args:
        time_masks: stretches of time.
        time_share: of the frames, the longest.
        band_masks: ranges of features.
        band_share: of the features, the widest.
        warp: frames by which a moment is moved at most; see `warped`.
    """

    def __init__(
        self,
        time_masks: int,
        time_share: float,
        band_masks: int,
        band_share: float,
        *,
        warp: int = 0,
    ) -> None:
        super().__init__()
        self.warp = warp
        self.time = time_masks, time_share
        self.bands = band_masks, band_share

    def forward(self, frames: Tensor, mask: Tensor) -> Tensor:
        """Shape: (B, T, F), which frames are valid (B, T) -> (B, T, F)."""
        if not self.training:
            return frames
        sizes = mask.sum(1)
        if self.warp:
            frames = warped(frames, sizes, self.warp)
        n_features = torch.full_like(sizes, frames.shape[2])
        times = stripes(*self.time, sizes, frames.shape[1])
        bands = stripes(*self.bands, n_features, frames.shape[2])
        return frames.masked_fill(times[:, :, None] | bands[:, None, :], 0.0)


def stripes(count: int, share: float, sizes: Tensor, width: int) -> Tensor:
    """Random stretches of lines, each of at most a share of its line.

    Args:
        count: M of each line.
        share: of a line.
        sizes: how long the lines are. Shape: (B,).
        width: of the longest.

    Returns:
        What is in one of them. Shape: (B, width), boolean.
    """
    drawn = torch.rand(2, len(sizes), count, device=sizes.device)
    lengths = (drawn[0] * ((sizes * share).floor()[:, None] + 1)).floor()  # (B, M)
    starts = (drawn[1] * (sizes[:, None] - lengths + 1)).floor()
    places = torch.arange(width, device=sizes.device)
    inside = (places >= starts[..., None]) & (places < (starts + lengths)[..., None])
    return inside.any(1)


def warped(frames: Tensor, sizes: Tensor, most: int) -> Tensor:
    """Recordings whose time runs faster up to some moment and slower after it, or vice versa.

    A moment c is drawn, and where it goes, c + w with |w| <= W; between it and the ends, which
    stay, frames are interpolated. W is `most` or a quarter of the recording, and c is 2 W from the
    ends at least, so that no part becomes half as long, or twice.

    Shape: (B, T, F), how many frames are valid (B,) -> (B, T, F).
    """
    drawn = torch.rand(2, len(sizes), 1, device=sizes.device)
    last = (sizes[:, None] - 1).clamp_min(1)  # (B, 1)
    width = (last // 4).clamp_max(most)
    centre = 2 * width + drawn[0] * (last - 4 * width)
    moved = centre + (2 * drawn[1] - 1) * width
    times = torch.arange(frames.shape[1], device=frames.device)[None]
    before = times * centre / moved.clamp_min(1e-3)
    after = last - (last - times) * (last - centre) / (last - moved).clamp_min(1e-3)
    read = torch.where(times < moved, before, after).clamp_min(0.0).minimum(last)
    read = torch.where(times <= last, read, times)  # padding stays where it is
    low = read.floor().long().clamp_max(frames.shape[1] - 1)
    high = (low + 1).clamp_max(frames.shape[1] - 1)
    share = (read - low)[:, :, None].to(frames.dtype)
    one, other = (frames.gather(1, index[:, :, None].expand_as(frames)) for index in (low, high))
    return one + share * (other - one)


class TimeConvolution(nn.Module):
    """A convolution of width 3 over time that halves it; each kernel is a row of one matrix.

    Shape: (B, d_input, T) -> (B, d_output, T / 2).
    """

    def __init__(self, d_input: int, d_output: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(d_output, d_input * 3))
        nn.init.kaiming_normal_(self.weight, nonlinearity="relu")

    def forward(self, x: Tensor) -> Tensor:
        """Shape: see the class."""
        kernels = self.weight.view(len(self.weight), -1, 3)
        return F.conv1d(x, kernels, stride=2, padding=1)


class FrameEmbedding(SourceEmbedding):
    """Recordings as vectors, one for four frames: two convolutions that halve time.

    As the input of the Speech-Transformer (Dong et al. 2018, section 3.2): stride 2, ReLU, then a
    projection; normalized, to be as large as token vectors are. Bands, of which neighbours say the
    same, are halved as well, by kernels of 3 x 3; other features are channels. Position s reads the
    frames 4 s - 3 to 4 s + 3: of padding, which is behind them, no valid one reads anything.

    Args:
        n_features: F.
        are_bands: whether features are energies of bands, side by side.
        d_model: D.
        augment: hides some of it in training.
        positions: a key of `positions.POSITIONS`.
        max_positions: vectors of learned positions.
        dropout: of the result.
    """

    def __init__(
        self,
        n_features: int,
        d_model: int,
        augment: SpecAugment,
        positions: str,
        max_positions: int,
        dropout: nn.Module,
        *,
        are_bands: bool = True,
    ) -> None:
        super().__init__()
        self.augment = augment
        self.are_bands = are_bands
        if are_bands:
            channels = max(_FEWEST_CHANNELS, d_model // 4)
            self.first: nn.Module = Convolution(1, channels, stride=2)
            self.second: nn.Module = Convolution(channels, channels, stride=2)
            self.project = nn.Linear(channels * -(-n_features // 4), d_model)
        else:
            self.first = TimeConvolution(n_features, d_model)
            self.second = TimeConvolution(d_model, d_model)
            self.project = nn.Linear(d_model, d_model)
        nn.init.xavier_uniform_(self.project.weight)
        nn.init.zeros_(self.project.bias)
        self.norm = nn.LayerNorm(d_model)
        scheme = choose(POSITIONS, positions, "position encoding")
        self.positions = scheme.added(d_model, max_positions)
        self.dropout = dropout

    def of_source(self, source: Tensor, mask: Tensor) -> Tensor:
        """See `SourceEmbedding`; features. Shape: (B, 4 S, F), (B, S) -> (B, S, D)."""
        vectors: Tensor = self(source, mask)
        return vectors

    def forward(self, frames: Tensor, mask: Tensor) -> Tensor:
        """Shape: (B, 4 S, F), (B, S) -> (B, S, D); a valid position has four frames."""
        dtype = self.norm.weight.dtype
        frames = self.augment(frames.to(dtype), mask.repeat_interleave(4, dim=1))
        x = frames[:, None] if self.are_bands else frames.transpose(1, 2)
        x = F.relu(self.first(x))  # (B, C, 2 S, F / 2); (B, D, 2 S) of features that are no bands
        x = F.relu(self.second(x))  # (B, C, S, F / 4); (B, D, S)
        vectors = self.norm(self.project(x.transpose(1, 2).flatten(2)))
        places = Positions.first(mask.shape[1], mask.device)
        return self.dropout(vectors + self.positions(places))
