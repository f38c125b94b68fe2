"""Texts -> vectors: batches of windows, pooled as soon as they are computed.

A text that is longer than the model's input is read in overlapping windows. Every token's vector
comes from the window in which it has most context; those of marks are averaged over the windows.
Shapes: B batch, T length, W the shape of one vector (see `LayerChoice`), n tokens or words.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from attn_cli.config.embedding import EmbedOptions
from attn_cli.data.padding import pad
from attn_cli.data.templates import InputRow, owned_spans, windows_of
from attn_cli.embed.encoder import TokenEncoder
from attn_cli.embed.layers import LayerChoice
from attn_cli.errors import UsageError
from attn_cli.tokenizers.words import encode_words


@dataclass(frozen=True)
class Embedded:
    """What a text became.

    Attributes:
        vectors: its vector, shape W; or those of its tokens or words, shape (n, *W).
        units: the tokens or words; None where the text has one vector.
    """

    vectors: NDArray[np.float32]
    units: list[str] | None = None


@dataclass(frozen=True)
class _Row:
    """One window of a text.

    Attributes:
        text: the text's number.
        input_row: the tokens with their special tokens.
        first: where in `input_row` the tokens begin whose vectors are taken from this window.
        end: where they end.
    """

    text: int
    input_row: InputRow
    first: int
    end: int


@dataclass
class _Text:
    """A text whose windows are being computed.

    Attributes:
        units: its tokens or words.
        sizes: tokens of each unit.
        waiting: windows that are still to come.
        rows: pooled vectors of the windows so far, with the tokens they stand for: (window number,
            vectors of tokens or their sum or maximum, their count).
        marks: the sum of the windows' mark vectors. Shape: (marks, *W).
    """

    units: list[str]
    sizes: list[int]
    waiting: int = 0
    rows: list[tuple[int, Tensor, int]] = field(default_factory=list)
    marks: Tensor | float = 0.0


class Embedder:
    """Makes vectors of texts.

    Args:
        encoder: the model.
        options: which vectors.

    Raises:
        UsageError: the model has no such layer, or its windows are shorter than the stride.
    """

    def __init__(self, encoder: TokenEncoder, options: EmbedOptions) -> None:
        self._encoder = encoder
        self._options = options
        self._choice = LayerChoice.parse(options.layer, encoder.n_layers)
        self.room = encoder.template.max_len - encoder.template.overhead(1)
        self._stride = options.stride or max(1, self.room // 2)
        if not 1 <= self._stride <= self.room:
            raise UsageError(
                f"--stride {self._stride}: a window has room for {self.room} tokens; a longer "
                "stride would skip some"
            )

    @property
    def vector_shape(self) -> tuple[int, ...]:
        """W."""
        return self._choice.vector_shape(self._encoder.d_model)

    def embed(self, texts: Sequence[str]) -> list[Embedded]:
        """The vectors of each text."""
        if self._options.words:
            words = [text.split() for text in texts]
            cut = list(zip(words, encode_words(self._encoder.tokenizer, words), strict=True))
        else:
            cut = self._tokens(texts)
        jobs, rows = [], []
        for number, (units, ids) in enumerate(cut):
            job = _Text(units, [len(unit) for unit in ids])
            windows = list(self._rows(number, [index for unit in ids for index in unit]))
            job.waiting = len(windows)
            jobs.append(job)
            rows += windows
        done: dict[int, Embedded] = {}
        for batch in self._batches(rows):
            hidden = self._run([rows[index].input_row for index in batch])
            for place, index in enumerate(batch):
                row = rows[index]
                job = jobs[row.text]
                self._add(job, index, row, hidden[place, : len(row.input_row.ids)])
                if not job.waiting:
                    done[row.text] = self._finish(job)
                    jobs[row.text].rows.clear()
        return [done[number] for number in range(len(texts))]

    def _tokens(self, texts: Sequence[str]) -> list[tuple[list[str], list[list[int]]]]:
        """Each text's tokens: their names (where they are asked for), and their ids."""
        tokenizer = self._encoder.tokenizer
        named = self._options.pooling == "none"
        return [
            (tokenizer.pieces(ids) if named else [], [[index] for index in ids])
            for ids in tokenizer.encode(texts)
        ]

    def _rows(self, number: int, ids: list[int]) -> Iterator[_Row]:
        windows = windows_of(len(ids), self.room, self._stride)
        for (first, end), (own, own_end) in zip(windows, owned_spans(windows), strict=True):
            input_row = self._encoder.template.fill(ids[first:end])
            shift = input_row.starts[0] - first
            yield _Row(number, input_row, own + shift, own_end + shift)

    def _batches(self, rows: Sequence[_Row]) -> Iterator[list[int]]:
        """Rows of similar length together, the longest first: they need the most memory."""
        order = sorted(range(len(rows)), key=lambda index: -len(rows[index].input_row.ids))
        batch: list[int] = []
        for index in order:
            width = len(rows[batch[0] if batch else index].input_row.ids)
            if batch and (len(batch) + 1) * width > self._options.batch_tokens:
                yield batch
                batch = []
            batch.append(index)
        if batch:
            yield batch

    @torch.inference_mode()
    def _run(self, input_row: Sequence[InputRow]) -> Tensor:
        """The chosen vectors. Shape: (B, T, *W)."""
        encoder = self._encoder
        ids, mask = pad([one.ids for one in input_row], max(encoder.tokenizer.pad_id, 0))
        segments, _ = pad([one.segments for one in input_row], 0)
        inputs = (ids.to(encoder.device), mask.to(encoder.device), segments.to(encoder.device))
        return self._choice.combine(encoder.layers(*inputs)).float().cpu()

    def _add(self, job: _Text, number: int, row: _Row, hidden: Tensor) -> None:
        """Pools a window. Shape: hidden (T, *W)."""
        job.waiting -= 1
        start, tokens = row.input_row.starts[0], hidden[row.first : row.end]
        last = len(hidden) - self._encoder.template.overhead(1) + start
        job.marks = job.marks + torch.cat((hidden[:start], hidden[last:]))
        pooling, count = self._options.pooling, len(tokens)
        if pooling == "cls" or not count:
            tokens = tokens[:0]
        elif pooling == "mean":
            tokens = tokens.sum(0, keepdim=True)
        elif pooling == "max":
            tokens = tokens.amax(0, keepdim=True)
        # A copy: a view would keep the whole batch alive.
        job.rows.append((number, tokens.clone(), count))

    def _finish(self, job: _Text) -> Embedded:
        """The vectors of a text whose windows are all there."""
        rows = sorted(job.rows, key=lambda row: row[0])
        tokens = torch.cat([vectors for _, vectors, _ in rows])
        marks = torch.as_tensor(job.marks) / len(rows)
        pooling, units = self._options.pooling, None
        if pooling == "none":
            vectors, units = self._by_unit(tokens, job.sizes), job.units
        elif pooling == "cls":
            vectors = marks[0 if self._encoder.first_is_whole else -1]
        else:
            vectors = self._pooled(tokens, sum(count for _, _, count in rows), marks)
        if self._options.normalize:
            vectors = F.normalize(vectors, dim=-1)
        return Embedded(vectors.numpy(), units)

    def _pooled(self, tokens: Tensor, count: int, marks: Tensor) -> Tensor:
        """The mean or maximum over tokens, with marks where the model is trained with them."""
        if not self._encoder.first_is_whole and count:
            marks = marks[:0]
        if self._options.pooling == "max":
            return torch.cat((tokens, marks)).amax(0)
        return torch.cat((tokens, marks)).sum(0) / (count + len(marks))

    def _by_unit(self, tokens: Tensor, sizes: Sequence[int]) -> Tensor:
        """A vector for each unit, the mean of its tokens'; zeros where it has none."""
        if not self._options.words:
            return tokens
        sums = tokens.new_zeros((len(sizes), *self.vector_shape))
        owner = torch.repeat_interleave(
            torch.arange(len(sizes)), torch.tensor(sizes, dtype=torch.long)
        )
        sums.index_add_(0, owner, tokens)
        divisors: Any = torch.tensor(sizes).clamp(min=1)
        return sums / divisors.view(-1, *[1] * (tokens.dim() - 1))
