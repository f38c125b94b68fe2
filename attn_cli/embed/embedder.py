"""Texts -> vectors: batches of windows, pooled as soon as they are computed.

A text that is longer than the model's input is read in overlapping windows. Every token's vector
comes from the window in which it has most context; those of special tokens are averaged over the
windows.

Shapes: B batch, T length, W the shape of one vector (see `LayerChoice`), n tokens or words.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

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
class _Window:
    """A part of a text that is read at once.

    Attributes:
        text: the text's number.
        row: its tokens, with the special tokens around them.
        first: where in `row` the tokens begin whose vectors are taken from this window.
        end: where they end.
    """

    text: int
    row: InputRow
    first: int
    end: int


@dataclass
class _Text:
    """A text whose windows are being computed.

    Attributes:
        units: its tokens or words.
        sizes: tokens of each unit.
        n_missing: windows that are still to come.
        pooled: what the windows so far gave, with the tokens it stands for: (window number, vectors
            of tokens or their sum or maximum, their count).
        special: the sum of the windows' vectors of special tokens. Shape: (special tokens, *W).
    """

    units: list[str]
    sizes: list[int]
    n_missing: int = 0
    pooled: list[tuple[int, Tensor, int]] = field(default_factory=list)
    special: Tensor | float = 0.0


class Embedder:
    """Makes vectors of texts.

    Args:
        encoder: the model.
        options: which vectors.

    Raises:
        UsageError: the model has no such layer or prompt, or its windows are shorter than the
            stride.
    """

    def __init__(self, encoder: TokenEncoder, options: EmbedOptions) -> None:
        self._encoder = encoder
        self._options = encoder.defaults.fill(options)
        self._prompt = encoder.defaults.prompt_text(options)
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
        tokenizer, template = self._encoder.tokenizer, self._encoder.template
        texts = [self._prompt + text for text in texts]
        if self._options.words:
            units = [text.split() for text in texts]
            ids_of_units = encode_words(tokenizer, units)
        else:
            ids_of_units = [[[index] for index in ids] for ids in tokenizer.encode(texts)]
            named = self._options.pooling == "none"
            ids_of_texts = [[index for (index,) in ids] for ids in ids_of_units]
            units = [tokenizer.pieces(ids) if named else [] for ids in ids_of_texts]
        open_texts: list[_Text] = []
        windows: list[_Window] = []
        for number, (names, parts) in enumerate(zip(units, ids_of_units, strict=True)):
            text = _Text(names, [len(part) for part in parts])
            ids = [index for part in parts for index in part]
            spans = windows_of(len(ids), self.room, self._stride)
            for (start, end), (first, last) in zip(spans, owned_spans(spans), strict=True):
                row = template.fill(ids[start:end])
                shift = row.starts[0] - start
                windows.append(_Window(number, row, first + shift, last + shift))
            text.n_missing = len(spans)
            open_texts.append(text)
        done: dict[int, Embedded] = {}
        for batch in self._batches(windows):
            hidden = self._run([windows[index].row for index in batch])
            for vectors, index in zip(hidden, batch, strict=True):
                window = windows[index]
                text = open_texts[window.text]
                self._add(text, index, window, vectors[: len(window.row.ids)])
                if not text.n_missing:
                    done[window.text] = self._finish(text)
                    text.pooled.clear()
        return [done[number] for number in range(len(texts))]

    def _batches(self, windows: Sequence[_Window]) -> Iterator[list[int]]:
        """Windows of similar length together, the longest first: they need the most memory."""
        order = sorted(range(len(windows)), key=lambda index: -len(windows[index].row.ids))
        batch: list[int] = []
        for index in order:
            width = len(windows[batch[0] if batch else index].row.ids)
            if batch and (len(batch) + 1) * width > self._options.batch_tokens:
                yield batch
                batch = []
            batch.append(index)
        if batch:
            yield batch

    @torch.inference_mode()
    def _run(self, rows: Sequence[InputRow]) -> Tensor:
        """The chosen vectors. Shape: (B, T, *W)."""
        encoder = self._encoder
        ids, mask = pad([row.ids for row in rows], max(encoder.tokenizer.pad_id, 0))
        segments, _ = pad([row.segments for row in rows], 0)
        inputs = (ids.to(encoder.device), mask.to(encoder.device), segments.to(encoder.device))
        return self._choice.combine(encoder.layers(*inputs)).float().cpu()

    def _add(self, text: _Text, number: int, window: _Window, hidden: Tensor) -> None:
        """Pools a window. Shape: hidden (T, *W)."""
        text.n_missing -= 1
        start, tokens = window.row.starts[0], hidden[window.first : window.end]
        last = len(hidden) - self._encoder.template.overhead(1) + start
        text.special = text.special + torch.cat((hidden[:start], hidden[last:]))
        pooling, count = self._options.pooling, len(tokens)
        if pooling == "cls" or not count:
            tokens = tokens[:0]
        elif pooling == "mean":
            tokens = tokens.sum(0, keepdim=True)
        elif pooling == "max":
            tokens = tokens.amax(0, keepdim=True)
        # A copy: a view would keep the whole batch alive.
        text.pooled.append((number, tokens.clone(), count))

    def _finish(self, text: _Text) -> Embedded:
        """The vectors of a text whose windows are all there."""
        windows = sorted(text.pooled, key=lambda window: window[0])
        tokens = torch.cat([vectors for _, vectors, _ in windows])
        count = sum(count for _, _, count in windows)
        special = torch.as_tensor(text.special) / len(windows)
        pooling, units = self._options.pooling, None
        if pooling == "cls":
            vectors = special[0 if self._encoder.first_is_whole else -1]
        elif pooling == "none":
            vectors, units = tokens, text.units
            if self._options.words:  # the mean of a word's tokens; zeros where it has none
                sizes = torch.tensor(text.sizes, dtype=torch.long)
                owner = torch.repeat_interleave(torch.arange(len(sizes)), sizes)
                sums = tokens.new_zeros((len(sizes), *self.vector_shape)).index_add_(
                    0, owner, tokens
                )
                vectors = sums / sizes.clamp(min=1).view(-1, *[1] * (tokens.dim() - 1))
        else:
            # Special tokens take part where the model is trained with them, or there is no other.
            parts = (tokens, special) if self._encoder.first_is_whole or not count else (tokens,)
            together = torch.cat(parts)
            if pooling == "max":
                vectors = together.amax(0)
            else:
                vectors = together.sum(0) / (count + len(together) - len(tokens))
        if self._options.normalize:
            vectors = F.normalize(vectors, dim=-1)
        return Embedded(vectors.numpy(), units)
