"""The same batches for every engine but attn, which reads the same text and cuts by the same rule.

Shapes: B batch, S source length, T target length.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from pathlib import Path

import torch
from recordings import N_FEATURES, RATE
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from work import LENGTH, SPECIALS, Try, read_pairs

from attn_cli.data.audio import read_features
from attn_cli.data.audio_features import normalized
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
class Recordings:
    """Frames of recordings, and token ids of what they say (with begin and end), not yet padded."""

    frames: list[Tensor]  # Shape: (T, F) each
    tgt: list[Tensor]
    pad_id: int

    def padded(self) -> tuple[Tensor, Tensor, Tensor]:
        """Frames (B, T, F), what the decoder reads and what it is to say."""
        frames = pad_sequence(self.frames, True)
        tgt = pad_sequence(self.tgt, True, self.pad_id)
        return frames, tgt[:, :-1], tgt[:, 1:]

    @property
    def n_frames(self) -> int:
        return sum(map(len, self.frames))


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


def recording_batches(task: Try) -> list[Recordings]:
    """As many as the try has updates, in an order of its seed; four frames count as a token."""
    tokenizer = load_tokenizer(str(task.vocabulary))
    bos, eos = tokenizer.bos_id, tokenizer.eos_id
    paths, texts = zip(*read_pairs(task.file("recordings.tsv")), strict=True)
    src = [_frames(task.file(path)) for path in paths]
    tgt = [torch.tensor([bos, *ids, eos]) for ids in tokenizer.encode(texts)]
    lengths = [(-(-len(one) // 4), len(two) - 1) for one, two in zip(src, tgt, strict=True)]
    groups = itertools.cycle(cut_by_budget(lengths, task.work.batch_tokens, task.seed))
    some = itertools.islice(groups, task.work.warmup + task.work.steps)
    return [
        Recordings([src[i] for i in group], [tgt[i] for i in group], tokenizer.pad_id)
        for group in some
    ]


def _frames(path: Path) -> Tensor:
    """Energies of a sound, as attn reads them. Shape: (T, F)."""
    return torch.from_numpy(normalized(read_features(bytes(path), RATE, N_FEATURES)))


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
