"""`attn decode` with a detector of replaced tokens: how likely each word is a replacement.

Shapes: B windows, T length.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from attn_cli.data.padding import pad
from attn_cli.data.templates import TEMPLATES, InputRow, owned_spans, windows_of
from attn_cli.device import crew_for, set_up, use_bf16
from attn_cli.errors import DataError, UsageError
from attn_cli.lines.columns import Columns
from attn_cli.lines.reading import LineReader
from attn_cli.lines.rows import Row, Rows
from attn_cli.lines.writing import passed_through
from attn_cli.models.directory import load_model_of
from attn_cli.models.text import TextModel
from attn_cli.systems.base import DecodeJob
from attn_cli.systems.precision import in_int8, prepare_models
from attn_cli.tokenizers.tokenizer import Tokenizer
from attn_cli.tokenizers.tokenizer_files import load_tokenizer
from attn_cli.tokenizers.words import encode_words

_BATCH_TOKENS = 4096
_MAX_CHARS = 1 << 18  # of a window of lines
_HEAD = "rtd"
_UNKNOWN = "have words that the model's tokenizer does not know"
_NOTHING = "words of it are not known to the model's tokenizer: nothing is said of them"


class _Window(NamedTuple):
    """Tokens that are read at once: of which text, which of its tokens are answered, and where."""

    text: int
    row: InputRow
    first: int
    end: int
    at: int  # where the first token that is answered stands in `row`


class ReplacedDetector:
    """Answers lines; a `systems.base.Decoder`.

    A line becomes as many numbers as it has words: the largest of the probabilities that one of the
    word's tokens was replaced. A token comes from the window in which it has most context.

    Args:
        job: what was asked for.

    Raises:
        DataError: the model directory is missing or damaged, or has no such head.
        UsageError: several models.
    """

    def __init__(self, job: DecodeJob) -> None:
        if "," in job.model:
            raise UsageError(f"-m {job.model}: only models that write texts decode as an ensemble")
        self._job = job
        self._device = set_up(job.runtime)
        precision = job.decoding.precision
        key = ("detector", *in_int8(job.model, precision, self._device))
        self._model, self._tokenizer = job.kept.once(key, self._read)
        backbone = self._model.backbone
        longest = backbone.max_len or _BATCH_TOKENS
        self._template = TEMPLATES[backbone.template](self._tokenizer, longest)
        self._bf16 = use_bf16(precision, self._device)
        self._crew = crew_for(self._device)

    def _read(self) -> tuple[TextModel, Tokenizer]:
        job = self._job
        config, model = load_model_of(TextModel, Path(job.model), self._device)
        if _HEAD not in model.heads:
            raise DataError(f"{job.model}: a model for {config.task!r} without a head {_HEAD!r}")
        tokenizer = load_tokenizer(job.model)
        model.check_vocabulary(tokenizer.vocab_size, job.model)
        prepare_models([model], job.model, job.decoding.precision, self._device, job.say)
        return model, tokenizer

    def results(self, reader: LineReader) -> Iterator[list[str]]:
        """See `systems.base.Decoder`."""
        columns = Columns.parse(self._job.stream.columns, 1)
        rows = Rows(reader, columns, self._job.bad, count=1)
        most, crew = self._job.decoding.buffer, self._crew
        windows = rows.windows(most, _MAX_CHARS, first=crew.first)
        return self._job.bad.answered(windows, self._answered, reader, crew, [rows])

    def _answered(self, window: Sequence[Row]) -> list[str]:
        """The output lines of some rows, judged together."""
        texts = [row.fields[0].split() for row in window if row.fields]
        found = iter(self.probabilities(texts))
        given = iter(texts)
        return [
            self._line(row, next(given), next(found)) if row.fields else self._line(row, [], [])
            for row in window
        ]

    def probabilities(self, texts: Sequence[Sequence[str]]) -> list[list[float]]:
        """Of each word of each text; not a number where the tokenizer does not know it."""
        cut = encode_words(self._tokenizer, texts)
        flat = [[index for ids in words for index in ids] for words in cut]
        found = [[math.nan] * len(ids) for ids in flat]
        windows = [
            window for number, ids in enumerate(flat) for window in self._windows(number, ids)
        ]
        for batch in _batches(windows):
            for window, values in zip(batch, self._judged(batch).tolist(), strict=True):
                size = window.end - window.first
                found[window.text][window.first : window.end] = values[window.at : window.at + size]
        return [[*self._of_words(words, values)] for words, values in zip(cut, found, strict=True)]

    def _windows(self, number: int, ids: Sequence[int]) -> Iterator[_Window]:
        room = self._template.max_len - self._template.overhead(1)
        spans = windows_of(len(ids), room, max(1, room // 2))
        for (start, end), (first, last) in zip(spans, owned_spans(spans), strict=True):
            row = self._template.fill(ids[start:end])
            yield _Window(number, row, first, last, row.starts[0] + first - start)

    @torch.inference_mode()
    def _judged(self, windows: Sequence[_Window]) -> Tensor:
        """Shape: (B, T)."""
        ids, mask = pad([window.row.ids for window in windows], self._tokenizer.pad_id)
        segments, _ = pad([window.row.segments for window in windows], 0)
        inputs = (tensor.to(self._device) for tensor in (ids, mask, segments))
        with torch.autocast(self._device.type, torch.bfloat16, enabled=self._bf16):
            logits: Tensor = self._model(*inputs, _HEAD)
        return logits.float().sigmoid().cpu()

    def _of_words(self, words: Sequence[Sequence[int]], values: list[float]) -> Iterator[float]:
        """The largest of each word's tokens that are known: of others nothing was ever learnt."""
        at = 0
        for ids in words:
            own = zip(ids, values[at : at + len(ids)], strict=True)
            at += len(ids)
            known = [value for index, value in own if index != self._tokenizer.unk_id]
            yield max(known, default=math.nan)

    def _line(self, row: Row, words: Sequence[str], values: Sequence[float]) -> str:
        if any(map(math.isnan, values)):
            self._job.bad.remark(_UNKNOWN, row.where, _NOTHING)
        if self._job.decoding.format == "json":
            numbers = [None if math.isnan(value) else round(value, 6) for value in values]
            found = {"line": row.number, "words": words, "probabilities": numbers}
            return json.dumps({**found, "columns": row.rest}, ensure_ascii=False)
        answer = " ".join(f"{value:.4f}" for value in values)
        return "\t".join([answer, *map(passed_through, row.rest)])


def _batches(windows: Sequence[_Window]) -> Iterator[list[_Window]]:
    """Windows of similar length together."""
    batch: list[_Window] = []
    for window in sorted(windows, key=lambda window: -len(window.row.ids)):
        if batch and (len(batch) + 1) * len(batch[0].row.ids) > _BATCH_TOKENS:
            yield batch
            batch = []
        batch.append(window)
    if batch:
        yield batch
