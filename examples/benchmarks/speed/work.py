"""What is measured: the works, their data, and what an engine is. Imports no PyTorch.

A work is a table of the page; an engine is a program that does it: a class in a file of its own and
a row of ENGINES in `__main__.py`. A try is one engine at one work in a process of its own.
"""

from __future__ import annotations

import argparse
import random
import subprocess
import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from recordings import write_recordings

EXAMPLES = Path(__file__).resolve().parents[2]
SPECIALS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")  # the first pieces of attn's WordPiece
DROPOUT, SMOOTHING, CTC_WEIGHT = 0.1, 0.1, 0.3
_TEXTS = {"translation": "pairs.tsv", "masked": "text.txt", "speech": "said.txt"}
LENGTH = 128  # of a masked language model's inputs
UNITS = {
    "translation": "target tokens/s",
    "masked": "tokens/s",
    "speech": "frames/s",
    "graph": "seconds a training",  # less is better
}


@dataclass(frozen=True)
class Work:
    """Sizes of the model and of an update, and how many updates a try has.

    attn tokenizes the next passes over the corpus during its first updates: those that warm up
    take longer than that.
    """

    kind: str  # of UNITS
    warmup: int
    steps: int  # of a graph: epochs of the whole training
    d_model: int = 0
    n_layers: int = 0  # of the encoder, and as many of a decoder
    n_heads: int = 0
    vocab: int = 0
    batch_tokens: int = 0

    @property
    def d_ff(self) -> int:
        return 4 * self.d_model


WORKS = {
    "tiny": Work("translation", 20, 30, 128, 3, 4, 8000, 2048),
    "d256": Work("translation", 5, 12, 256, 3, 4, 8000, 4096),
    "base": Work("translation", 2, 4, 512, 6, 8, 32000, 4096),
    "bert-mini": Work("masked", 5, 12, 256, 4, 4, 8000, 32 * LENGTH),
    "speech": Work("speech", 6, 16, 128, 3, 4, 34, 2048),
    "gat-cora": Work("graph", 0, 200),
}


@dataclass(frozen=True)
class Try:
    """One engine at one work, once. Tries of one round have one seed."""

    work: Work
    folder: str  # of the prepared data
    threads: int
    seed: int

    def file(self, name: str) -> Path:
        return Path(self.folder, name)

    @property
    def vocabulary(self) -> Path:
        ending = "model" if self.work.kind == "speech" else "txt"  # of characters, of WordPiece
        return self.file(f"{self.work.kind}-{self.work.vocab}-vocab.{ending}")


@dataclass
class Measured:
    """What a try found: so much work (tokens, trainings) in so many seconds."""

    amount: float
    seconds: float
    megabytes: float = 0.0  # most memory that the process has had
    flops: float = 0.0  # of the model's products, where the engine counts them
    big: float = 0.0  # FLOP/s of a big product, likewise

    @property
    def rate(self) -> float:
        return self.amount / self.seconds


class Engine(ABC):
    """A program that does some of the works."""

    @abstractmethod
    def measure(self, task: Try) -> Measured:
        """Does the work of a try, in a process that does nothing else."""


def timed(task: Try, step: Callable[[object], float], batches: Sequence[object]) -> Measured:
    """Warms up, then times; `step` takes a batch and says how much work that was."""
    for batch in batches[: task.work.warmup]:
        step(batch)
    start = time.perf_counter()
    amount = sum(step(batch) for batch in batches[task.work.warmup :])
    return Measured(amount, time.perf_counter() - start)


def prepare(folder: Path, works: Iterable[Work], given: argparse.Namespace) -> None:
    """Puts the data of the works into a folder: what is given, or made by the generators here."""
    if given.graph:
        (folder / "graph").symlink_to(Path(given.graph).resolve())
    else:
        write_graph(folder / "graph")
    if not given.train:
        subprocess.run([sys.executable, EXAMPLES / "grammar.py", folder], check=True)
    pairs = read_pairs(Path(given.train or folder / "train.tsv"))
    sources = [("\n" if n % 30 == 0 else "") + pair[0] for n, pair in enumerate(pairs)]
    lines = Path(given.text).read_text("utf-8").split("\n") if given.text else sources
    _write(folder / "pairs.tsv", map("\t".join, pairs[8:]))
    _write(folder / "dev.tsv", map("\t".join, pairs[:8]))
    _write(folder / "text.txt", lines[60:])
    _write(folder / "dev.txt", lines[:60])
    works = list(works)
    if any(work.kind == "speech" for work in works):
        write_recordings(folder)
    for work in works:
        if work.vocab:
            _train_vocabulary(Try(work, str(folder), 1, 0))


def read_pairs(path: Path) -> list[list[str]]:
    lines = path.read_text("utf-8").removesuffix("\n").split("\n")
    return [line.split("\t")[:2] for line in lines]


def _write(path: Path, lines: Iterable[str]) -> None:
    path.write_text("".join(f"{line}\n" for line in lines), "utf-8")


def _train_vocabulary(task: Try) -> None:
    """WordPiece of exactly the wanted size: what the text does not fill stays unused.

    Of recordings, characters, which are what attn has for so few: 26, the space, 7 special tokens.
    """
    kind = "char" if task.work.kind == "speech" else "wordpiece"
    text = task.file(_TEXTS[task.work.kind])
    command = [sys.executable, "-m", "attn_cli", "tokenize", "train", text, "--type", kind]
    command += ["--vocab-size", str(task.work.vocab), "-o", task.vocabulary]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    if kind == "char":
        return
    pieces = task.vocabulary.read_text("utf-8").split("\n")[:-1]
    assert tuple(pieces[: len(SPECIALS)]) == SPECIALS
    _write(task.vocabulary, pieces + [f"[unused{n}]" for n in range(task.work.vocab - len(pieces))])


def write_graph(folder: Path) -> None:
    """A graph of Cora's size: nodes of a label like the same features, and each other."""
    rng = random.Random(1)
    splits = ["train"] * 140 + ["val"] * 500 + ["test"] * 1000 + ["none"] * 1068
    rng.shuffle(splits)
    labels = [rng.randrange(7) for _ in splits]
    alike = [[node for node, each in enumerate(labels) if each == label] for label in range(7)]
    nodes, edges = ["node\tlabel\tsplit\tfeatures"], set()
    for node, (label, split) in enumerate(zip(labels, splits, strict=True)):
        own, words = range(204 * label, 204 * (label + 1)), range(1433)
        features = {rng.choice(own if rng.random() < 0.3 else words) for _ in range(18)}
        nodes.append(f"{node}\t{label}\t{split}\t{' '.join(map(str, sorted(features)))}")
    while len(edges) < 5278:
        one = rng.randrange(len(labels))
        two = rng.choice(alike[labels[one]] if rng.random() < 0.8 else range(len(labels)))
        if one != two:
            edges.add(f"{min(one, two)}\t{max(one, two)}")
    folder.mkdir()
    _write(folder / "nodes.tsv", nodes)
    _write(folder / "edges.tsv", ["node_u\tnode_v", *sorted(edges)])
