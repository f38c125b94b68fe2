"""A plain loop around torch.nn.Transformer: pre-norm, sinusoids, tied embeddings, fused AdamW.

Shapes: B batch, S positions of the source, T target length or frames, F features, D d_model, V
vocabulary, C channels.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable

import torch
from batches import PAD, Recordings, recording_batches, translation_batches
from recordings import N_FEATURES
from torch import Tensor, nn
from torch.nn import functional as F
from work import CTC_WEIGHT, DROPOUT, SMOOTHING, Engine, Measured, Try, Work, timed

_POSITIONS = 512


class Translator(nn.Module):
    """Shape: source ids (B, S), target ids (B, T) -> (B, T, V)."""

    def __init__(self, work: Work, dropout: float = DROPOUT) -> None:
        super().__init__()
        d, layers = work.d_model, (work.n_layers, work.n_layers)
        self.embedding = nn.Embedding(work.vocab, d)
        nn.init.normal_(self.embedding.weight, std=d**-0.5)
        self.dropout = nn.Dropout(dropout)
        with warnings.catch_warnings(action="ignore"):  # of nested tensors, which are for inference
            self.transformer = nn.Transformer(
                d, work.n_heads, *layers, work.d_ff, dropout, batch_first=True, norm_first=True
            )
        for module in self.transformer.modules():
            if isinstance(module, nn.MultiheadAttention):
                module.dropout = 0.0  # no engine drops attention weights; it would be slower
        angles = torch.arange(_POSITIONS)[:, None] / 10000 ** (torch.arange(0, d, 2) / d)
        self.register_buffer("positions", torch.stack((angles.sin(), angles.cos()), 2).flatten(1))

    def embed(self, ids: Tensor) -> Tensor:
        vectors = self.embedding(ids) * math.sqrt(self.embedding.embedding_dim)
        return self.dropout(vectors + self.positions[: ids.shape[1]])

    def forward(self, src: Tensor, tgt: Tensor) -> Tensor:
        padding = src == PAD
        memory = self.transformer.encoder(self.embed(src), src_key_padding_mask=padding)
        return self.decode(memory, padding, tgt)

    def decode(self, memory: Tensor, padding: Tensor, tgt: Tensor) -> Tensor:
        """Shape: (B, S, D), which positions are padding (B, S), (B, T) -> (B, T, V)."""
        hidden = self.transformer.decoder(
            self.embed(tgt),
            memory,
            tgt_mask=torch.ones(tgt.shape[1], tgt.shape[1], dtype=torch.bool).triu(1),
            memory_key_padding_mask=padding,
            tgt_is_causal=True,
        )
        return F.linear(hidden, self.embedding.weight)


def train(
    task: Try,
    model: nn.Module,
    batches: list,
    loss_of: Callable[..., tuple[Tensor, int]],
    *,
    mixed: bool = False,
) -> Measured:
    """A plain loop: `loss_of` a batch, and its tokens, in bf16 if `mixed`; clipping; AdamW."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, fused=True)
    model.train()

    def step(batch: object) -> int:
        with torch.autocast("cpu", torch.bfloat16, enabled=mixed):
            loss, n_tokens = loss_of(batch)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        return n_tokens

    return timed(task, step, batches)


def train_translator(
    task: Try, model: nn.Module, logits: Callable[[Tensor, Tensor], Tensor], *, mixed: bool = False
) -> Measured:
    """The same with the cross-entropy of targets, with label smoothing."""

    def loss_of(batch) -> tuple[Tensor, int]:
        src, read, gold = batch.padded()
        found, gold = logits(src, read).flatten(0, 1), gold.flatten()
        loss = F.cross_entropy(found, gold, ignore_index=PAD, label_smoothing=SMOOTHING)
        return loss, batch.n_targets

    return train(task, model, translation_batches(task), loss_of, mixed=mixed)


class Recognizer(Translator):
    """A Speech-Transformer: two convolutions before it, and CTC on its encoder.

    Shape: frames (B, T, F), how many are valid (B,), target ids -> (B, T, V), (B, S, V + 1).
    """

    def __init__(self, work: Work, dropout: float = DROPOUT) -> None:
        super().__init__(work, dropout)
        d, channels = work.d_model, work.d_model // 4
        self.convolutions = nn.Sequential(
            nn.Conv2d(1, channels, 3, stride=2, padding=1),
            nn.ReLU(),
            nn.Conv2d(channels, channels, 3, stride=2, padding=1),
            nn.ReLU(),
        )
        self.project = nn.Linear(channels * N_FEATURES // 4, d)
        self.output = nn.Linear(d, work.vocab + 1)

    def forward(self, frames: Tensor, sizes: Tensor, tgt: Tensor) -> tuple[Tensor, Tensor]:
        x = self.convolutions(hidden_in_places(frames, sizes)[:, None])  # (B, C, S, F / 4)
        x = self.project(x.transpose(1, 2).flatten(2))
        padding = torch.arange(x.shape[1]) >= positions(sizes)[:, None]
        x = self.dropout(x + self.positions[: x.shape[1]])
        memory = self.transformer.encoder(x, src_key_padding_mask=padding)
        return self.decode(memory, padding, tgt), self.output(memory).float().log_softmax(-1)


def positions(sizes: Tensor) -> Tensor:
    """A vector for four frames."""
    return (sizes + 3) // 4


def hidden_in_places(frames: Tensor, sizes: Tensor) -> Tensor:
    """SpecAugment as attn has it: two stretches of time, two of bands, in place."""
    n_features = frames.shape[2]
    for row, size in zip(frames, sizes.tolist(), strict=True):
        for _ in range(2):
            row[_stretch(size, 0.2)] = 0.0
            row[:, _stretch(n_features, 0.3)] = 0.0
    return frames


def _stretch(size: int, share: float) -> slice:
    width = int(torch.randint(int(size * share) + 1, ()))
    start = int(torch.randint(size - width + 1, ()))
    return slice(start, start + width)


def train_recognizer(task: Try, *, mixed: bool = False) -> Measured:
    """A plain loop with the joint loss of both outputs; frames are counted."""
    model = Recognizer(task.work)

    def loss_of(batch: Recordings) -> tuple[Tensor, int]:
        frames, read, gold = batch.padded()
        sizes = torch.tensor(list(map(len, batch.frames)))
        logits, heard = model(frames, sizes, read)
        said = F.cross_entropy(
            logits.float().flatten(0, 1),
            gold.flatten(),
            ignore_index=batch.pad_id,
            label_smoothing=SMOOTHING,
        )
        lengths = torch.tensor([len(ids) - 2 for ids in batch.tgt])
        targets = torch.cat([ids[1:-1] for ids in batch.tgt])
        ctc = F.ctc_loss(
            *(heard.transpose(0, 1), targets, positions(sizes), lengths),
            blank=task.work.vocab,
            reduction="sum",
            zero_infinity=True,
        )
        n_tokens = int(lengths.sum()) + len(lengths)
        return (1 - CTC_WEIGHT) * said + CTC_WEIGHT * ctc / n_tokens, batch.n_frames

    return train(task, model, recording_batches(task), loss_of, mixed=mixed)


class TorchLoop(Engine):
    """torch.nn.Transformer."""

    mixed = False

    def measure(self, task: Try) -> Measured:
        if task.work.kind == "speech":
            return train_recognizer(task, mixed=self.mixed)
        model = Translator(task.work)
        return train_translator(task, model, model, mixed=self.mixed)


class TorchBf16(TorchLoop):
    """The same by autocast to bf16."""

    mixed = True
