"""Attention to an image's regions: how much of each word's look a region gets, and its veil.

Shapes: T words, R rows and C columns of regions, S = R C.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from attn_cli.data.images import Picture
from attn_cli.viz.maps import Weights

_VEIL = 0.8  # how dense the veil is over a region that gets nothing


def grids(weights: Weights, picture: Picture) -> NDArray[np.float32]:
    """The weights as parts of each word's largest one. Shape: (T, S) -> (T, R, C)."""
    peaks = weights.max(1, keepdims=True, initial=0.0)
    parts = (weights / np.where(peaks > 0, peaks, 1.0)).astype(np.float32)
    return parts.reshape(-1, *picture.grid)


def veils(weights: Weights, picture: Picture) -> NDArray[np.float32]:
    """The veil that is laid over an image: gray, the less opaque the more a region gets.

    What is black, or white, shows where it is looked at; under a veil of its own colour it would
    not.

    Shape: (T, S) -> (T, R, C, 4), red, green, blue and opacity from 0 to 1.
    """
    shade = grids(weights, picture)
    veil = np.full((*shade.shape, 4), 0.5, np.float32)
    veil[..., 3] = _VEIL * (1.0 - shade)
    return veil
