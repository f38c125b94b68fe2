"""Samples of a sound at another rate.

Shapes: n samples, m samples at the new rate, t taps, L phases.
"""

from __future__ import annotations

import functools
import math

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

Samples = NDArray[np.float32]

_CROSSINGS = 10  # zeros of the sinc on either side, at the lower of both rates
_BETA = 5.0  # of Kaiser's window
_TOGETHER = 1 << 20  # products at once


def resampled(samples: Samples, rate: int, wanted: int) -> Samples:
    """The same sound with `wanted` samples a second: band-limited interpolation (Smith 1984).

    y(n) = Σₖ x(k) h(n M - k L), L/M = wanted/rate in lowest terms, h a sinc that lets pass what is
    below half of the lower rate, in a Kaiser window. Products with each of the L phases are taken
    with a filter of its own.

    Shape: (n,) -> (m,), m = ⌈n L/M⌉.
    """
    if rate == wanted or not len(samples):
        return samples
    common = math.gcd(rate, wanted)
    up, down = wanted // common, rate // common
    taps, before = _filters(up, down)
    padded = np.pad(samples, (before, taps.shape[1]))
    windows = sliding_window_view(padded, taps.shape[1])
    out = np.empty(-(-len(samples) * up // down), np.float32)
    step = max(1, _TOGETHER // taps.shape[1])
    for start in range(0, len(out), step):
        at = np.arange(start, min(start + step, len(out))) * down
        # From the sample at or before each new one, and how far beyond it that is.
        out[start : start + step] = np.einsum("mt,mt->m", windows[at // up], taps[at % up])
    return out


@functools.lru_cache(maxsize=8)
def _filters(up: int, down: int) -> tuple[Samples, int]:
    """What samples count at each phase, from so many before the one that is reached.

    Returns:
        Taps (L, t), and how many samples before that one they begin at.
    """
    longest = _CROSSINGS * max(up, down)  # half of h
    before, after = longest // up, (longest + up - 1) // up
    offsets = np.arange(-before, after + 1)
    at = np.arange(up)[:, None] - offsets[None] * up  # where each product meets h
    inside = np.abs(at) <= longest
    shape = np.where(inside, 1.0 - (at / longest) ** 2, 0.0)
    window = np.i0(_BETA * np.sqrt(shape)) / np.i0(_BETA)
    heights = np.where(inside, np.sinc(at / max(up, down)) * window, 0.0)
    # A constant stays what it is, as the mean over all phases.
    return (heights * (up / heights.sum())).astype(np.float32), before
