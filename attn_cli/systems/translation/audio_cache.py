"""Recordings of a training corpus, read once: frames in a memory-mapped file beside the model.

Shapes: n recordings, v speeds of each, r rows of the corpus, T frames of all of them, F features.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from attn_cli.config.audio import LOWEST_RATE, n_bands
from attn_cli.data.audio import Loaded, Recording, load
from attn_cli.data.named_files import shown_path
from attn_cli.errors import DataError
from attn_cli.systems.translation.file_cache import FileCacheWriter

_USUAL_RATE = 16_000  # speech has little above 8 kHz
# Of the files with the frames, with the end of each recording among them, with that of each row.
_ENDINGS = "audio", "audio-ends", "audio-numbers"


class AudioCache:
    """What `AudioCacheWriter` wrote.

    Attributes:
        rate: samples a second to which recordings were resampled; 0: features came from files.
        n_features: F.
        numbers: the recording of each row of the corpus. Shape: (r,).
        longest: frames of the longest recording.
        slowest: how fast recordings are at their slowest, in percent.
        fingerprint: follows from what is in every file, its place, and what is made of it.
    """

    def __init__(self, folder: Path, name: str) -> None:
        meta = json.loads((folder / f"{name}.audio.json").read_text("utf-8"))
        self.rate: int = meta["rate"]
        self.n_features: int = meta["n_features"]
        self.longest: int = meta["longest"]
        self.fingerprint: str = meta["fingerprint"]
        shape = (meta["frames"], self.n_features)
        path, ends, numbers = (folder / f"{name}.{ending}" for ending in _ENDINGS)
        self.slowest: int = min(meta["percents"])
        self._n_speeds = len(meta["percents"])
        count = meta["recordings"] * self._n_speeds
        sizes = (4 * shape[0] * shape[1], 8 * count, 8 * meta["rows"])
        if tuple(each.stat().st_size for each in (path, ends, numbers)) != sizes:
            raise DataError(f"{path}: damaged; remove the folder {folder} and start again")
        self._frames = np.memmap(path, np.float32, "r", shape=shape)
        self._ends = np.memmap(ends, np.int64, "r")
        self.numbers = np.memmap(numbers, np.int64, "r")

    @property
    def frames(self) -> int:
        """Of a recording in the mean."""
        return -(-len(self._frames) // len(self._ends))

    def recordings(self, rows: NDArray[np.int64]) -> list[Recording]:
        """The recordings of rows of the corpus. Shape: rows (M,)."""
        return [self._recording(place) for place in self._places(rows)]

    def varied(self, rows: NDArray[np.int64]) -> list[Recording]:
        """The same, each with what it is at other speeds. Shape: rows (M,)."""
        return [
            Recording(
                self._recording(first).features,
                tuple(map(self._recording, range(first + 1, first + self._n_speeds))),
            )
            for first in self._places(rows)
        ]

    def _places(self, rows: NDArray[np.int64]) -> list[int]:
        """Where the recordings of rows stand among those of all speeds."""
        places: list[int] = (self.numbers[rows] * self._n_speeds).tolist()
        return places

    def _recording(self, place: int) -> Recording:
        begin = int(self._ends[place - 1]) if place else 0
        return Recording(np.asarray(self._frames[begin : int(self._ends[place])]))


class AudioCacheWriter(FileCacheWriter):
    """Reads the recordings of a corpus while its lines are checked.

    Args:
        folder: where the frames go.
        name: the corpus's name there.
        rate: samples a second of a model; 0: it reads features; None: as the first one is.
        n_features: of a frame; 0: as the first one has, or as the rate has bands.
        root: where relative paths start; None: at the folder of the file that names them.
        max_seconds: longer recordings can't be used.
        speed_change: how much slower and faster recordings are kept, too.
    """

    def __init__(
        self,
        folder: Path,
        name: str,
        *,
        rate: int | None,
        n_features: int,
        root: str | None,
        max_seconds: float,
        speed_change: float = 0.0,
    ) -> None:
        super().__init__(folder, name, _ENDINGS, root)
        self._rate, self._n_features = rate, n_features
        self._max_seconds = max_seconds
        percent = round(100 * speed_change)
        self._percents = [100, 100 - percent, 100 + percent] if percent else [100]
        self._count = self._frames = self._longest = 0

    def finish(self) -> None:
        """See `FileCacheWriter`."""
        self._digest.update(np.array([self._rate or 0, self._n_features], np.int64).tobytes())
        self._describe(
            {
                "recordings": self._count,
                "percents": self._percents,
                "frames": self._frames,
                "longest": self._longest,
                "rate": self._rate or 0,
                "n_features": self._n_features,
            }
        )

    def _added(self, path: bytes) -> int:
        """The number of a recording, whose frames are written.

        Raises:
            DataError: it can't be read, is another kind of file than the first, or too long.
        """
        loaded = load(path)
        rate, n_features = self._rate, self._n_features
        if rate is None or not n_features:
            rate, n_features = self._decided(loaded)
        try:
            recording = Recording(loaded.features(rate, n_features))
            if recording.seconds > self._max_seconds:
                seconds = f"{recording.seconds:.1f} seconds"
                raise DataError(f"{seconds}, but --max-seconds is {self._max_seconds:g}")
        except DataError as error:
            raise DataError(f"{shown_path(path)}: {error}") from error
        self._rate, self._n_features = rate, n_features
        # Of what is in the file: how energies are rounded depends on the machine.
        self._digest.update(np.array([loaded.rate, *loaded.values.shape], np.int64).tobytes())
        self._digest.update(loaded.values.tobytes())
        self._longest = max(self._longest, len(recording.features))
        others = (loaded.features(rate, n_features, percent) for percent in self._percents[1:])
        for features in (recording.features, *others):
            self._write(0, features.tobytes())
            self._frames += len(features)
            self._write(1, np.int64(self._frames).tobytes())
        self._count += 1
        return self._count - 1

    def _decided(self, first: Loaded) -> tuple[int, int]:
        """The rate and the features of a frame that suit the first recording."""
        rate = self._rate
        if rate is None:
            rate = min(max(first.rate, LOWEST_RATE), _USUAL_RATE) if first.rate else 0
        return rate, n_bands(rate) if rate else max(1, first.n_features)
