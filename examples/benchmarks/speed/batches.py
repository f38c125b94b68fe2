"""The same batches for every engine but attn, which reads the same text and cuts by the same rule.

Shapes: B batch, S source length, T target length.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from work import LENGTH, SPECIALS, Try, read_pairs

from attn_cli.data.batching import cut_by_budget
from attn_cli.tokenizers.tokenizer_files import load_tokenizer

PAD, _, CLS, SEP, MASK = range(len(SPECIALS))


@dataclass(frozen=True)
class Pairs:
    """Token ids of sources (with an end) and targets (with begin and end), not yet padded."""

    src: list[Tensor]
    tgt: list[Tensor]

    def padded(self) -> tuple[Tensor, Tensor, Tensor]:
        """Sources (B, S), what the decoder reads and what it is to say (B, T)."""
        src, tgt = (pad_sequence(ids, True, PAD) for ids in (self.src, self.tgt))
        return src, tgt[:, :-1], tgt[:, 1:]

    @property
    def n_targets(self) -> int:
        return sum(len(ids) - 1 for ids in self.tgt)


@dataclass(frozen=True)
class Masked:
    """Full inputs [CLS] A [SEP] B [SEP], 15 % of the others hidden. Shape: (B, T) each."""

    ids: Tensor
    gold: Tensor
    hidden: Tensor
    segments: Tensor
    labels: Tensor  # whether B follows A. Shape: (B,)


def translation_batches(task: Try) -> list[Pairs]:
    """As many as the try has updates, in an order of its seed."""
    encode = load_tokenizer(str(task.vocabulary)).encode
    src, tgt = map(encode, zip(*read_pairs(task.file("pairs.tsv")), strict=True))
    src = [torch.tensor([*ids, SEP]) for ids in src]
    tgt = [torch.tensor([CLS, *ids, SEP]) for ids in tgt]
    lengths = [(len(one), len(two) - 1) for one, two in zip(src, tgt, strict=True)]
    groups = itertools.cycle(cut_by_budget(lengths, task.work.batch_tokens, task.seed))
    some = itertools.islice(groups, task.work.warmup + task.work.steps)
    return [Pairs([src[i] for i in group], [tgt[i] for i in group]) for group in some]


def masked_batches(task: Try) -> list[Masked]:
    """Running text, cut into segments that fill every input."""
    lines = [line for line in task.file("text.txt").read_text("utf-8").split("\n") if line]
    ids = load_tokenizer(str(task.vocabulary)).encode(lines)
    stream = torch.tensor(list(itertools.chain.from_iterable(ids)))
    draw = torch.Generator().manual_seed(task.seed)
    rows, room = task.work.batch_tokens // LENGTH, LENGTH - 3
    half = room // 2
    batches = []
    for _ in range(task.work.warmup + task.work.steps):
        starts = torch.randint(len(stream) - room, (rows, 1), generator=draw)
        text, sep = stream[starts + torch.arange(room)], torch.full((rows, 1), SEP)
        cls = torch.full_like(sep, CLS)
        gold = torch.cat((cls, text[:, :half], sep, text[:, half:], sep), 1)
        hidden = torch.rand(gold.shape, generator=draw) < 0.15
        hidden &= (gold != CLS) & (gold != SEP)
        segments = (torch.arange(LENGTH) >= half + 2).long().expand(rows, -1)
        labels = torch.randint(2, (rows,), generator=draw)
        batches.append(Masked(gold.masked_fill(hidden, MASK), gold, hidden, segments, labels))
    return batches
