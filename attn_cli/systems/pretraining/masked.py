"""Masked language models, with or without next-sentence prediction: batches and objective.

Shapes: B batch, T length, E examples, n masked tokens, D d_model.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import ClassVar, Self, overload

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from attn_cli.data.batching import Batch, cut_by_budget, moved
from attn_cli.data.masking import Masker
from attn_cli.models.stack import Bert
from attn_cli.nn.losses import linear_cross_entropy, rows_at_once
from attn_cli.systems.pretraining.base import DocumentReader, PretrainingObjective
from attn_cli.systems.pretraining.segments import (
    EncodedDocument,
    TokenizedDocuments,
    encoded,
    full_sentences,
    joined,
    segment_pairs,
)
from attn_cli.train.spread import Spread, alone

IGNORE_INDEX = -1  # the label of what is no pair
_LENDERS = 16  # documents read for their segments where a pool has too few


@dataclass(frozen=True)
class MaskedBatch(Batch):
    """Padded inputs.

    Attributes:
        ids: [CLS] A [SEP], or [CLS] A [SEP] B [SEP], tokens hidden. Shape: (B, T).
        mask: which of them are real. Shape: (B, T), boolean.
        segments: 0 for A, 1 for B. Shape: (B, T).
        gold: the tokens before some were hidden. Shape: (B, T).
        masked: which of them are to be predicted. Shape: (B, T), boolean.
        labels: whether B follows A (0) or not (1); `IGNORE_INDEX` where nothing is asked. Shape:
            (B,).
        pair_weight: of a pair's loss; it makes the sum over the whole batch, divided by the masked
            tokens, `nsp_weight` times the mean over pairs. Parts of a batch keep it.
    """

    ids: Tensor
    mask: Tensor
    segments: Tensor
    gold: Tensor
    masked: Tensor
    labels: Tensor
    pair_weight: float = field(kw_only=True)

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def n_tokens(self) -> int:
        """Tokens to be predicted."""
        return int(self.masked.sum())

    @property
    def n_read(self) -> int:
        """Tokens that the model reads."""
        return int(self.mask.sum())

    def rows(self, which: slice) -> Self:
        """Some of the inputs."""
        return self._with_each(lambda tensor: tensor[which])

    def without_targets(self) -> Self:
        """The same shapes with nothing to predict: what an idle rank computes to keep step."""
        masked, labels = torch.zeros_like(self.masked), torch.full_like(self.labels, IGNORE_INDEX)
        return dataclasses.replace(self, masked=masked, labels=labels)

    def to(self, device: torch.device) -> Self:
        """The batch on a device."""
        return self._with_each(lambda tensor: moved(tensor, device))

    def _with_each(self, change: Callable[[Tensor], Tensor]) -> Self:
        parts = vars(self)
        changed = {key: change(part) for key, part in parts.items() if isinstance(part, Tensor)}
        return type(self)(**{**parts, **changed})


@dataclass
class MaskedReader(DocumentReader[MaskedBatch, EncodedDocument]):
    """Reads documents and cuts them into batches of full sentences with masked tokens.

    Attributes:
        pairs: whether inputs are segment pairs, or packed full sentences.
    """

    pairs: ClassVar[bool] = False

    def __post_init__(self) -> None:
        self.masking = self.options.masking
        self.masker = Masker(self.tokenizer, self.masking)

    def encode(self, numbers: NDArray[np.int64], seed: int) -> list[EncodedDocument]:
        """The documents with these numbers as tokens."""
        return self._encoded(self.rows[numbers])

    def cut(self, items: Sequence[EncodedDocument], seed: int) -> Sequence[MaskedBatch]:
        """Documents as shuffled batches, each made when it is asked for."""
        mask_seed = self.options.runtime.seed if self.masking.static_masking else seed
        documents, spans = self._paired(items, mask_seed) if self.pairs else self._packed(items)
        # What has nothing to hide (unknown tokens alone) teaches nothing.
        hideable = np.concatenate(([0], np.cumsum(self.masker.maskable[documents.ids])))
        counts = hideable[spans[:, 1]] - hideable[spans[:, 0]]
        counts += hideable[spans[:, 3]] - hideable[spans[:, 2]]
        spans = spans[counts > 0]
        sizes = self._sizes(spans)
        groups = cut_by_budget(np.stack((sizes, sizes), 1), self.batch_tokens, seed)
        return _Batches(self, documents, spans, groups, mask_seed)

    def _packed(
        self, items: Sequence[EncodedDocument]
    ) -> tuple[TokenizedDocuments, NDArray[np.int64]]:
        room = self.max_len - 2
        sep_id = self.tokenizer.sep_id
        documents = joined(items, self.tokenizer, room - 1, sep_id)
        return documents, _array(full_sentences(documents, room, sep_id))

    def _paired(
        self, items: Sequence[EncodedDocument], seed: int
    ) -> tuple[TokenizedDocuments, NDArray[np.int64]]:
        room = self.max_len - 3
        lenders = self._lenders(items, seed)
        documents = joined([*items, *lenders], self.tokenizer, room // 2)
        seeds = [(seed << 64) + item.row for item in items]
        pairs = segment_pairs(documents, room, self.masking.short_seq, seeds)
        return documents, _array(pairs)

    def _encoded(self, rows: NDArray[np.int64]) -> list[EncodedDocument]:
        numbers = self.corpus.documents(rows).tolist()
        documents = list(zip(self.corpus.read(rows), rows.tolist(), numbers, strict=True))
        return encoded(documents, self.tokenizer)

    def _lenders(self, items: Sequence[EncodedDocument], seed: int) -> list[EncodedDocument]:
        """Other documents, where all of these rows are parts of one."""
        if len({item.number for item in items}) > 1:
            return []
        draw = np.random.default_rng(seed).integers(0, len(self.rows), _LENDERS)
        return self._encoded(np.unique(self.rows[draw]))

    def _sizes(self, spans: NDArray[np.int64]) -> NDArray[np.int64]:
        """Lengths of the inputs in tokens. Shape: (E, 5) -> (E,)."""
        return spans[:, 1] - spans[:, 0] + spans[:, 3] - spans[:, 2] + 2 + self.pairs

    def batch(
        self, documents: TokenizedDocuments, spans: NDArray[np.int64], seed: int
    ) -> MaskedBatch:
        """The inputs with these spans. Shape: spans (B, 5)."""
        a, a_end, b, b_end, labels = (column[:, None] for column in spans.T)
        position = np.arange(self._sizes(spans).max(initial=0))
        a_size, b_size = a_end - a, b_end - b
        in_a = (position >= 1) & (position <= a_size)
        in_b = (position >= a_size + 2) & (position < a_size + 2 + b_size)
        text = in_a | in_b
        at = np.where(in_a, a + position - 1, b + position - a_size - 2)[text]
        is_sep = (position == a_size + 1) | (self.pairs & (position == a_size + b_size + 2))
        gold = np.full(text.shape, self.tokenizer.pad_id, np.int64)
        gold[:, 0] = self.tokenizer.cls_id
        gold[is_sep] = self.tokenizer.sep_id
        gold[text] = documents.ids[at]
        starts, keys = np.zeros(text.shape, bool), np.zeros(text.shape, np.uint64)
        starts[text], keys[text] = documents.starts[at], documents.keys[at]
        ids, masked = self.masker(gold, starts, keys, seed)
        mask = text | is_sep | (position == 0)
        segments = (mask & (position >= a_size + 2)).astype(np.int64)
        labels = spans[:, 4] if self.pairs else np.full(len(spans), IGNORE_INDEX)
        batch = MaskedBatch(
            ids=torch.from_numpy(ids),
            mask=torch.from_numpy(mask),
            segments=torch.from_numpy(segments),
            gold=torch.from_numpy(gold),
            masked=torch.from_numpy(masked),
            labels=torch.from_numpy(labels),
            pair_weight=self.masking.nsp_weight * int(masked.sum()) / max(1, len(spans)),
        )
        return self.completed(batch, keys, seed)

    def completed(self, batch: MaskedBatch, keys: NDArray[np.uint64], seed: int) -> MaskedBatch:
        """A batch with what an objective needs besides, given the key of each token (B, T)."""
        return batch


@dataclass
class PairedReader(MaskedReader):
    """The same of pairs of segments, half of which follow one another."""

    pairs: ClassVar[bool] = True


@dataclass(frozen=True)
class _Batches(Sequence[MaskedBatch]):
    """Batches that take memory only while they are used."""

    reader: MaskedReader
    documents: TokenizedDocuments
    spans: NDArray[np.int64]
    groups: list[list[int]]
    seed: int

    def __len__(self) -> int:
        return len(self.groups)

    @overload
    def __getitem__(self, number: int) -> MaskedBatch: ...
    @overload
    def __getitem__(self, number: slice) -> Sequence[MaskedBatch]: ...
    def __getitem__(self, number: int | slice) -> MaskedBatch | Sequence[MaskedBatch]:
        if isinstance(number, slice):
            return dataclasses.replace(self, groups=self.groups[number])
        return self.reader.batch(self.documents, self.spans[self.groups[number]], self.seed)


def _array(spans: list[tuple[int, int, int, int, int]]) -> NDArray[np.int64]:
    return np.array(spans, np.int64).reshape(-1, 5)


class MaskedObjective(PretrainingObjective[MaskedBatch]):
    """-Σ ln p(wᵢ) over hidden tokens, and -ln p(B follows A) (Devlin et al. 2019, 3.1).

    The second term is there if the model has a head `nsp`. Only the vectors of hidden tokens (and
    of [CLS]) go through the last feed-forward network and the vocabulary, the expensive parts.
    """

    @property
    def unused(self) -> Iterable[nn.Parameter]:
        """The pooler, where no pair is asked about."""
        backbone = self.model.backbone
        assert isinstance(backbone, Bert)
        return () if "nsp" in self.model.heads else backbone.pooler.parameters()

    def forward(self, batch: MaskedBatch) -> tuple[Tensor, Tensor]:
        """The loss, a sum over hidden tokens and weighted pairs; and the tokens' without smoothing.

        Divided by the hidden tokens of a whole batch it is the mean over them plus the mean over
        pairs.
        """
        vectors, pairs = self._outputs(batch)
        weight, bias = self.model.vocabulary_layer
        gold = batch.gold[batch.masked]
        loss, nll = linear_cross_entropy(vectors, weight, bias, gold, self.label_smoothing)
        if pairs is not None:
            pair_loss = F.cross_entropy(
                pairs, batch.labels, ignore_index=IGNORE_INDEX, reduction="sum"
            )
            loss = loss + batch.pair_weight * pair_loss
        return loss, nll

    def _outputs(self, batch: MaskedBatch) -> tuple[Tensor, Tensor | None]:
        """What the vocabulary scores are made of, and the scores of the pairs.

        Shape: (n, D), (B, 2).
        """
        model, masked = self.model, batch.masked
        if "nsp" not in model.heads:
            vectors = model.backbone.at(batch.ids, batch.mask, batch.segments, masked)
            return model.heads["mlm"](vectors), None
        first = torch.zeros_like(masked)
        first[:, 0] = True
        chosen = masked | first
        vectors = model.backbone.at(batch.ids, batch.mask, batch.segments, chosen)
        pooled = model.backbone.pool(vectors[first[chosen]][:, None], batch.mask)
        return model.heads["mlm"](vectors[masked[chosen]]), model.heads["nsp"](pooled).float()

    @torch.inference_mode()
    def figures(self, batches: Sequence[MaskedBatch], spread: Spread = alone) -> dict[str, float]:
        """The loss that is trained, perplexity and accuracy of hidden tokens, accuracy of pairs."""
        device = next(self.parameters()).device
        sums = torch.zeros(6, dtype=torch.float64)
        for measured in spread(lambda batch: self._measured(batch.to(device)), batches):
            sums += measured
        tokens, nll, right, n_pairs, weighted, pairs_right = sums.tolist()
        figures = {"loss": nll / max(tokens, 1)}
        figures["perplexity"] = math.exp(min(figures["loss"], 700))
        figures["mlm_accuracy"] = right / max(tokens, 1)
        if n_pairs:
            figures["loss"] += weighted / max(tokens, 1)
            figures["nsp_accuracy"] = pairs_right / n_pairs
        return figures

    def _measured(self, batch: MaskedBatch) -> Tensor:
        """Of hidden tokens and of pairs each: how many, their share of the loss, how many right.

        Shape: (6,).
        """
        vectors, pairs = self._outputs(batch)
        weight, bias = self.model.vocabulary_layer
        gold = batch.gold[batch.masked]
        nll = right = 0.0
        rows = rows_at_once(vectors.device, len(weight))
        for some, wanted in zip(vectors.split(rows), gold.split(rows), strict=True):
            logits = F.linear(some, weight, bias).float()
            nll += float(F.cross_entropy(logits, wanted, reduction="sum"))
            right += int((logits.argmax(1) == wanted).sum())
        sums = [len(gold), nll, right, 0.0, 0.0, 0.0]
        if pairs is not None:
            pair_nll = F.cross_entropy(pairs, batch.labels, reduction="sum")
            pairs_right = (pairs.argmax(1) == batch.labels).sum()
            sums[3:] = [len(pairs), batch.pair_weight * float(pair_nll), int(pairs_right)]
        return torch.tensor(sums, dtype=torch.float64)
