"""What kinds of sources share whose lines name files."""

from __future__ import annotations

import contextlib
from abc import abstractmethod
from collections.abc import Callable, Mapping
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from attn_cli.data.corpus import Corpus, Indexing, build_corpus
from attn_cli.data.entries import CorpusFiles
from attn_cli.data.line_index import RowCheck
from attn_cli.data.split import hold_out_groups
from attn_cli.lines.unusable import BadLines
from attn_cli.systems.recipe import TRAIN
from attn_cli.systems.translation.file_cache import FileCache, FileCacheWriter
from attn_cli.systems.translation.source_base import TrainingSources


class FileSources(TrainingSources):
    """Files that the column names, read once into the work folder."""

    refused: ClassVar[Mapping[str, str]] = {
        "--share-vocab": "--separate-vocab",
        "--embeddings": "--embeddings",
    }
    text_columns: list[tuple[int, ...]] = [(1,)]

    @abstractmethod
    def _writer(self, name: str) -> FileCacheWriter:
        """What reads the files of a corpus."""

    @abstractmethod
    def _cache(self, name: str) -> FileCache:
        """What was read of them."""

    def index(
        self,
        files: CorpusFiles,
        name: str,
        bad: BadLines,
        check: RowCheck,
        say: Callable[[str], None],
    ) -> Corpus:
        """See `TrainingSources`; every file is read."""
        with contextlib.closing(self._writer(name)) as writer:
            corpus = build_corpus(
                files,
                self._work,
                name,
                bad,
                check,
                lambda fields, folder: writer.problem(fields[0], folder),
                Indexing(say),
            )
            writer.finish()
        return corpus

    def hold_out(self, corpus: Corpus, seed: int) -> NDArray[np.int64]:
        """Whole files: no target of a held-out one is trained on."""
        return hold_out_groups(np.asarray(self._cache(TRAIN).numbers), seed)

    def groups(self, name: str, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        """Targets of one file together."""
        return self._cache(name).numbers[rows]

    def fingerprint(self, name: str) -> str:
        """Of what is in the files."""
        return self._cache(name).fingerprint
