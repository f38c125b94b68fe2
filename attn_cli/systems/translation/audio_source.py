"""Recordings as sources: the files that lines name, as frames.

Shapes: B batch, T = 4 S frames, S positions, F features.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from itertools import accumulate
from pathlib import Path
from typing import ClassVar, Self

import numpy as np
import torch
from torch import Tensor

from attn_cli.config.audio import BAND_MASKS, FRAMES_A_POSITION, FRAMES_A_SECOND
from attn_cli.config.source import SourceConfig, SourceOptions
from attn_cli.data.audio import Recording, read_features
from attn_cli.data.audio_features import cut_at_silence, normalized
from attn_cli.data.corpus import Corpus
from attn_cli.data.named_files import named_path
from attn_cli.data.split import RowNumbers
from attn_cli.errors import DataError
from attn_cli.nn.ctc import positions_needed
from attn_cli.systems.recipe import TRAIN
from attn_cli.systems.translation.audio_cache import AudioCache, AudioCacheWriter
from attn_cli.systems.translation.file_source import FileSources
from attn_cli.systems.translation.source_base import Config, Contents, Side
from attn_cli.tokenizers.tokenizer import Tokenizer
from attn_cli.viz.maps import Axis
from attn_cli.wording import plural

_HELD_BYTES = 1 << 28  # of the recordings that are held at once
_ALLOWANCE = 1.25  # of the longest one that was learnt: recordings so long are read whole
_ROWS_AT_ONCE = 1000
_MANY = 100_000  # recordings, from which pieces longer than a character are learnt


class AudioSide(Side[Recording, Recording]):
    """Recordings of one rate as frames, four of which make a position.

    Args:
        rate: samples a second; 0: files hold features.
        n_features: F.
        seconds: of the longest recording that the model learnt.
    """

    reads_files: ClassVar[bool] = True
    positions_a_second: ClassVar[float | None] = FRAMES_A_SECOND / FRAMES_A_POSITION
    limit_flag: ClassVar[str] = "--max-seconds"
    vocab_size = 0
    longest: int

    def __init__(self, rate: int, n_features: int, seconds: float) -> None:
        self._rate, self._n_features = rate, n_features
        self.longest = self.positions_in(_ALLOWANCE * seconds)
        self.n_bytes = 4 * n_features * int(seconds * FRAMES_A_SECOND)
        self.most_lines = max(1, _HELD_BYTES // max(1, self.n_bytes))

    @staticmethod
    def positions_in(seconds: float) -> int:
        """Whole positions, one at least."""
        return max(1, int(seconds * FRAMES_A_SECOND / FRAMES_A_POSITION))

    @classmethod
    def of(cls, config: SourceConfig, tokenizer: Tokenizer | None = None) -> Self:
        """What a model of this configuration reads."""
        return cls(config.sample_rate, config.n_features, config.trained_seconds)

    def read(self, text: str, folder: str) -> Recording:
        """The recording that the line names."""
        if not text.strip():
            raise DataError("no recording is named")
        path = named_path(text, folder)
        return Recording(read_features(path, self._rate, self._n_features), path=path)

    def pieces(self, content: Recording, limit: int) -> list[Recording]:
        """Cut where it is quietest (see `audio_features.cut_at_silence`)."""
        parts = cut_at_silence(content.features, FRAMES_A_POSITION * limit)
        firsts = accumulate(map(len, parts[:-1]), initial=content.first)
        return [
            Recording(part, path=content.path, first=first)
            for part, first in zip(parts, firsts, strict=True)
        ]

    def parts(self, text: str, limit: int) -> list[str]:
        """The name of a file is one part."""
        return [text]

    def encode(self, contents: Sequence[Recording]) -> list[Recording]:
        """The recordings, each normalized by itself."""
        return [
            dataclasses.replace(content, features=normalized(content.features))
            for content in contents
        ]

    def learnt(
        self, contents: Sequence[Recording], limit: int, alpha: float, seed: int
    ) -> tuple[list[Recording], list[int]]:
        """Each as it is, or at another speed; what is hidden of it, the model hides."""
        rng = np.random.default_rng(seed)
        chosen = [
            (content, *content.others)[rng.integers(1 + len(content.others))]
            for content in contents
        ]
        return self.encode(chosen), []

    def collate(self, items: Sequence[Recording]) -> tuple[Tensor, Tensor]:
        """Frames, zeros behind the last one, and positions. Shape: (B, T, F), (B, S)."""
        lengths = torch.tensor([len(item) for item in items])
        width = int(lengths.max())
        frames = np.zeros((len(items), FRAMES_A_POSITION * width, self._n_features), np.float32)
        for row, item in zip(frames, items, strict=True):
            row[: len(item.features)] = item.features
        return torch.from_numpy(frames), torch.arange(width) < lengths[:, None]

    def words(self, item: Recording) -> list[int]:
        """The positions' numbers."""
        return list(range(len(item)))

    def axis(self, item: Recording, text: str) -> Axis:
        """Positions are named by the second at which they begin."""
        step = FRAMES_A_POSITION / FRAMES_A_SECOND
        labels = (f"{item.begins + step * number:.2f}" for number in range(len(item)))
        return Axis(tuple(labels), sound=item)

    @property
    def blank(self) -> Recording:
        """Silence for one position."""
        return Recording(np.zeros((FRAMES_A_POSITION, self._n_features), np.float32))

    @property
    def fingerprint(self) -> bytes:
        """Rate and features."""
        return repr((self._rate, self._n_features)).encode()


# --arch -> what suits recordings better than the preset. Their frames say little each; a decoder
# that is to go through them in order must know where each stands, not its distance to others.
_FOR_AUDIO: Mapping[str, Mapping[str, object]] = {
    "rnn": {"n_encoder_layers": 3},
    "transformer": {"positions": "sinusoidal"},
}


class AudioSources(FileSources):
    """Recordings, read once into the work folder."""

    no_pair: ClassVar[str] = "lines are recording<TAB>transcript"

    def __init__(
        self, options: SourceOptions, work: Path, like: SourceConfig | None, *, share_vocab: bool
    ) -> None:
        super().__init__(options, work, like, share_vocab=share_vocab)
        self._reads = (like.sample_rate, like.n_features) if like else (options.sample_rate, 0)

    def _writer(self, name: str) -> AudioCacheWriter:
        rate, n_features = self._reads
        if name != TRAIN:
            cache = self._cache(TRAIN)
            rate, n_features = cache.rate, cache.n_features
        return AudioCacheWriter(
            self._work,
            name,
            rate=rate,
            n_features=n_features,
            root=self._options.image_root,
            max_seconds=self._options.max_seconds,
            speed_change=self._options.speed_perturbation if name == TRAIN else 0.0,
        )

    def tokenizer_type(self, n_pairs: int) -> str:
        """Characters, which are heard often enough; pieces where there is much to hear."""
        return "char" if n_pairs < _MANY else "auto"

    def side(self, tokenizer: Tokenizer | None = None) -> AudioSide:
        """Recordings of the corpus's rate."""
        cache = self._cache(TRAIN)
        side = AudioSide(cache.rate, cache.n_features, cache.longest / FRAMES_A_SECOND)
        side.n_bytes = 4 * cache.n_features * cache.frames
        return side

    def contents(self, name: str) -> Contents:
        """The recordings, from the work folder."""
        cache = self._cache(name)
        return lambda rows, texts: cache.recordings(rows)

    def learnt_contents(self, name: str) -> Contents:
        """Each with what it is at other speeds."""
        cache = self._cache(name)
        return lambda rows, texts: cache.varied(rows)

    def remarks_on_pairs(self, corpus: Corpus, rows: RowNumbers, tokenizer: Tokenizer) -> list[str]:
        """How many transcripts the encoder's own output can't have, as recordings are short."""
        cache, count = self._cache(TRAIN), 0
        for start in range(0, len(rows), _ROWS_AT_ONCE):
            numbers = rows[np.arange(start, min(start + _ROWS_AT_ONCE, len(rows)))]
            targets = tokenizer.encode([fields[1] for fields in corpus.read(numbers)])
            count += sum(
                positions_needed(target) > len(recording)
                for target, recording in zip(targets, cache.recordings(numbers), strict=True)
            )
        if not count:
            return []
        return [
            f"{plural(count, 'transcript')} of {len(rows):,} have more tokens than the encoder has "
            "positions (25 a second): their CTC loss counts as 0 (fewer, longer pieces: "
            "--vocab-size; or --ctc-weight 0)"
        ]

    def continued(self, config: Config) -> Config:
        """Recordings may be longer by now."""
        longest = self._cache(TRAIN).longest / FRAMES_A_SECOND
        return dataclasses.replace(config, trained_seconds=max(config.trained_seconds, longest))

    @property
    def longest(self) -> int:
        """Positions of the longest recording that is trained on, however slow it is learnt."""
        cache = self._cache(TRAIN)
        return -(-100 * cache.longest // (cache.slowest * FRAMES_A_POSITION))

    def model_parts(
        self, arch: str, decoder: str
    ) -> tuple[Mapping[str, object], Mapping[str, object]]:
        """What the frames are, what is hidden of them, whether the encoder has an output."""
        cache, options = self._cache(TRAIN), self._options
        fixed = {
            "source": options.source,
            "sample_rate": cache.rate,
            "n_features": cache.n_features,
            "trained_seconds": cache.longest / FRAMES_A_SECOND,
            "ctc": options.ctc_weight != 0 and decoder == "autoregressive",
            "time_warp": options.time_warp,
            "time_masks": options.time_masks,
            "time_mask_share": options.time_mask_share,
            "band_masks": self._band_masks,
            "band_mask_share": options.band_mask_share,
        }
        return _FOR_AUDIO.get(arch, {}), fixed

    @property
    def _band_masks(self) -> int:
        """Columns of a matrix need not be bands, of which neighbours say the same."""
        if self._options.band_masks is not None:
            return self._options.band_masks
        return BAND_MASKS if self._cache(TRAIN).rate else 0

    def _cache(self, name: str) -> AudioCache:
        return AudioCache(self._work, name)
