"""Sound as a source: how recordings are read, and what a saved model reads of them."""

from __future__ import annotations

import math
from dataclasses import dataclass

from attn_cli.config import option

FRAMES_A_SECOND = 100
FRAMES_A_POSITION = 4  # frames that make a vector: two halvings
LOWEST_RATE, HIGHEST_RATE = 4000, 48_000  # samples a second that a model reads
LOWEST_TONE = 20.0  # Hz
MOST_FEATURES = 4096
CTC_WEIGHT = 0.3  # as in Watanabe et al. 2017 and after
BAND_MASKS = 2  # of sounds
_BANDS, _USUAL_RATE = 80, 16_000
_SHARES = "--time-mask-share", "--band-mask-share"


def mel(frequency: float) -> float:
    """Hz in mel, as HTK has it: 2595 log₁₀(1 + f/700)."""
    return 2595.0 * math.log10(1.0 + frequency / 700.0)


def n_bands(rate: int) -> int:
    """Bands of the energies at a rate: as wide as 80 at 16 kHz are, and no more than these.

    Narrower ones would lie between two frequencies of the spectrum.
    """
    lowest = mel(LOWEST_TONE)
    share = (mel(rate / 2) - lowest) / (mel(_USUAL_RATE / 2) - lowest)
    return max(1, min(_BANDS, round(_BANDS * share)))


@dataclass(frozen=True, kw_only=True)
class RecordingOptions:
    """How recordings are read, and varied while they are learnt."""

    sample_rate: int | None = option(
        None,
        "Of recordings: samples a second, to which all are resampled.",
        low=LOWEST_RATE,
        high=HIGHEST_RATE,
        show="that of the first one, at most 16000",
        rare=True,
    )
    max_seconds: float = option(
        30.0,
        "Of recordings: longer ones are refused in training; decode cuts them at silences.",
        low=0.1,
        high=3600.0,
        rare=True,
    )
    speed_perturbation: float = option(
        0.1,  # Ko et al. 2015: 0.9, 1 and 1.1 times
        "Of recordings: each is learnt as it is, or so much slower or faster; 0: as it is.",
        low=0.0,
        high=0.5,
        rare=True,
    )
    time_warp: int = option(
        0,
        "SpecAugment: frames by which a moment of a recording is moved at most; 0: none.",
        low=0,
        high=1000,
        rare=True,
    )
    time_masks: int = option(
        2,
        "SpecAugment of recordings: stretches of time that are hidden in training; 0: none.",
        low=0,
        high=100,
        rare=True,
    )
    time_mask_share: float = option(
        0.2, "SpecAugment: the longest such stretch, of all frames.", low=0.0, high=1.0, rare=True
    )
    band_masks: int | None = option(
        None,
        "SpecAugment: ranges of bands that are hidden; 0: none.",
        low=0,
        high=100,
        show=f"{BAND_MASKS}, of .npy features 0",
        rare=True,
    )
    band_mask_share: float = option(
        0.3, "SpecAugment: the widest such range, of all bands.", low=0.0, high=1.0, rare=True
    )

    def check_audio(self) -> None:
        """Raises ValueError if masks are asked for that hide nothing."""
        counts = self.time_masks, BAND_MASKS if self.band_masks is None else self.band_masks
        shares = self.time_mask_share, self.band_mask_share
        for flag, count, share in zip(_SHARES, counts, shares, strict=True):
            if count and not share:
                raise ValueError(f"{flag} 0 hides nothing: --{flag[2:6]}-masks 0 says so")


@dataclass(frozen=True, kw_only=True)
class AudioOptions(RecordingOptions):
    """The same where what is said is written down."""

    ctc_weight: float | None = option(
        None,
        "Of recordings: weight of the CTC loss of the encoder's own output; the attention's has "
        "the rest.",
        low=0.0,
        high=1.0,
        show=f"{CTC_WEIGHT}, with --decoder mask-predict 0",
        rare=True,
    )


@dataclass(frozen=True, kw_only=True)
class AudioConfig:
    """What a saved model reads of recordings."""

    sample_rate: int = option(
        0, "Samples a second; 0: features come from files.", low=0, high=HIGHEST_RATE
    )
    n_features: int = option(0, "Numbers of a frame.", low=0, high=MOST_FEATURES)
    trained_seconds: float = option(0.0, "The longest recording it learnt.", low=0.0, high=1e9)
    ctc: bool = option(False, "Whether the encoder has an output of its own.")
    time_warp: int = option(0, "SpecAugment: frames of the warp.", low=0, high=1000)
    time_masks: int = option(0, "SpecAugment: stretches hidden.", low=0, high=100)
    time_mask_share: float = option(0.0, "SpecAugment: of the frames.", low=0.0, high=1.0)
    band_masks: int = option(0, "SpecAugment: ranges hidden.", low=0, high=100)
    band_mask_share: float = option(0.0, "SpecAugment: of the bands.", low=0.0, high=1.0)

    def check_audio(self) -> None:
        """Raises ValueError if frames have no numbers, or not those of the rate."""
        if self.sample_rate and not self.sample_rate >= LOWEST_RATE:
            raise ValueError(f"sample_rate {self.sample_rate} is below {LOWEST_RATE}")
        if self.sample_rate and self.n_features != n_bands(self.sample_rate):
            bands = n_bands(self.sample_rate)
            raise ValueError(f"n_features {self.n_features}: {self.sample_rate} Hz have {bands}")
        if not self.n_features:
            raise ValueError("n_features: a source of recordings needs some")
