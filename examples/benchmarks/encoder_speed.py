"""Tokens per second of attn's BERT beside transformers', the same sizes and weights, one run.

    python examples/benchmarks/encoder_speed.py [--threads 2] [--rounds 7]

Needs `transformers` (the `test` extra). Each round times both, in turns; medians are printed.
Pre-training: one update of MLM + NSP on the same random tokens, 15 % of them masked, AdamW.
Inference: the encoder alone, without gradients, on full sequences and on lengths as of sentences.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable, Sequence

import numpy as np
import torch
import transformers
from torch import Tensor

from attn_cli.config.command import resolve
from attn_cli.config.pretraining import PretrainCommand
from attn_cli.data.batching import cut_by_budget
from attn_cli.memory import keep_freed_memory
from attn_cli.models import build_model
from attn_cli.models.stack import StackConfig
from attn_cli.models.text import HeadConfig
from attn_cli.systems.pretraining.masked import MaskedBatch, MaskedObjective
from attn_cli.train.optim import build_optimizers

SIZES = {"mini": (256, 4, 4), "MiniLM": (384, 12, 6), "base": (768, 12, 12)}
VOCAB = 8000


def ours(size: str, heads: Sequence[HeadConfig] = ()) -> torch.nn.Module:
    d_model, n_heads, n_layers = SIZES[size]
    sizes = {"d_model": d_model, "d_ff": 4 * d_model, "n_heads": n_heads, "n_layers": n_layers}
    return build_model("bert", StackConfig(vocab_size=VOCAB, **sizes), heads)


def theirs(size: str, kind: type) -> torch.nn.Module:
    d_model, n_heads, n_layers = SIZES[size]
    return kind(
        transformers.BertConfig(
            vocab_size=VOCAB,
            hidden_size=d_model,
            num_attention_heads=n_heads,
            num_hidden_layers=n_layers,
            intermediate_size=4 * d_model,
        )
    )


def paired(one: Callable[[], object], two: Callable[[], object], rounds: int) -> list[float]:
    """Median seconds of both, timed in turns."""
    times: list[list[float]] = [[], []]
    for round_number in range(rounds + 1):
        for run, found in zip((one, two), times, strict=True):
            start = time.perf_counter()
            run()
            if round_number:  # the first is a warm-up
                found.append(time.perf_counter() - start)
    return [statistics.median(found) for found in times]


def report(what: str, tokens: int, seconds: Sequence[float]) -> None:
    attn, peer = (tokens / each for each in seconds)
    print(
        f"{what}\tattn {attn:,.0f}\ttransformers {peer:,.0f}\tratio {attn / peer:.2f}", flush=True
    )


def pretraining(size: str, rounds: int, rows: int = 32, length: int = 128) -> None:
    heads = (
        HeadConfig(name="mlm", kind="mlm", n_outputs=VOCAB),
        HeadConfig(name="nsp", kind="text", n_outputs=2),
    )
    objective = MaskedObjective(ours(size, heads), 0.0).train()
    training = resolve(PretrainCommand, {"optimizer": "adamw"}).training
    optimizers = build_optimizers(objective.model, training)
    peer = theirs(size, transformers.BertForPreTraining).train()
    adamw = torch.optim.AdamW(peer.parameters(), lr=1e-4, fused=True)
    gold = torch.randint(5, VOCAB, (rows, length))
    masked = torch.rand(rows, length) < 0.15
    ids, mask = gold.masked_fill(masked, 4), torch.ones(rows, length, dtype=torch.bool)
    segments = (torch.arange(length) >= length // 2).long().expand(rows, -1)
    pairs = torch.randint(0, 2, (rows,))
    weight = float(masked.sum()) / rows
    batch = MaskedBatch(ids, mask, segments, gold, masked, pairs, pair_weight=weight)

    def step_ours() -> None:
        (objective(batch)[0] / batch.n_tokens).backward()
        for optimizer in optimizers:
            optimizer.step()
            optimizer.zero_grad()

    def step_theirs() -> None:
        labels = gold.masked_fill(~masked, -100)
        peer(
            input_ids=ids,
            attention_mask=mask.long(),
            token_type_ids=segments,
            labels=labels,
            next_sentence_label=pairs,
        ).loss.backward()
        adamw.step()
        adamw.zero_grad()

    seconds = paired(step_ours, step_theirs, rounds)
    report(f"pre-training, {size}, {rows}x{length}", rows * length, seconds)


@torch.inference_mode()
def inference(size: str, rounds: int, lengths: Sequence[int], what: str) -> None:
    """Sequences of these lengths, in this order; each program batches as it does by itself.

    transformers' feature-extraction users pad batches of 32 in the order of the input; attn sorts
    by length inside a window. The padding that this saves is part of the comparison.
    """
    backbone = ours(size).eval().backbone
    peer = theirs(size, transformers.BertModel).eval()
    rng = np.random.default_rng(0)
    rows = [torch.from_numpy(rng.integers(5, VOCAB, n)) for n in lengths]

    def padded(group: Sequence[int]) -> tuple[Tensor, Tensor]:
        some = [rows[i] for i in group]
        ids = torch.nn.utils.rnn.pad_sequence(some, batch_first=True)
        return ids, torch.arange(ids.shape[1]) < torch.tensor([len(row) for row in some])[:, None]

    groups = cut_by_budget([(n, n) for n in lengths], 8192, 0)
    in_order = [range(i, min(i + 32, len(rows))) for i in range(0, len(rows), 32)]

    def run_ours() -> None:
        for group in groups:
            backbone(*padded(group))

    def run_theirs() -> None:
        for group in in_order:
            ids, mask = padded(group)
            peer(input_ids=ids, attention_mask=mask.long())

    report(f"inference, {size}, {what}", sum(lengths), paired(run_ours, run_theirs, rounds))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=7)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(1)
    keep_freed_memory()  # both profit from it
    print(f"torch {torch.__version__}, transformers {transformers.__version__}, tokens/s")
    pretraining("mini", options.rounds)
    inference("MiniLM", options.rounds, [128] * 64, "64 full sequences of 128")
    sentences = np.random.default_rng(1).gamma(2.0, 12.0, 512).astype(int).clip(3, 128)
    inference("MiniLM", options.rounds, sentences.tolist(), "512 sentences, 3 to 128 tokens")
    inference("base", max(3, options.rounds // 2), [128] * 16, "16 full sequences of 128")


if __name__ == "__main__":
    main()
