"""The machine's ceiling: the model's own matrix products and nothing else; their FLOPs.

Of tokens alone, without padding; only matrices of attention weights are as large as their batch. A
product Y = X Wᵀ is made three times: in the backward pass dX = dY W and dW = dYᵀ X follow.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from batches import Masked, Pairs, masked_batches, translation_batches
from torch import Tensor
from work import Engine, Measured, Try, Work, timed

BIG = 2048  # side of the big product


@dataclass(frozen=True)
class Product:
    """`count` products of (n, inner) by (inner, m) matrices at once, that `times` times."""

    n: int
    inner: int
    m: int
    times: int = 1
    count: int = 1

    @property
    def flops(self) -> float:
        """Forward and backward."""
        return 3 * 2.0 * self.n * self.inner * self.m * self.count * self.times


def attention(work: Work, batch: int, queries: int, keys: int) -> list[Product]:
    """Q Kᵀ and A V of every layer and head."""
    heads, d_head, layers = batch * work.n_heads, work.d_model // work.n_heads, work.n_layers
    return [
        Product(queries, d_head, keys, layers, heads),
        Product(queries, keys, d_head, layers, heads),
    ]


def translation_products(work: Work, batch: Pairs) -> list[Product]:
    """Of an encoder-decoder transformer and its output layer."""
    d, f, layers, rows = work.d_model, work.d_ff, work.n_layers, len(batch.src)
    s, t = sum(map(len, batch.src)), batch.n_targets
    wide_s, wide_t = max(map(len, batch.src)), max(map(len, batch.tgt)) - 1
    return [
        *(Product(s, d, m, layers) for m in (3 * d, d, f, 2 * d)),  # the last: the memory's K, V
        *(Product(t, d, m, layers) for m in (3 * d, d, d, d, f)),
        *(Product(n, f, d, layers) for n in (s, t)),
        *attention(work, rows, wide_s, wide_s),
        *attention(work, rows, wide_t, wide_t),
        *attention(work, rows, wide_t, wide_s),
        Product(t, d, work.vocab),
    ]


def masked_products(work: Work, batch: Masked) -> list[Product]:
    """Of BERT: after its last attention only what a loss is about, hidden tokens and [CLS]."""
    d, f, layers = work.d_model, work.d_ff, work.n_layers
    rows, length = batch.ids.shape
    hidden = int(batch.hidden.sum())
    return [
        *(Product(rows * length, d, m, layers) for m in (3 * d, d)),
        *(Product(rows * length, *sizes, layers - 1) for sizes in ((d, f), (f, d))),
        *(Product(rows + hidden, *sizes) for sizes in ((d, f), (f, d))),
        *attention(work, rows, length, length),
        *(Product(rows, d, m) for m in (d, 2)),  # pooler, next sentence
        *(Product(hidden, d, m) for m in (d, work.vocab)),
    ]


class Products(Engine):
    """Makes the products of the same batches, in memory that is there."""

    def measure(self, task: Try) -> Measured:
        work = task.work
        if work.kind == "translation":
            pairs = translation_batches(task)
            batches = [(each.n_targets, translation_products(work, each)) for each in pairs]
        else:
            inputs = masked_batches(task)
            batches = [(each.ids.numel(), masked_products(work, each)) for each in inputs]
        most = max(
            each.count * max(each.n * each.inner, each.inner * each.m, each.n * each.m)
            for _, products in batches
            for each in products
        )
        memory = torch.randn(6, most)

        def step(batch: tuple[int, list[Product]]) -> int:
            for product in batch[1]:
                make(product, memory)
            return batch[0]

        found = timed(task, step, batches)
        found.flops = flops(batches[work.warmup :])
        found.big = big_product()
        return found


def flops(batches: Sequence[tuple[int, list[Product]]]) -> float:
    return sum(each.flops for _, products in batches for each in products)


def make(product: Product, memory: Tensor) -> None:
    """A product, forward and backward."""
    n, k, m, count = product.n, product.inner, product.m, product.count

    def matrix(number: int, *shape: int) -> Tensor:
        shape = shape if count == 1 else (count, *shape)
        return memory[number, : torch.Size(shape).numel()].view(shape)

    x, w, dy = matrix(0, n, k), matrix(1, m, k), matrix(2, n, m)
    y, dx, dw = matrix(3, n, m), matrix(4, n, k), matrix(5, m, k)
    multiply = torch.mm if count == 1 else torch.bmm
    for _ in range(product.times):
        multiply(x, w.mT, out=y)
        multiply(dy, w, out=dx)
        multiply(dy.mT, x, out=dw)


def big_product() -> float:
    """FLOP/s of the best of some products of large square matrices."""
    x, y, seconds = torch.randn(BIG, BIG), torch.empty(BIG, BIG), []
    for _ in range(5):
        start = time.perf_counter()
        torch.mm(x, x, out=y)
        seconds.append(time.perf_counter() - start)
    return 2 * BIG**3 / min(seconds)
