"""A plain loop around torch.nn.Transformer: pre-norm, sinusoids, tied embeddings, fused AdamW."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable

import torch
from batches import PAD, translation_batches
from torch import Tensor, nn
from torch.nn import functional as F
from work import DROPOUT, SMOOTHING, Engine, Measured, Try, Work, timed

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
        hidden = self.transformer(
            self.embed(src),
            self.embed(tgt),
            tgt_mask=torch.ones(tgt.shape[1], tgt.shape[1], dtype=torch.bool).triu(1),
            src_key_padding_mask=padding,
            memory_key_padding_mask=padding,
            tgt_is_causal=True,
        )
        return F.linear(hidden, self.embedding.weight)


def train(
    task: Try, model: nn.Module, batches: list, loss_of: Callable[..., tuple[Tensor, int]]
) -> Measured:
    """A plain loop: `loss_of` a batch, and its tokens; clipping; AdamW."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, fused=True)
    model.train()

    def step(batch: object) -> int:
        loss, n_tokens = loss_of(batch)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        return n_tokens

    return timed(task, step, batches)


def train_translator(
    task: Try, model: nn.Module, logits: Callable[[Tensor, Tensor], Tensor]
) -> Measured:
    """The same with the cross-entropy of targets, with label smoothing."""

    def loss_of(batch) -> tuple[Tensor, int]:
        src, read, gold = batch.padded()
        found, gold = logits(src, read).flatten(0, 1), gold.flatten()
        loss = F.cross_entropy(found, gold, ignore_index=PAD, label_smoothing=SMOOTHING)
        return loss, batch.n_targets

    return train(task, model, translation_batches(task), loss_of)


class TorchLoop(Engine):
    """torch.nn.Transformer."""

    def measure(self, task: Try) -> Measured:
        model = Translator(task.work)
        return train_translator(task, model, model)
