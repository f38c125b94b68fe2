"""A model without weights: the next token's distribution is looked up by a hash of the history.

Every source and every history has a distribution of its own, so a search that mixes up states,
beams or sentences gives other numbers.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from attn_cli.search.step import StepModel, StepOutput

PAD, BOS, EOS = 0, 1, 2
_SIZE = 1009


@dataclass(frozen=True)
class TableState:
    key: Tensor  # (N, K)
    source_len: Tensor  # (N,)

    def expand(self, beam_size: int) -> TableState:
        return TableState(self.key.repeat_interleave(beam_size, 1), self.source_len)

    def reorder(self, beams: Tensor) -> TableState:
        return TableState(self.key.gather(1, beams), self.source_len)

    def keep(self, sentences: Tensor) -> TableState:
        return TableState(self.key[sentences], self.source_len[sentences])

    def merge(self, other: TableState) -> TableState:
        return TableState(
            torch.cat([self.key, other.key]), torch.cat([self.source_len, other.source_len])
        )


class TableModel(StepModel):
    bos_id, eos_id, pad_id = BOS, EOS, PAD

    def __init__(self, vocabulary: int, seed: int = 0, sharpness: float = 1.5, ending: float = 0.0):
        generator = torch.Generator().manual_seed(seed)
        logits = sharpness * torch.randn(_SIZE, vocabulary, generator=generator)
        logits[:, [PAD, BOS]] = -30.0
        logits[:, EOS] += ending
        self.table = logits.log_softmax(1)
        self.weights = torch.rand(_SIZE, 64, generator=generator)
        self.steps = 0
        self.rows = 0
        self.most_rows = 0

    def start(self, sources: Sequence[Sequence[int]]) -> TableState:
        keys = [[self.key(source, ())] for source in sources]
        return TableState(torch.tensor(keys), torch.tensor([len(s) for s in sources]))

    def step(self, state: TableState, tokens: Tensor, *, need_attention: bool = False):
        self.steps += 1
        self.rows += tokens.numel()
        self.most_rows = max(self.most_rows, tokens.numel())
        key = (state.key * 31 + tokens + 7) % _SIZE
        attention = None
        if need_attention:
            width = int(state.source_len.max())
            weights = self.weights[key][..., :width].clone()
            weights *= torch.arange(width) < state.source_len[:, None, None]
            attention = weights / weights.sum(2, keepdim=True)
        return StepOutput(self.table[key], TableState(key, state.source_len), attention)

    # The same, written for one history at a time.

    @staticmethod
    def key(source: Sequence[int], history: Sequence[int]) -> int:
        key = sum((i + 1) * x for i, x in enumerate(source)) % _SIZE
        for token in history:
            key = (key * 31 + token + 7) % _SIZE
        return key

    def next_log_probs(self, source: Sequence[int], tokens: Sequence[int]) -> Tensor:
        return self.table[self.key(source, (BOS, *tokens))]

    def log_prob(self, source: Sequence[int], tokens: Sequence[int]) -> float:
        ids = [*tokens, EOS]
        return sum(
            float(self.next_log_probs(source, ids[:i])[token]) for i, token in enumerate(ids)
        )

    def all_outputs(self, source: Sequence[int], max_len: int) -> Iterator[tuple[tuple, float]]:
        words = [token for token in range(self.table.shape[1]) if token not in (PAD, BOS, EOS)]
        for length in range(max_len + 1):
            for tokens in itertools.product(words, repeat=length):
                yield tokens, self.log_prob(source, tokens)


def sources(count: int, seed: int = 3) -> list[tuple[int, ...]]:
    generator = torch.Generator().manual_seed(seed)
    lengths = torch.randint(1, 9, (count,), generator=generator).tolist()
    return [tuple(torch.randint(3, 900, (n,), generator=generator).tolist()) for n in lengths]
