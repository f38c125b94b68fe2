"""Language models that read from left to right: windows of running text, and their objective.

A text is one stream of tokens: each line's tokens and eos, and bos for a blank line, so that every
character of it is predicted once, line ends included. The stream is cut into windows as long as
the model's inputs; nothing but the last window of a row is ever padded.

Shapes: B batch, T length.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from attn_cli.data.batching import Batch, cut_by_budget, moved
from attn_cli.data.padding import pad
from attn_cli.lines.rows import is_blank
from attn_cli.models.backbone import LanguageModel
from attn_cli.nn.losses import linear_cross_entropy
from attn_cli.systems.pretraining.base import DocumentReader, PretrainingObjective
from attn_cli.train.spread import Spread, alone


@dataclass(frozen=True)
class LanguageBatch(Batch):
    """Padded windows of running text.

    Attributes:
        ids: a token to begin with, and the tokens to be predicted. Shape: (B, T + 1).
        mask: which of `ids[:, 1:]` are to be predicted. Shape: (B, T), boolean.
    """

    ids: Tensor
    mask: Tensor

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def n_tokens(self) -> int:
        """Tokens to be predicted."""
        return int(self.mask.sum())

    def rows(self, which: slice) -> LanguageBatch:
        """Some of the windows."""
        return LanguageBatch(self.ids[which], self.mask[which])

    def without_targets(self) -> LanguageBatch:
        """The same shapes with nothing to predict: what an idle rank computes to keep step."""
        return LanguageBatch(self.ids, torch.zeros_like(self.mask))

    def to(self, device: torch.device) -> LanguageBatch:
        """The batch on a device."""
        return LanguageBatch(moved(self.ids, device), moved(self.mask, device))


Streams = list[NDArray[np.int64]]  # of tokens, each by itself


@dataclass
class LanguageReader(DocumentReader[LanguageBatch, Streams]):
    """Cuts running text, rows that are runs of lines, blank ones included, into windows."""

    def encode(self, numbers: NDArray[np.int64], seed: int) -> list[Streams]:
        """The rows with these numbers as tokens."""
        return [self._streams(lines) for lines in self.corpus.read(self.rows[numbers])]

    def cut(self, items: Sequence[Streams], seed: int) -> list[LanguageBatch]:
        """Rows as shuffled batches.

        Where the first window of a row ends is drawn anew for each seed, so that tokens stand in
        other places of a window in every epoch.
        """
        rng = np.random.default_rng(seed)
        length = self.max_len
        windows: list[NDArray[np.int64]] = []
        for streams in items:
            for stream in streams:
                windows += self._cut(stream, length, rng)
        sizes = [(len(window) - 1, len(window) - 1) for window in windows]
        groups = cut_by_budget(sizes, self.batch_tokens, seed)
        return [self._batch([windows[i] for i in group]) for group in groups]

    def _streams(self, lines: Sequence[str]) -> Streams:
        """The tokens of a run of lines, bos in front: one stream."""
        tokenizer = self.tokenizer
        filled = [line for line in lines if not is_blank(line)]
        encoded = iter(tokenizer.encode(filled))
        stream = [tokenizer.bos_id]
        for line in lines:
            if not is_blank(line):
                stream += [*next(encoded), tokenizer.eos_id]
            else:
                stream.append(tokenizer.bos_id)
        return [np.array(stream, np.int64)]

    def _cut(
        self, stream: NDArray[np.int64], length: int, rng: np.random.Generator
    ) -> list[NDArray[np.int64]]:
        """Windows of at most `length` tokens and the one before them; the first may be shorter."""
        last = len(stream) - 1
        first = int(rng.integers(1, length + 1))
        cuts = [0, *range(first, last, length), last]
        return [stream[a : b + 1] for a, b in zip(cuts, cuts[1:], strict=False)]

    def _batch(self, windows: Sequence[NDArray[np.int64]]) -> LanguageBatch:
        ids, mask = pad(windows, self.tokenizer.pad_id)  # type: ignore[arg-type]
        return LanguageBatch(ids, mask[:, 1:])


class LanguageObjective(PretrainingObjective[LanguageBatch]):
    """-Σ ln p(wₜ | w₍<ₜ₎) (Radford et al. 2018, eq. 1)."""

    def forward(self, batch: LanguageBatch) -> tuple[Tensor, Tensor]:
        """Sums over the batch's tokens: the loss, and the unsmoothed one."""
        backbone = self.model.backbone
        assert isinstance(backbone, LanguageModel)
        inputs = batch.ids[:, :-1]
        hidden = backbone(inputs, torch.ones_like(inputs, dtype=torch.bool))
        gold = batch.ids[:, 1:]
        weight, bias = backbone.output_layer
        return linear_cross_entropy(
            hidden[batch.mask], weight, bias, gold[batch.mask], self.label_smoothing
        )

    @torch.inference_mode()
    def figures(self, batches: Sequence[LanguageBatch], spread: Spread = alone) -> dict[str, float]:
        """Loss in nats per token, and perplexity."""
        device = next(self.parameters()).device
        nll = sum(spread(lambda batch: float(self(batch.to(device))[1]), batches))
        loss = nll / max(1, sum(batch.n_tokens for batch in batches))
        return {"loss": loss, "perplexity": math.exp(min(loss, 700))}
