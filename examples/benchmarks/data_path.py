"""What the data path of a training costs by itself: pairs a CPU second, and memory over an epoch.

    python large_corpus.py 2000000 > train.tsv
    python data_path.py train.tsv tok.model                  an epoch of batches, and no model
    python data_path.py train.tsv tok.model --sampling 0.1   with subword sampling

Memory is that of the whole process (`VmRSS`), and what it has beyond the process that has loaded
PyTorch and this program, and opened nothing. It also counts that every row comes once in the epoch.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from attn_cli.data.batching import POOL_ROWS, Position, stream
from attn_cli.data.corpus import Indexing, build_corpus
from attn_cli.data.entries import CorpusFiles
from attn_cli.data.split import Rows
from attn_cli.lines.columns import Columns
from attn_cli.lines.unusable import BadLines
from attn_cli.systems.translation.pairs import Encoded, PairReader
from attn_cli.systems.translation.text_source import TextSide
from attn_cli.tokenizers.tokenizer_files import load_tokenizer
from attn_cli.workers import Crew

REPORTS = 10  # of an epoch


class Counting(PairReader):
    """A reader that notes how often each pair is read."""

    def encode(self, numbers: NDArray[np.int64], seed: int) -> list[Encoded]:
        self.times[numbers] += 1
        return super().encode(numbers, seed)


def memory(name: str = "VmRSS") -> float:
    """MiB of this process: now, or at most so far (`VmHWM`)."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(name)) / 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("corpus")
    parser.add_argument("tokenizer")
    parser.add_argument("--sampling", type=float, default=0.0)
    parser.add_argument("--batch-tokens", type=int, default=4096)
    options = parser.parse_args()
    torch.set_num_threads(1)
    bare = memory()
    print(f"PyTorch and the program loaded: {bare:.0f} MiB")
    with tempfile.TemporaryDirectory() as folder:
        run(options, Path(folder), bare)


def run(options: argparse.Namespace, work: Path, bare: float) -> None:
    """Indexes the corpus, and goes through an epoch of its batches."""
    began = time.process_time()
    files = CorpusFiles((options.corpus,), Columns((0, 1)))
    bad = BadLines(print, skip_bad=False)
    corpus = build_corpus(files, work, "train", bad, _any, indexing=Indexing(crew=Crew()))
    size = len(corpus)
    print(f"{size:,} pairs indexed in {time.process_time() - began:.1f} CPU s: {memory():.0f} MiB")
    tokenizer = load_tokenizer(options.tokenizer)
    reader = Counting(
        corpus,
        Rows(size, np.empty(0, np.int64)),
        TextSide(tokenizer),
        tokenizer,
        options.batch_tokens,
        256,
        sample_alpha=options.sampling,
    )
    reader.times = np.zeros(size, np.uint8)
    held = memory()
    print(f"tokenizer loaded, and {size:,} bytes to count in: {held:.0f} MiB")
    n_batches = n_pairs = n_tokens = said = 0
    began = time.process_time()
    for placed in stream(reader.source(), 1, Position()):
        n_batches, n_pairs = n_batches + 1, n_pairs + len(placed.batch)
        n_tokens += placed.batch.n_tokens
        if placed.epochs * REPORTS >= said + 1:
            said += 1
            rate = int(reader.times.sum()) / (time.process_time() - began)
            print(
                f"{placed.epochs:4.0%} of the epoch: {rate:,.0f} pairs and "
                f"{rate * n_tokens / n_pairs:,.0f} target tokens a CPU s; {memory():.0f} MiB "
                f"({memory() - bare:.0f} beyond PyTorch), at most {memory('VmHWM'):.0f}",
                flush=True,
            )
        if placed.after.epoch:
            break
    # What is read ahead is the next epoch's.
    ahead = int(reader.times.sum()) - size
    assert reader.times.min() > 0 and n_pairs == size, "a pair was left out"
    assert 0 <= ahead <= max(size, POOL_ROWS), "a pair came twice"
    print(f"{n_batches:,} batches; every pair once, and {ahead:,} ahead, of the next epoch")


def _any(fields: list[str]) -> str | None:
    return None


if __name__ == "__main__":
    main()
