"""Resampling against SciPy, log-mel energies against the formulas in NumPy, silences."""

from __future__ import annotations

import math

import numpy as np
import pytest
from sounds import glide

from attn_cli.config.audio import n_bands
from attn_cli.data.audio_features import cut_at_silence, log_mel, normalized
from attn_cli.data.resampling import resampled

NOISE = np.random.default_rng(1).normal(0, 0.1, 5000).astype(np.float32)


@pytest.mark.parametrize(
    ("rate", "wanted"),
    [
        (8000, 16_000),
        (16_000, 8000),
        (44_100, 16_000),
        (11_025, 8000),
        (8000, 7999),
        (48_000, 8000),
    ],
)
@pytest.mark.parametrize("size", [1, 7, 5000])
def test_resampled_as_scipy_does(rate, wanted, size):
    signal = pytest.importorskip("scipy.signal")
    common = math.gcd(rate, wanted)
    expected = signal.resample_poly(NOISE[:size].astype(float), wanted // common, rate // common)
    found = resampled(NOISE[:size], rate, wanted)
    assert found.dtype == np.float32
    assert len(found) == -(-size * wanted // rate)
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_a_tone_stays_a_tone_and_what_is_too_high_goes():
    """The oracle is the tone itself, sampled at the other rate."""
    rate, wanted = 44_100, 16_000
    for frequency, height in ((440, 1.0), (6000, 1.0), (9500, 0.0)):
        found = resampled(glide(frequency, frequency, 0.2, rate).astype(np.float32), rate, wanted)
        inside = slice(400, -400)  # the filter reaches over the ends elsewhere
        expected = height * glide(frequency, frequency, 0.2, wanted)
        np.testing.assert_allclose(found[inside], expected[inside], atol=0.01)


def test_the_same_rate_changes_nothing():
    assert resampled(NOISE, 8000, 8000) is NOISE


def by_the_formulas(samples, rate):
    """HTK's mel filter bank over power spectra, frame by frame, with sums written out."""
    window, hop = rate // 40, rate // 100
    size = 2 ** math.ceil(math.log2(window))
    hann = [0.5 - 0.5 * math.cos(2 * math.pi * n / window) for n in range(window)]
    left = (size - window) // 2
    weights = np.array([0.0] * left + hann + [0.0] * (size - window - left))
    sound = np.concatenate([np.zeros(size // 2), samples - samples.mean(), np.zeros(size // 2)])
    to_mel = lambda f: 2595 * math.log10(1 + f / 700)  # noqa: E731
    to_hertz = lambda m: 700 * (10 ** (m / 2595) - 1)  # noqa: E731
    count = n_bands(rate)
    step = (to_mel(rate / 2) - to_mel(20)) / (count + 1)
    edges = [to_hertz(to_mel(20) + step * i) for i in range(count + 2)]
    energies = []
    for first in range(0, len(samples) + 1, hop):
        power = np.abs(np.fft.rfft(sound[first : first + size] * weights)) ** 2
        row = []
        for low, middle, high in zip(edges, edges[1:], edges[2:], strict=False):
            total = 0.0
            for k, value in enumerate(power):
                f = k * rate / size
                if low < f <= middle:
                    total += value * (f - low) / (middle - low)
                elif middle < f < high:
                    total += value * (high - f) / (high - middle)
            row.append(total)
        energies.append(row)
    energies = np.array(energies)
    return np.log(np.maximum(energies, max(energies.max() * 1e-8, 1e-10)))


@pytest.mark.parametrize("rate", [4000, 8000, 11_025, 16_000])
def test_energies_follow_the_formulas(rate):
    samples = glide(100, 0.45 * rate, 0.15, rate).astype(np.float32)
    samples = 0.3 * samples + NOISE[: len(samples)] + np.float32(0.02)
    samples[: len(samples) // 4] = 0.02  # silence
    found, expected = log_mel(samples, rate), by_the_formulas(samples.astype(float), rate)
    assert found.shape == expected.shape == (1 + len(samples) // (rate // 100), n_bands(rate))
    # What is near the floor is the rounding of much larger numbers.
    heard = expected > expected.min() + 4
    np.testing.assert_allclose(found[heard], expected[heard], atol=1e-4, rtol=1e-4)
    assert heard.mean() > 0.5
    assert np.abs(found - expected)[~heard].max() < 0.3 if not heard.all() else True


def test_long_sounds_are_the_same_in_blocks(monkeypatch):
    from attn_cli.data import audio_features

    whole = log_mel(NOISE, 8000)
    monkeypatch.setattr(audio_features, "_FRAMES_AT_ONCE", 7)
    np.testing.assert_allclose(log_mel(NOISE, 8000), whole, rtol=1e-5, atol=1e-5)


def test_bands_are_fewer_where_rates_are_low():
    assert [n_bands(rate) for rate in (16_000, 44_100, 8000)] == [80, 80, 60]
    assert n_bands(4000) < 60
    for rate in (4000, 8000, 10_240, 11_025, 16_000, 22_050, 44_100, 48_000):
        tones = np.random.default_rng(2).normal(0, 1, rate).astype(np.float32)
        # No band is empty: white noise is in all of them.
        assert log_mel(tones, rate).std(0).min() > 0.01


def test_digital_silence_has_a_logarithm_and_does_not_outweigh_speech():
    silent = log_mel(np.zeros(4000, np.float32), 8000)
    assert np.isfinite(silent).all()
    assert not normalized(silent).any()
    sound = np.concatenate([np.zeros(2000), glide(500, 800, 0.5)]).astype(np.float32)
    features = log_mel(sound, 8000)
    assert np.isfinite(features).all()
    assert features.max() - features.min() <= 8 * math.log(10) + 1e-3


def test_loudness_and_an_offset_change_nothing():
    sound = np.concatenate([0.5 * glide(300, 900, 0.4), np.zeros(500)]).astype(np.float32)
    expected = normalized(log_mel(sound, 8000))
    np.testing.assert_allclose(normalized(log_mel(sound / 50, 8000)), expected, atol=2e-3)
    np.testing.assert_allclose(normalized(log_mel(sound + 0.2, 8000)), expected, atol=0.02)


def test_features_have_mean_0_and_deviation_1():
    features = np.random.default_rng(3).normal(5, 3, (50, 4)).astype(np.float32)
    features[:, 2] = 7
    found = normalized(features)
    np.testing.assert_allclose(found.mean(0), 0, atol=1e-5)
    np.testing.assert_allclose(found.std(0), [1, 1, 0, 1], atol=1e-5)
    assert not normalized(features[:1]).any()


def test_long_recordings_are_cut_where_it_is_quiet():
    features = np.full((1000, 3), 4.0, np.float32)
    for pause in (180, 420, 700):
        features[pause : pause + 30] = -4
    parts = cut_at_silence(features, 300)
    np.testing.assert_array_equal(np.concatenate(parts), features)
    ends = np.cumsum([len(part) for part in parts])
    assert all(any(pause < end < pause + 30 for pause in (180, 420, 700)) for end in ends[:3])
    assert max(map(len, parts)) <= 300
    assert len(cut_at_silence(features, 1000)) == 1
    assert [len(part) for part in cut_at_silence(features[:9], 4)] != []


@pytest.mark.parametrize("most", [4, 5, 40, 999])
def test_nothing_is_left_out_wherever_it_is_cut(most):
    features = np.random.default_rng(most).normal(0, 1, (1000, 2)).astype(np.float32)
    parts = cut_at_silence(features, most)
    np.testing.assert_array_equal(np.concatenate(parts), features)
    assert all(0 < len(part) <= most for part in parts)
