"""What an update of a large model costs on many GPUs, by a model that is checked on this machine.

    python examples/benchmarks/scaling.py             the table of scaling_plan.md
    python examples/benchmarks/scaling.py --measure   what the model says beside what is measured

Measured are the products of one update (PyTorch counts them), the bytes that two processes exchange
in one, with and without --shard, the bytes of a saved state, and the seconds of an update.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from unittest import mock

import torch
import torch.distributed as dist
import torch.multiprocessing
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from attn_cli.config.training import TrainingOptions
from attn_cli.data.batching import Placed, Position
from attn_cli.models import build_model
from attn_cli.models.seq2seq import TransformerConfig
from attn_cli.models.skeleton import without_values
from attn_cli.models.stack import StackConfig
from attn_cli.nn.blocks import Blocks, HasBlocks
from attn_cli.nn.stacked import stack_layers
from attn_cli.systems.translation.likelihood import TranslationObjective
from attn_cli.systems.translation.pairs import Seq2SeqBatch
from attn_cli.train.checkpoints import Checkpoints
from attn_cli.train.loop import Trainer, Training
from attn_cli.train.monitor import Monitor, Silence
from attn_cli.train.optim import Muon, build_optimizers
from attn_cli.train.processes import Processes
from attn_cli.train.sharding import ShardedProcesses

CPU = torch.device("cpu")
GPUS = (1, 8, 64, 1024)
RATE = 400e12  # products a GPU computes in bf16 a second: an assumption, of an H100 at 40 %
INSIDE, BETWEEN = 300e9, 40e9  # bytes a second and GPU in a node of 8, and between nodes: likewise
LENGTH = {"base": 30, "big": 30, "BERT large": 128}  # tokens of a line, as its model reads them
TOKENS = {"base": 25_000, "big": 25_000, "BERT large": 32_768}  # of a GPU and update
MASKED = 0.15


def model_of(name: str) -> nn.Module:
    """One of the three models, without values."""
    with without_values():
        if name == "BERT large":
            sizes = {"d_model": 1024, "d_ff": 4096, "n_heads": 16, "n_layers": 24}
            return build_model("bert", StackConfig(vocab_size=30_522, **sizes))
        parts = TransformerConfig.presets[name].parts
        vocabulary = {"src_vocab": 32_000, "tgt_vocab": 32_000, "share_embeddings": True}
        return build_model("transformer", TransformerConfig(**parts, **vocabulary))


@dataclass
class Cost:
    """What one update needs, of weights W of which M are Muon's, L in layers, V D in the output."""

    weights: int
    muon: int
    layers: int
    output: int
    orthogonal: float  # products of Muon's iterations

    @classmethod
    def of(cls, model: nn.Module, *, bf16: bool) -> Cost:
        """That of a model; in bf16 Muon iterates on whole matrices (see `train.orthogonal`)."""
        weights = list(model.parameters())
        matrices = [
            weight
            for optimizer in build_optimizers(model, TrainingOptions(metric="loss"))
            if isinstance(optimizer, Muon)
            for group in optimizer.param_groups
            for weight in group["params"]
        ]
        blocks = {
            id(weight): cut
            for module in model.modules()
            if isinstance(module, HasBlocks)
            for weight, cut in module.blocks()
        }
        in_layers = {id(w) for layer in stack_layers(model) for w in layer.parameters()}
        return cls(
            sum(map(Tensor.numel, weights)),
            sum(map(Tensor.numel, matrices)),
            sum(w.numel() for w in weights if id(w) in in_layers),
            max(w.numel() for w in weights),
            sum(_orthogonal(w, blocks.get(id(w), Blocks()), bf16=bf16) for w in matrices),
        )

    def forward_and_back(self, tokens: float, predicted: float = 1.0) -> float:
        """6 products a weight and token that meets it: L, and V D of those that are predicted."""
        return 6 * tokens * (self.layers + self.output * predicted)

    def exchanged(self, world: int, *, shard: bool, half: int = 4) -> float:
        """Bytes that a process sends in an update.

        Without --shard gradients are summed up, 2 · 4 W, and Muon's factors gathered, 4 M. With it
        layers are gathered twice and the rest once, in `half` and 4 bytes, gradients summed up
        into parts, 4 W, and a part of the matrices and of their factors dealt out and back.
        """
        share = (world - 1) / world
        if not shard:
            return share * (8 * self.weights + 4 * self.muon)
        rest = self.weights - self.layers
        gathered = 2 * half * self.layers + 4 * rest
        return share * (gathered + 4 * self.weights + 2 * half * self.muon / world)

    @property
    def state(self) -> int:
        """Bytes of a saved state: weights, their average, one moment of Muon's, two of the rest."""
        return 8 * self.weights + 4 * self.muon + 8 * (self.weights - self.muon)


def _orthogonal(weight: Tensor, cut: Blocks, *, bf16: bool) -> float:
    rows, cols = weight.shape[-2:]
    rows, cols = (rows // cut.parts, cols) if cut.dim == -2 else (rows, cols // cut.parts)
    small, large = sorted((rows, cols))
    count = weight.numel() // (rows * cols)
    if large >= 2 * small and not bf16:
        return count * (4 * small**2 * large + 18 * small**3)
    return count * (12 * small**2 * large + 6 * small**3)


def table() -> Iterator[str]:
    """A line for each model and number of GPUs."""
    for name, tokens in TOKENS.items():
        cost = Cost.of(model_of(name), bf16=True)
        predicted = MASKED if name == "BERT large" else 1.0
        compute = cost.forward_and_back(tokens, predicted) / RATE
        yield (
            f"{name}: {cost.weights / 1e6:.0f} M weights, {cost.muon / 1e6:.0f} M of Muon's; "
            f"{cost.forward_and_back(1, predicted) / 1e6:,.0f} MFLOP a token, "
            f"{cost.orthogonal / 1e12:.2f} TFLOP of Muon; state {cost.state / 1e9:.2f} GB"
        )
        for world in GPUS:
            speed = INSIDE if world <= GPUS[1] else BETWEEN
            orthogonal = cost.orthogonal / RATE / world
            whole = cost.exchanged(world, shard=False) / speed
            sharded = cost.exchanged(world, shard=True, half=2) / speed
            seconds = compute + orthogonal + whole
            overlapped = orthogonal + max(compute, sharded)
            kept = 4 * cost.weights + cost.state
            yield (
                f"| {name} | {world:,} | {1e3 * compute:.0f} | {1e3 * orthogonal:.1f} | "
                f"{1e3 * whole:.0f} | {compute / seconds:.0%} | {1e3 * sharded:.0f} | "
                f"{compute / overlapped:.0%} | {kept / 1e9:.2f}, {kept / world / 1e9:.2f} | "
                f"{world * tokens / LENGTH[name] / seconds / 1e3:,.0f} |"
            )


def small(threads: int = 1) -> TranslationObjective:
    """A model that a CPU trains: 3 + 3 layers, d = 256, V = 8,000."""
    torch.set_num_threads(threads)
    torch.manual_seed(1)
    parts = {**TransformerConfig.presets["small"].parts, "dropout": 0.0}
    vocabulary = {"src_vocab": 8000, "tgt_vocab": 8000, "share_embeddings": True}
    return TranslationObjective(
        build_model("transformer", TransformerConfig(**parts, **vocabulary)), 0.1
    )


def batch(n_rows: int, length: int) -> Seq2SeqBatch:
    """Random pairs without padding."""
    ids = torch.randint(4, 8000, (n_rows, length))
    full = torch.ones(n_rows, length, dtype=torch.bool)
    return Seq2SeqBatch(ids, full, torch.cat([ids[:, :1], ids], 1), full)


def trained(processes: Processes, folder: Path, given: Seq2SeqBatch, *, shard: bool) -> Trainer:
    """A training of a few updates, its seconds and sent bytes noted in `sent` and `seconds`."""
    objective = small()
    if shard:
        processes = ShardedProcesses.shard(objective, processes, bf16=False)

    def stream(position: Position, *_: object) -> Iterator[Placed[Seq2SeqBatch]]:
        for number in range(position.row, 1 << 20):
            yield Placed(given, Position(0, number + 1), number + 1)

    options = TrainingOptions(max_steps=8, metric="loss", precision="float32", save_every="9h")
    return Trainer(
        Training(objective, stream, lambda *_: {"loss": 1.0}),
        options,
        processes,
        Checkpoints(folder),
        Monitor(Silence(), folder / "train.jsonl", None, active=processes.is_main),
        save=lambda *_: None,
    )


class Counted:
    """Collectives, and how much a process sends by them."""

    FACTORS = {
        "all_reduce": 2,
        "all_gather": 1,
        "all_gather_into_tensor": 1,
        "all_gather_single": 1,
    }
    FACTORS |= {"reduce_scatter_tensor": 1, "reduce_scatter_single": 1, "all_to_all_single": 1}

    def __init__(self, world: int) -> None:
        self.world, self.sent = world, 0.0

    def __enter__(self) -> Counted:
        self.patches = [
            mock.patch.object(dist, name, partial(self._count, name, getattr(dist, name)))
            for name in self.FACTORS
            if name in vars(dist)  # which PyTorch renames
        ]
        for patch in self.patches:
            patch.start()
        return self

    def __exit__(self, *_: object) -> None:
        for patch in self.patches:
            patch.stop()

    def _count(self, name, collective, *args, **kwargs):
        tensors = [*args, *kwargs.values()]
        flat = [t for arg in tensors for t in (arg if isinstance(arg, list) else [arg])]
        largest = max(t.nbytes for t in flat if isinstance(t, Tensor))
        if name == "all_gather":
            largest *= self.world
        self.sent += self.FACTORS[name] * largest * (self.world - 1) / self.world
        return collective(*args, **kwargs)


def one_of_two(index: int, folder: str, shard: bool) -> None:
    """What each of two processes measures."""
    store = dist.FileStore(f"{folder}/store", -1)
    processes = Processes(index, 1, CPU, 2).meet(store, 2)
    trainer = trained(processes, Path(folder), batch(64, 32), shard=shard)
    trainer.processes.align(trainer.objective.trained)
    stream = trainer.training.stream(Position())
    trainer.objective.train()
    trainer._update([next(stream)])
    with Counted(2) as counted:
        began = time.perf_counter()
        for _ in range(3):
            trainer._update([next(stream)])
        seconds = (time.perf_counter() - began) / 3
    if index == 0:
        kept = trainer._state().bytes_here()
        found = json.dumps([counted.sent / 3, seconds, kept])
        Path(folder, "found.json").write_text(found, "utf-8")
    dist.destroy_process_group()


def measure() -> Iterator[str]:
    """The model's figures beside measured ones."""
    objective = small()
    cost = Cost.of(objective.model, bf16=False)
    given = batch(64, 32)
    with FlopCounterMode(display=False) as counter:
        objective(given)[0].backward()
    said = cost.forward_and_back(given.n_tokens)
    yield f"a pass and back: {said / 1e9:.1f} GFLOP, counted {counter.get_total_flops() / 1e9:.1f}"
    (muon, *_) = build_optimizers(objective.model, TrainingOptions(metric="loss"))
    with FlopCounterMode(display=False) as counter:
        muon.step()
    yield f"Muon: {cost.orthogonal / 1e9:.1f} GFLOP, counted {counter.get_total_flops() / 1e9:.1f}"
    one = torch.randn(2048, 1024)
    other = torch.randn(1024, 1024)
    began = time.perf_counter()
    for _ in range(20):
        one @ other
    rate = 20 * 2 * 2048 * 1024**2 / (time.perf_counter() - began)
    with tempfile.TemporaryDirectory() as folder:
        trainer = trained(Processes(0, 1, CPU), Path(folder), given, shard=False)
        stream = trainer.training.stream(Position())
        trainer.objective.train()
        trainer._update([next(stream)])
        began = time.perf_counter()
        for _ in range(3):
            trainer._update([next(stream)])
        seconds = (time.perf_counter() - began) / 3
        trainer._save()
        (state,) = Path(folder).glob("state-*")
        yield f"a saved state: {cost.state / 1e6:.1f} MB, on disk {state.stat().st_size / 1e6:.1f}"
        kept = trainer._state().bytes_here()
    products = said + cost.orthogonal
    yield (
        f"one process: {seconds:.2f} s an update; its products at {rate / 1e9:.0f} GFLOP/s, as one "
        f"large product runs here, take {products / rate:.2f}"
    )
    for shard in (False, True):
        with tempfile.TemporaryDirectory() as folder:
            torch.multiprocessing.spawn(one_of_two, (folder, shard), nprocs=2)
            sent, seconds, here = json.loads(Path(folder, "found.json").read_text("utf-8"))
        what = "two processes, --shard" if shard else "two processes"
        yield (
            f"{what}: {cost.exchanged(2, shard=shard) / 1e6:.1f} MB sent an update, counted "
            f"{sent / 1e6:.1f}; {seconds:.2f} s an update; each keeps {here / kept:.2f} of one's"
        )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--measure", action="store_true")
    for line in measure() if parser.parse_args().measure else table():
        print(line)
