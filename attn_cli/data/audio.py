"""Sound files and matrices of features -> frames. Files are strangers: what is wrong is an error.

Shapes: n samples, T frames, F features.
"""

from __future__ import annotations

import io
import os
import wave
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from attn_cli.config.audio import FRAMES_A_POSITION, FRAMES_A_SECOND, MOST_FEATURES
from attn_cli.data.audio_features import Features, log_mel
from attn_cli.data.named_files import regular_file, shown_path
from attn_cli.data.resampling import Samples, resampled
from attn_cli.errors import DataError, UsageError
from attn_cli.wording import plural

SAMPLE_LIMIT = 1 << 27  # 134 million numbers: more than two hours at 16 kHz
_BYTE_LIMIT = 1 << 30
_RATES = 1000, 192_000
_BLOCK = 1 << 18
_HEARD_RATE = 16_000  # more makes pages larger, and speech no clearer
_STREAMED = 0x7FFF0000  # bytes that the head of a WAV claims if its length was not known
_MATRIX, _WAVE = b"\x93NUMPY", (b"RIFF", b"WAVE")
# How files begin that soundfile reads: FLAC, Ogg, AIFF, AU, SPHERE; MP3 with a tag, or with a frame
# of MPEG 1, 2 or 2.5 (low rates).
_BEGINNINGS = (
    *(b"fLaC", b"OggS", b"FORM", b".snd", b"NIST_1A", b"ID3"),
    *(bytes((255, second)) for second in (0xFA, 0xFB, 0xF2, 0xF3, 0xE2, 0xE3)),
)
_OTHER_WAVES = (b"RF64", b"RIFX", b"FFIR")


@dataclass(frozen=True)
class Recording:
    """A recording as frames.

    Attributes:
        features: of each frame. Shape: (T, F).
        others: the same, slower and faster.
        path: of the file that it was read from, if it is known.
        first: the frame of the file with which it begins, of a part of a long one.
    """

    features: Features
    others: tuple[Recording, ...] = ()
    path: bytes | None = None
    first: int = 0

    @property
    def begins(self) -> float:
        """The second of its file with which it begins."""
        return self.first / FRAMES_A_SECOND

    @property
    def seconds(self) -> float:
        """How long it is."""
        return len(self.features) / FRAMES_A_SECOND

    def __len__(self) -> int:
        """The vectors that a model makes of it: one for four frames, the last ones filled up."""
        return -(-len(self.features) // FRAMES_A_POSITION)


@dataclass(frozen=True)
class Loaded:
    """What is in a file.

    Attributes:
        values: samples of one channel, from -1 to 1, (n,), or features of frames, (T, F).
        rate: samples a second; 0: these are features.
    """

    values: NDArray[np.float32]
    rate: int

    @property
    def n_features(self) -> int:
        """Numbers of a frame; 0 of samples."""
        return 0 if self.rate else self.values.shape[1]

    def features(self, rate: int, n_features: int, percent: int = 100) -> Features:
        """The frames, as a model reads them.

        Args:
            rate: samples a second of what it reads; 0: it reads features.
            n_features: of a frame.
            percent: how fast it is: a sound's pitch changes with it (Ko et al. 2015), features
                stay what they are and follow one another faster.

        Raises:
            DataError: these are features and samples are wanted, say.
        """
        if self.rate and not rate:
            raise DataError(f"a sound, but {n_features} features a frame (.npy) are read here")
        if self.rate:
            samples = resampled(self.values, self.rate, rate)
            return log_mel(resampled(samples, percent, 100), rate)
        if rate:
            raise DataError("a matrix of features, but sound files are read here")
        if self.n_features != n_features:
            raise DataError(f"{self.n_features} features a frame, but {n_features} are read here")
        return _at_speed(self.values, percent)


def load(path: bytes) -> Loaded:
    """What is in a sound file, or in an .npy file of features; what it is, its beginning says.

    WAV files of whole numbers are read as they are, other sounds by soundfile. Channels are
    averaged.

    Raises:
        DataError: it is missing, neither of them, damaged, empty or too large.
        UsageError: soundfile is needed and not installed.
    """
    with regular_file(path, "a recording", _BYTE_LIMIT) as file:
        try:
            loaded = _read(file)
            if not np.isfinite(loaded.values).all():
                raise DataError("holds numbers that are not finite")
        except DataError as error:
            raise DataError(f"{shown_path(path)}: {error}") from error
        except UsageError:
            raise
        except Exception as error:  # decoders raise nearly every kind of exception
            cause = " ".join(str(error).split())[:120] or type(error).__name__
            raise DataError(f"{shown_path(path)}: damaged: {cause}") from error
        return loaded


def _at_speed(features: Features, percent: int) -> Features:
    """What lies between the frames, in straight lines. Shape: (T, F) -> (⌈100 T / percent⌉, F)."""
    if percent == 100:
        return features
    last = len(features) - 1
    at = np.minimum(np.arange(-(-100 * len(features) // percent)) * (percent / 100), last)
    before = at.astype(np.int64)
    share = (at - before).astype(np.float32)[:, None]
    after = np.minimum(before + 1, last)
    found: Features = features[before] * (1 - share) + features[after] * share
    return found


def read_features(path: bytes, rate: int, n_features: int) -> Features:
    """The frames of a file; see `load` and `Loaded.features`. Shape: (T, F)."""
    loaded = load(path)
    try:
        return loaded.features(rate, n_features)
    except DataError as error:
        raise DataError(f"{shown_path(path)}: {error}") from error


def _read(file: BinaryIO) -> Loaded:
    head = file.read(12)
    file.seek(0)
    if not head:
        raise DataError("an empty file")
    if head.startswith(_MATRIX):
        return Loaded(_matrix(file), 0)
    if (head[:4], head[8:]) == _WAVE:
        return _wave(file)
    if head.startswith((*_BEGINNINGS, *_OTHER_WAVES)):
        return _by_soundfile(file)
    raise DataError("no recording that is known: WAV, FLAC, OGG, MP3, or features in .npy")


def _matrix(file: BinaryIO) -> Features:
    """The matrix of an .npy file, of which nothing but plain numbers is read."""
    version = np.lib.format.read_magic(file)
    if version == (1, 0):
        shape, by_column, dtype = np.lib.format.read_array_header_1_0(file)
    elif version == (2, 0):
        shape, by_column, dtype = np.lib.format.read_array_header_2_0(file)
    else:
        raise DataError(f"a version of .npy that is not known: {version[0]}.{version[1]}")
    if len(shape) != 2 or dtype.kind not in "fiu":
        raise DataError(
            f"an array of shape {shape} and type {dtype}; a matrix of numbers is needed, frames x "
            "features"
        )
    if min(shape) < 1 or shape[1] > MOST_FEATURES:
        raise DataError(f"{shape[0]:,} frames of {shape[1]:,} features")
    _check_size(shape[0] * shape[1])
    raw = file.read(shape[0] * shape[1] * dtype.itemsize)
    if len(raw) < shape[0] * shape[1] * dtype.itemsize:
        raise DataError(f"damaged: cut off, as it says it has {shape[0]:,} frames")
    values = np.frombuffer(raw, dtype).reshape(shape, order="F" if by_column else "C")
    with np.errstate(over="ignore"):  # what is too large is not finite then
        found: Features = np.ascontiguousarray(values, np.float32)
    return found


def _wave(file: BinaryIO) -> Loaded:
    """The samples of a WAV file; by soundfile if they are no whole numbers."""
    try:
        sound = wave.open(file, "rb")  # noqa: SIM115 - closed with its file
    except wave.Error as error:
        if "unknown format" in str(error):
            file.seek(0)
            return _by_soundfile(file)
        raise DataError(f"damaged: {error}") from error
    except EOFError as error:
        raise DataError("damaged: cut off before its samples") from error
    channels, width, rate, claimed = sound.getparams()[:4]
    _check_rate(rate)
    size = channels * width
    here = os.fstat(file.fileno()).st_size // size  # no more are asked for than there can be
    raw = sound.readframes(min(claimed, here))
    count = len(raw) // size
    if count < claimed and claimed * size < _STREAMED:
        raise DataError(f"damaged: cut off after {count:,} of {claimed:,} samples")
    _check_size(count * channels)
    samples = _whole_numbers(raw[: count * size], width).reshape(-1, channels)
    return _sound([samples.mean(1)], rate)


def _whole_numbers(raw: bytes, width: int) -> Samples:
    """Samples of a WAV file, from -1 to 1."""
    if width == 1:
        return (np.frombuffer(raw, np.uint8).astype(np.float32) - 128.0) / 128.0
    if width == 3:
        wide = np.zeros((len(raw) // 3, 4), np.uint8)
        wide[:, 1:] = np.frombuffer(raw, np.uint8).reshape(-1, 3)
        raw, width = wide.tobytes(), 4
    values = np.frombuffer(raw, f"<i{width}").astype(np.float32)
    return values / float(1 << (8 * width - 1))


def _by_soundfile(file: BinaryIO) -> Loaded:
    try:
        import soundfile
    except (ImportError, OSError) as error:  # or the library that it is about
        raise UsageError(
            "recordings other than plain WAV need soundfile: pip install '.[audio]' beside attn's "
            "pyproject.toml"
        ) from error

    def blocks(sound: soundfile.SoundFile) -> Iterator[Samples]:
        count = 0
        for block in sound.blocks(_BLOCK, dtype="float32", always_2d=True):
            count += block.size
            _check_size(count)
            with np.errstate(invalid="ignore"):  # of what is damaged: `load` finds it
                mean = block.mean(1)
            yield mean

    with soundfile.SoundFile(file) as sound:
        _check_rate(sound.samplerate)
        return _sound(list(blocks(sound)), sound.samplerate)


def _sound(blocks: list[Samples], rate: int) -> Loaded:
    samples = np.concatenate(blocks) if blocks else np.zeros(0, np.float32)
    if not len(samples):
        raise DataError("no sound in it")
    return Loaded(samples.astype(np.float32, copy=False), rate)


def _check_rate(rate: int) -> None:
    if not _RATES[0] <= rate <= _RATES[1]:
        raise DataError(f"{rate:,} samples a second; {_RATES[0]:,} to {_RATES[1]:,} can be read")


def _check_size(count: int) -> None:
    if count > SAMPLE_LIMIT:
        raise DataError(f"more than {plural(SAMPLE_LIMIT, 'number')}; cut it up")


def as_wave(recording: Recording) -> bytes | None:
    """What is heard of a recording, as a WAV file of one channel of 16 bits; at most 16 kHz.

    None where its file is of features, or not there any more.
    """
    try:
        loaded = load(recording.path) if recording.path else None
    except DataError:
        return None
    if loaded is None or not loaded.rate:
        return None
    rate = min(loaded.rate, _HEARD_RATE)
    begin = int(recording.begins * loaded.rate)
    end = begin + int(recording.seconds * loaded.rate)
    samples = resampled(loaded.values[begin:end], loaded.rate, rate)
    out = io.BytesIO()
    with wave.open(out, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes((samples.clip(-1.0, 1.0) * 32767.0).round().astype("<i2").tobytes())
    return out.getvalue()
