"""Sound files and matrices of features, hostile ones among them."""

from __future__ import annotations

import os
import struct
import sys
import types
import wave

import numpy as np
import pytest
import sounds

from attn_cli.config.audio import AudioConfig, AudioOptions, n_bands
from attn_cli.config.source import SourceConfig, SourceOptions
from attn_cli.data import audio
from attn_cli.data.audio import Recording, load, read_features
from attn_cli.data.audio_features import log_mel
from attn_cli.data.named_files import named_path
from attn_cli.data.resampling import resampled
from attn_cli.errors import DataError, UsageError
from attn_cli.systems.translation.audio_cache import AudioCache, AudioCacheWriter

TONE = sounds.glide(200, 2000, 0.25)


def test_a_recording_is_as_long_as_its_frames_in_fours():
    lengths = [len(Recording(np.zeros((frames, 2), np.float32))) for frames in (1, 4, 5, 8, 9)]
    assert lengths == [1, 1, 2, 2, 3]


@pytest.mark.parametrize("width", [1, 2, 3, 4])
def test_whole_numbers_of_any_width_are_the_same_sound(tmp_path, width):
    loaded = load(os.fsencode(sounds.write_wave(tmp_path / "a.wav", TONE, width=width)))
    assert (loaded.rate, loaded.values.dtype) == (sounds.RATE, np.float32)
    np.testing.assert_allclose(loaded.values, TONE, atol=2.0 ** (2 - 8 * min(width, 3)))


def test_channels_are_averaged(tmp_path):
    other = sounds.glide(500, 500, 0.25)
    path = sounds.write_wave(tmp_path / "a.wav", np.stack((TONE, other, -other), 1))
    np.testing.assert_allclose(load(os.fsencode(path)).values, TONE / 3, atol=1e-4)


def test_a_wave_of_unknown_length_is_read_to_its_end(tmp_path):
    """What writes to a pipe can't go back to say how much it was."""
    raw = sounds.write_wave(tmp_path / "a.wav", TONE).read_bytes()
    streamed = raw[:40] + struct.pack("<I", 0xFFFFFFFF) + raw[44:]
    (tmp_path / "b.wav").write_bytes(streamed)
    found = [load(os.fsencode(tmp_path / name)).values for name in ("a.wav", "b.wav")]
    np.testing.assert_array_equal(*found)


@pytest.mark.parametrize("kind", ["<f4", "<f8", ">f4", "<f2", "<i2", "|u1"])
@pytest.mark.parametrize("order", ["C", "F"])
def test_matrices_of_any_numbers_are_read_as_numpy_does(tmp_path, kind, order):
    values = np.random.default_rng(1).integers(0, 100, (7, 3)).astype(kind, order=order)
    np.save(tmp_path / "a.npy", values)
    found = read_features(os.fsencode(tmp_path / "a.npy"), 0, 3)
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, values.astype(np.float32))


def test_what_is_no_recording_is_named_and_never_waits(tmp_path):
    for name, cause in sounds.hostile(tmp_path).items():
        with pytest.raises(DataError, match=cause) as caught:
            load(named_path(name, str(tmp_path)))
        assert name in str(caught.value)


def test_numbers_that_are_not_finite_are_refused(tmp_path):
    for value in (np.nan, np.inf, 1e300):  # which is too large for what is computed with
        np.save(tmp_path / "a.npy", np.array([[1.0, value]]))
        with pytest.raises(DataError, match="not finite"):
            load(os.fsencode(tmp_path / "a.npy"))


def test_a_pickle_is_never_opened(tmp_path):
    class Loud:
        def __reduce__(self):
            return print, ("opened",)

    np.save(tmp_path / "a.npy", np.array([[Loud()]], object), allow_pickle=True)
    with pytest.raises(DataError, match="a matrix of numbers is needed"):
        load(os.fsencode(tmp_path / "a.npy"))


def test_files_must_be_what_the_model_reads(tmp_path):
    sound = os.fsencode(sounds.write_wave(tmp_path / "a.wav", TONE))
    np.save(tmp_path / "b.npy", np.zeros((9, 13), np.float32))
    matrix = os.fsencode(tmp_path / "b.npy")
    with pytest.raises(DataError, match=r"a\.wav.*a sound, but 13 features a frame"):
        read_features(sound, 0, 13)
    with pytest.raises(DataError, match=r"b\.npy.*a matrix of features, but sound files"):
        read_features(matrix, 8000, 60)
    with pytest.raises(DataError, match="13 features a frame, but 40 are read here"):
        read_features(matrix, 0, 40)


def test_any_mistake_of_a_decoder_is_the_files(tmp_path):
    """Bytes flipped at random never raise anything else."""
    random = np.random.default_rng(7)
    np.save(tmp_path / "a.npy", np.zeros((9, 13), np.float32))
    sounds.write_wave(tmp_path / "a.wav", TONE)
    for name in ("a.npy", "a.wav"):
        whole = np.frombuffer((tmp_path / name).read_bytes(), np.uint8)
        for _ in range(150):
            damaged = whole.copy()
            at = random.integers(0, 80, 3)
            damaged[at] = random.integers(0, 256, 3)
            (tmp_path / name).write_bytes(damaged.tobytes())
            try:
                assert np.isfinite(load(os.fsencode(tmp_path / name)).values).all()
            except DataError as error:
                assert name in str(error)
            except UsageError as error:  # what soundfile would read
                assert "soundfile" in str(error)


def test_limits_come_before_decoding(tmp_path, monkeypatch):
    path = os.fsencode(sounds.write_wave(tmp_path / "a.wav", TONE))
    monkeypatch.setattr(audio, "SAMPLE_LIMIT", len(TONE) - 1)
    with pytest.raises(DataError, match="more than 1,999 numbers; cut it up"):
        load(path)
    monkeypatch.setattr(audio, "_BYTE_LIMIT", 10)
    with pytest.raises(DataError, match="larger than"):
        load(path)


def test_without_soundfile_the_remedy_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "soundfile", None)
    (tmp_path / "a.flac").write_bytes(b"fLaC" + bytes(100))
    raw = sounds.write_wave(tmp_path / "a.wav", TONE).read_bytes()
    (tmp_path / "f.wav").write_bytes(raw[:20] + b"\x03\0" + raw[22:])  # its samples are floats
    for name in ("a.flac", "f.wav"):
        with pytest.raises(UsageError, match=r"pip install '\.\[audio\]'"):
            load(os.fsencode(tmp_path / name))


class _Waves:
    """A stand-in for `soundfile.SoundFile` that reads WAV files behind four letters."""

    def __init__(self, file):
        file.read(4)
        raw = wave.open(file, "rb")  # noqa: SIM115
        self.samplerate, self._channels = raw.getframerate(), raw.getnchannels()
        numbers = np.frombuffer(raw.readframes(1 << 20), "<i2").reshape(-1, self._channels)
        self._samples = (numbers / 32768).astype(np.float32)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        return None

    def blocks(self, size, *, dtype, always_2d):
        assert (dtype, always_2d) == ("float32", True)
        for at in range(0, len(self._samples), 100):
            yield self._samples[at : at + 100]


def test_other_sounds_come_from_soundfile_block_by_block(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "soundfile", types.SimpleNamespace(SoundFile=_Waves))
    both = np.stack((TONE, TONE / 2), 1)
    raw = sounds.write_wave(tmp_path / "a.wav", both).read_bytes()
    (tmp_path / "a.flac").write_bytes(b"fLaC" + raw)
    loaded = load(os.fsencode(tmp_path / "a.flac"))
    np.testing.assert_array_equal(loaded.values, load(os.fsencode(tmp_path / "a.wav")).values)
    (tmp_path / "b.flac").write_bytes(b"fLaC" + raw[:30])
    with pytest.raises(DataError, match="damaged"):
        load(os.fsencode(tmp_path / "b.flac"))
    monkeypatch.setattr(audio, "SAMPLE_LIMIT", 2 * len(TONE) - 1)
    with pytest.raises(DataError, match="cut it up"):
        load(os.fsencode(tmp_path / "a.flac"))


@pytest.mark.parametrize("rate", [8000, 22_050, 44_100])
@pytest.mark.parametrize("kind", ["FLAC", "OGG", "MP3", "AIFF", "NIST", "WAV"])
def test_soundfile_reads_what_it_wrote(tmp_path, kind, rate):
    """A tone keeps its length and its pitch."""
    soundfile = pytest.importorskip("soundfile")
    path = tmp_path / f"a.{kind.lower()}"
    subtype = "FLOAT" if kind == "WAV" else None
    tone = 0.5 * sounds.glide(1000, 1000, 0.5, rate)
    soundfile.write(path, np.stack((tone, tone), 1), rate, format=kind, subtype=subtype)
    loaded = load(os.fsencode(path))
    assert loaded.rate == rate
    if kind in ("FLAC", "AIFF", "NIST", "WAV"):  # without loss
        np.testing.assert_allclose(loaded.values, tone, atol=1e-4)
    assert abs(len(loaded.values) - len(tone)) < 2500
    spectrum = np.abs(np.fft.rfft(loaded.values))
    assert spectrum.argmax() * rate / len(loaded.values) == pytest.approx(1000, abs=10)


@pytest.mark.parametrize("kind", ["FLAC", "OGG", "MP3"])
def test_cut_off_sounds_are_named(tmp_path, kind):
    """What is left of one may still be a sound, and never ends the run otherwise."""
    soundfile = pytest.importorskip("soundfile")
    path = tmp_path / f"a.{kind.lower()}"
    soundfile.write(path, 0.5 * TONE, sounds.RATE, format=kind)
    raw = path.read_bytes()
    for size in (4, 20, 60, len(raw) // 2, len(raw) - 3):
        path.write_bytes(raw[:size])
        try:
            assert len(load(os.fsencode(path)).values) <= len(TONE) + 2500
        except DataError as error:
            assert path.name in str(error)
    path.write_bytes(raw[:4] + bytes(300))
    with pytest.raises(DataError, match=f"{path.name}.*(damaged|no sound|known)"):
        load(os.fsencode(path))


def write_cache(folder, names, **changes):
    options = {"rate": None, "n_features": 0, "root": None, "max_seconds": 30.0, **changes}
    writer = AudioCacheWriter(folder / "work", "train", **options)
    problems = [writer.problem(name, str(folder)) for name in names]
    writer.finish()
    return AudioCache(folder / "work", "train"), problems


def test_the_cache_has_each_recording_once(tmp_path):
    for number in range(3):
        sounds.write_wave(tmp_path / f"{number}.wav", sounds.glide(300, 900, 0.1 * (number + 1)))
    names = ["0.wav", "1.wav", "0.wav", "none.wav", "2.wav", "none.wav"]
    cache, problems = write_cache(tmp_path, names)
    assert (cache.rate, cache.n_features) == (8000, n_bands(8000))
    assert [problem is None for problem in problems] == [True, True, True, False, True, False]
    assert problems[3] == problems[5]
    assert cache.numbers.tolist() == [0, 1, 0, 2]
    found = cache.recordings(np.arange(4))
    assert [len(one.features) for one in found] == [11, 21, 11, 31]
    assert (cache.longest, cache.frames) == (31, 21)
    path = os.fsencode(tmp_path / "1.wav")
    np.testing.assert_array_equal(found[1].features, read_features(path, 8000, n_bands(8000)))
    assert (tmp_path / "work" / "train.audio").stat().st_size == 4 * 63 * n_bands(8000)


def test_the_cache_has_sounds_at_other_speeds_beside(tmp_path):
    """A tone that is played a tenth faster is a tenth higher, and shorter."""
    for number, tone in enumerate((600, 900)):
        sounds.write_wave(tmp_path / f"{number}.wav", sounds.glide(tone, tone, 0.9))
    names = ["0.wav", "1.wav", "0.wav"]
    cache, _ = write_cache(tmp_path, names, speed_change=0.1)
    plain, _ = write_cache(tmp_path / "plain", [str(tmp_path / name) for name in names])
    for kept, found in zip(plain.recordings(np.arange(3)), cache.varied(np.arange(3)), strict=True):
        np.testing.assert_array_equal(found.features, kept.features)
        assert [len(one.features) for one in found.others] == [101, 82]
        lower, higher = (one.features.mean(0).argmax() for one in found.others)
        assert lower < kept.features.mean(0).argmax() < higher
    np.testing.assert_array_equal(
        cache.recordings(np.array([1]))[0].features, plain.recordings(np.array([1]))[0].features
    )
    assert (cache.longest, cache.slowest, plain.slowest) == (91, 90, 100)
    played = resampled(load(os.fsencode(tmp_path / "1.wav")).values, 110, 100)
    expected = log_mel(played, sounds.RATE)
    np.testing.assert_array_equal(cache.varied(np.array([1]))[0].others[1].features, expected)


def test_features_follow_one_another_faster_and_slower(tmp_path):
    """What is between two frames is found in a straight line (`numpy.interp`)."""
    matrix = np.random.default_rng(1).normal(size=(50, 3)).astype(np.float32)
    np.save(tmp_path / "m.npy", matrix)
    cache, _ = write_cache(tmp_path, ["m.npy"], speed_change=0.2)
    (found,) = cache.varied(np.arange(1))
    np.testing.assert_array_equal(found.features, matrix)
    for percent, other in zip((80, 120), found.others, strict=True):
        at = np.arange(-(-5000 // percent)) * percent / 100
        expected = np.stack([np.interp(at, np.arange(50), column) for column in matrix.T], 1)
        np.testing.assert_allclose(other.features, expected, rtol=0, atol=1e-5)


def test_the_first_recording_decides_the_rate(tmp_path):
    for name, rate in (("high.wav", 44_100), ("low.wav", 2000), ("usual.wav", 8000)):
        sounds.write_wave(tmp_path / name, sounds.glide(300, 500, 0.2, rate), rate)
    rates = {"high.wav": 16_000, "low.wav": 4000, "usual.wav": 8000}
    for name, rate in rates.items():
        cache, problems = write_cache(tmp_path, [name, *rates])
        assert (cache.rate, problems) == (rate, [None] * 4)
        assert {len(one.features) for one in cache.recordings(np.arange(4))} == {21}
    assert write_cache(tmp_path, ["low.wav"], rate=11_025)[0].rate == 11_025
    np.save(tmp_path / "m.npy", np.ones((5, 13)))
    cache, problems = write_cache(tmp_path, ["m.npy", "usual.wav"])
    assert (cache.rate, cache.n_features) == (0, 13)
    assert "a sound, but 13 features" in str(problems[1])


def test_recordings_that_are_too_long_are_named(tmp_path):
    sounds.write_wave(tmp_path / "a.wav", sounds.glide(300, 500, 0.6))
    sounds.write_wave(tmp_path / "b.wav", TONE)
    _, (problem, none) = write_cache(tmp_path, ["a.wav", "b.wav"], max_seconds=0.5)
    assert none is None
    assert "a.wav" in str(problem) and "0.6 seconds, but --max-seconds is 0.5" in str(problem)


def test_the_cache_knows_when_recordings_have_changed(tmp_path):
    sounds.write_wave(tmp_path / "a.wav", TONE)
    before = write_cache(tmp_path, ["a.wav"])[0].fingerprint
    assert write_cache(tmp_path, ["a.wav"])[0].fingerprint == before
    sounds.write_wave(tmp_path / "a.wav", TONE[::-1])
    assert write_cache(tmp_path, ["a.wav"])[0].fingerprint != before


def test_a_damaged_cache_is_named(tmp_path):
    sounds.write_wave(tmp_path / "a.wav", TONE)
    write_cache(tmp_path, ["a.wav"])
    (tmp_path / "work" / "train.audio").write_bytes(bytes(8))
    with pytest.raises(DataError, match="damaged; remove the folder"):
        AudioCache(tmp_path / "work", "train")


def test_options_that_contradict_are_refused():
    with pytest.raises(ValueError, match="--ctc-weight without --source audio"):
        SourceOptions(ctc_weight=0.5)
    with pytest.raises(ValueError, match="--region-size without --source image"):
        SourceOptions(source="audio", region_size=8)
    with pytest.raises(ValueError, match="--image-root without --source image or audio"):
        SourceOptions(image_root="x")
    with pytest.raises(ValueError, match="--time-mask-share 0 hides nothing: --time-masks 0"):
        AudioOptions(time_mask_share=0.0).check_audio()
    with pytest.raises(ValueError, match="--band-mask-share 0 hides nothing: --band-masks 0"):
        SourceOptions(source="audio", band_mask_share=0.0)
    SourceOptions(source="audio", band_masks=0, band_mask_share=0.0)


def test_saved_models_of_recordings_are_checked():
    SourceConfig(source="audio", n_features=13).check_source(0, share_embeddings=False)
    good = AudioConfig(sample_rate=8000, n_features=n_bands(8000))
    good.check_audio()
    for bad in (
        AudioConfig(),
        AudioConfig(sample_rate=8000, n_features=80),
        AudioConfig(sample_rate=100, n_features=1),
    ):
        with pytest.raises(ValueError):  # noqa: PT011 - three different messages
            bad.check_audio()
    with pytest.raises(ValueError, match="a source of recordings has no vocabulary"):
        SourceConfig(source="audio", n_features=13).check_source(7, share_embeddings=False)
