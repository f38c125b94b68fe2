"""What makes vectors of what is in files, by the kind of source."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from torch import nn

from attn_cli.config.source import SourceConfig
from attn_cli.nn.audio import FrameEmbedding, SpecAugment
from attn_cli.nn.image import RegionEmbedding
from attn_cli.nn.source import SourceEmbedding


class Place(NamedTuple):
    """What an architecture makes vectors for.

    Attributes:
        d_model: their width.
        positions: how they say where they stand in a line, a key of `nn.positions.POSITIONS`.
        max_positions: vectors of learned positions.
        dropout: of them.
    """

    d_model: int
    positions: str
    max_positions: int
    dropout: nn.Module


def _regions(config: SourceConfig, place: Place) -> SourceEmbedding:
    return RegionEmbedding(config.image_encoder, config.region_size, place.d_model, place.dropout)


def _frames(config: SourceConfig, place: Place) -> SourceEmbedding:
    augment = SpecAugment(
        *(config.time_masks, config.time_mask_share, config.band_masks, config.band_mask_share),
        warp=config.time_warp,
    )
    return FrameEmbedding(
        *(config.n_features, place.d_model, augment),
        *(place.positions, place.max_positions, place.dropout),
        are_bands=config.sample_rate > 0,
    )


FILE_EMBEDDINGS: dict[str, Callable[[SourceConfig, Place], SourceEmbedding]] = {
    "image": _regions,
    "audio": _frames,
}
