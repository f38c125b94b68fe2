"""Sound -> frames of features: log-mel energies, normalized; where silences are.

Shapes: n samples, T frames, F features, b bins of the spectrum.
"""

from __future__ import annotations

import functools

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from attn_cli.config.audio import FRAMES_A_SECOND, LOWEST_TONE, mel, n_bands

Features = NDArray[np.float32]

_WINDOWS_A_SECOND = 40  # of 25 ms
_RANGE = 1e-8  # the faintest energy that counts, of the loudest: 80 dB
_SILENCE = 1e-10  # the same where all is silent
_NARROWEST = 1e-3  # deviation that is made 1
_FRAMES_AT_ONCE = 1 << 12
_PAUSE = 20  # frames over which loudness is taken together


def log_mel(samples: NDArray[np.float32], rate: int) -> Features:
    """Log Σ w |STFT|², w triangles that are equally wide in mel (HTK's scale), from 20 Hz up.

    Windows of 25 ms (Hann) stand around every 10 ms, zeros before the first sample and behind the
    last one. The mean of the samples is no sound. Energies below a hundred-millionth of the
    loudest count as that: digital silence has a logarithm, and not one that outweighs the speech.

    Shape: (n,) -> (T, F), T = 1 + n // hop.
    """
    window, hop = rate // _WINDOWS_A_SECOND, rate // FRAMES_A_SECOND
    size = 1 << (window - 1).bit_length()
    sound = torch.from_numpy(samples - samples.mean(dtype=np.float64).astype(np.float32))
    sound = F.pad(sound, (size // 2, size // 2))
    count = 1 + len(samples) // hop
    filters, hann = _filters(rate, size), torch.hann_window(window)
    energies = torch.empty(count, len(filters))
    for first in range(0, count, _FRAMES_AT_ONCE):
        last = min(first + _FRAMES_AT_ONCE, count) - 1
        part = sound[first * hop : last * hop + size]
        spectrum = torch.stft(part, size, hop, window, hann, center=False, return_complex=True)
        energies[first : last + 1] = (filters @ spectrum.abs().square()).T
    floor = max(float(energies.max()) * _RANGE, _SILENCE)
    found: Features = energies.clamp_min_(floor).log_().numpy()
    return found


@functools.lru_cache(maxsize=8)
def _filters(rate: int, size: int) -> Tensor:
    """The triangles, each 1 at its centre and 0 at its neighbours' centres. Shape: (F, b)."""
    bands = n_bands(rate)
    marks = np.linspace(mel(LOWEST_TONE), mel(rate / 2), bands + 2)
    centres = 700.0 * (10.0 ** (marks / 2595.0) - 1.0)
    bins = np.arange(size // 2 + 1) * (rate / size)
    low, middle, high = (centres[i : i + bands, None] for i in range(3))
    triangles = np.minimum((bins - low) / (middle - low), (high - bins) / (high - middle))
    return torch.from_numpy(triangles.clip(0.0).astype(np.float32))


def normalized(features: Features) -> Features:
    """Each feature with mean 0 and deviation 1 over a recording; a constant one is 0.

    Shape: (T, F) -> (T, F).
    """
    centred = features - features.mean(0, dtype=np.float64).astype(np.float32)
    deviation = np.sqrt(np.square(centred).mean(0, dtype=np.float64))
    found: Features = centred / np.maximum(deviation, _NARROWEST).astype(np.float32)
    return found


def cut_at_silence(features: Features, most: int) -> list[Features]:
    """The parts of a long recording, of at most `most` frames each; nothing is left out.

    Each but the last ends where it is quietest in a fifth of a second, in the second half of what
    a part may hold. Loud is what has large features in the mean.

    Shape: (T, F) -> (T₁, F), (T₂, F), ….
    """
    loudness = np.pad(features.mean(1, dtype=np.float64), _PAUSE // 2, mode="edge")
    sums = np.concatenate(([0.0], loudness.cumsum()))
    loudness = sums[_PAUSE:] - sums[: len(sums) - _PAUSE]  # around each frame, one more than T
    parts, start = [], 0
    while len(features) - start > most:
        low, high = start + max(1, most // 2), start + most
        end = low + int(loudness[low : high + 1].argmin())
        parts.append(features[start:end])
        start = end
    return [*parts, features[start:]]
