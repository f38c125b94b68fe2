"""`--shard`: two processes that keep half of everything each train as one that keeps all."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import shutil
import signal
from pathlib import Path

import pytest
import torch
import torch.multiprocessing
from program import TINY, attn, inside, write_reversal
from test_processes import Running, losses
from torch import distributed

from attn_cli.config.training import TrainingOptions
from attn_cli.data.batching import Placed, Position
from attn_cli.data.padding import pad
from attn_cli.errors import DataError
from attn_cli.models import build_model
from attn_cli.models.seq2seq import TransformerConfig
from attn_cli.models.storage import load_tensors
from attn_cli.systems.translation.likelihood import TranslationObjective
from attn_cli.systems.translation.pairs import Seq2SeqBatch
from attn_cli.train.arrangement import recompute
from attn_cli.train.checkpoints import Checkpoints
from attn_cli.train.loop import Trainer, Training
from attn_cli.train.monitor import Monitor, Silence
from attn_cli.train.processes import Processes
from attn_cli.train.sharding import ShardedProcesses, _cut_evenly, _owners

PAD, BOS, EOS, VOCAB = 0, 1, 2, 12
CPU = torch.device("cpu")


def batch_of(sizes, seed):
    generator = torch.Generator().manual_seed(seed)
    rows = [torch.randint(3, VOCAB, (n,), generator=generator).tolist() for n in sizes]
    src_ids, src_mask = pad([[*row, EOS] for row in rows], PAD)
    tgt_ids, tgt_mask = pad([[BOS, *row, EOS] for row in rows], PAD)
    return Seq2SeqBatch(src_ids, src_mask, tgt_ids, tgt_mask[:, 1:])


# Of odd and even numbers of rows, and of a single one, which leaves a process idle.
BATCHES = [batch_of(sizes, seed) for seed, sizes in enumerate([(3, 5, 2), (4, 4), (6,), (2, 7, 1)])]


class CutError(Exception):
    """What ends a training in its middle."""


def stream(position, end):
    for number in itertools.count(position.row):
        if number == end:
            raise CutError
        yield Placed(BATCHES[number % 4], Position(0, number + 1), (number + 1) / 4)


def train(folder, processes, *, end=None, **options):
    """Trains a small model for eight steps, from what is saved in the folder, to batch `end`."""
    folder = Path(folder)
    folder.mkdir(exist_ok=True)
    torch.manual_seed(21)
    sizes = {"d_model": 16, "d_ff": 24, "n_heads": 2, "n_encoder_layers": 2, "n_decoder_layers": 1}
    vocabulary = {"src_vocab": VOCAB, "tgt_vocab": VOCAB, "share_embeddings": True}
    model = build_model("transformer", TransformerConfig(**sizes, dropout=0.0, **vocabulary))
    objective = TranslationObjective(model, 0.1)
    chosen = {"metric": "loss", "warmup": 0, "precision": "float32", "schedule": "constant"}
    chosen |= {"validate_every": 4, "accumulate": 2, **options}
    if processes.world > 1:
        bf16 = chosen["precision"] == "bf16"
        processes = ShardedProcesses.shard(objective, processes, bf16=bf16)

    def validate(*_):
        with torch.inference_mode():
            loss, _ = objective(BATCHES[0])
        return {"loss": float(loss)}

    saved = {}
    trainer = Trainer(
        Training(objective, lambda position, *_: stream(position, end), validate),
        TrainingOptions(**{"max_steps": 8, **chosen}),
        processes,
        Checkpoints(folder),
        Monitor(Silence(), folder / "train.jsonl", None, active=processes.is_main),
        save=lambda weights, meta: saved.update({k: w.clone() for k, w in weights.items()}),
    )
    with contextlib.suppress(CutError):
        trainer.fit()
    with trainer.processes.whole(objective):
        weights = {name: weight.detach().clone() for name, weight in model.named_parameters()}
    return trainer, weights, saved


def figures(folder):
    lines = (Path(folder) / "train.jsonl").read_text("utf-8").splitlines()
    return [[json.loads(line)[key] for key in ("train_loss", "dev_loss")] for line in lines]


ADAM = {"optimizer": "adam", "ema": 0.0, "weight_decay": 0.01, "max_steps": 4}
HALF = {"end": 8}  # after a validation, where a state is saved


def rank_of_two(index, folder):
    store = distributed.FileStore(f"{folder}/store", -1)
    processes = Processes(index, 1, CPU, 2).meet(store, 2)
    with contextlib.chdir(folder):
        trainer, _, kept = train("two", processes, **HALF)
        found = {"bytes": trainer._state().bytes_here(), "kept": kept}
        if processes.is_main:
            shutil.copytree("two", "two again")
        processes.agree(0.0)
        found["whole"] = train("whole", processes)[1]
        found["again"] = train("two again", processes)[1]
        found["from one"] = train("from one", processes)[1]
        found["half"] = train("half", processes, precision="bf16", max_steps=4)[2]
        found["adam"] = train("adam", processes, **ADAM)[1]
        torch.save(found, f"rank {index}")
    distributed.destroy_process_group()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sharding")
    one = Processes(0, 1, CPU)
    train(folder / "from one", one, **HALF)
    torch.multiprocessing.spawn(rank_of_two, (str(folder),), nprocs=2)
    return folder


def equal(weights, others, tolerance):
    assert weights.keys() == others.keys()
    for name, weight in weights.items():
        torch.testing.assert_close(weight, others[name], atol=tolerance, rtol=0, msg=name)


def found(folder, rank=0):
    return torch.load(folder / f"rank {rank}")


def test_two_processes_train_as_one_and_keep_half_each(folder):
    one = Processes(0, 1, CPU)
    trainer, weights, _ = train(folder / "one", one)
    adam = train(folder / "one adam", one, **ADAM)[1]
    ranks = [found(folder, rank) for rank in range(2)]
    for given in (adam, ranks[0]["adam"], ranks[1]["adam"]):
        # A key's bias changes no weight of attention: its gradient, which Adam scales up, is
        # what rounding left.
        given["decoder.layers.0.cross_attention.in_bias"][1] = 0
    assert all(rank["bytes"] <= 0.6 * trainer._state().bytes_here() for rank in ranks)
    assert figures(folder / "whole") == [
        pytest.approx(row, abs=1e-5) for row in figures(folder / "one")
    ]
    for rank in ranks:
        equal(rank["whole"], weights, 1e-4)
        equal(rank["from one"], weights, 1e-4)  # four steps of one process, then four of two
        equal(rank["adam"], adam, 1e-4)
    assert not ranks[1]["kept"], "rank 0 alone writes weights"


def test_a_sharded_state_is_continued_exactly_and_by_one_process(folder):
    ranks = found(folder)
    equal(ranks["again"], ranks["whole"], 0.0)
    assert figures(folder / "two again") == figures(folder / "whole")
    equal(train(folder / "two", Processes(0, 1, CPU))[1], ranks["whole"], 1e-4)


def test_what_is_kept_are_whole_weights_in_float32_of_layers_in_bf16_too(folder):
    for kept in (found(folder)["kept"], found(folder)["half"]):
        shapes = {name: weight.shape for name, weight in found(folder)["whole"].items()}
        assert {name: weight.shape for name, weight in kept.items()} == shapes
        assert all(weight.dtype == torch.float32 for weight in kept.values())
    train(folder / "one half", Processes(0, 1, CPU), precision="bf16", max_steps=4)
    for row, other in zip(figures(folder / "half"), figures(folder / "one half"), strict=True):
        assert row == pytest.approx(other, abs=0.05)


def test_a_damaged_or_foreign_sharded_state_is_refused_by_name(folder, tmp_path):
    def refused(change):
        shutil.rmtree(tmp_path / "states", ignore_errors=True)
        shutil.copytree(folder / "whole", tmp_path / "states")
        for state in (tmp_path / "states").glob("state-*"):
            change(state)
        said = []
        with pytest.raises(DataError, match="no saved state is usable"):
            Checkpoints(tmp_path / "states").load_state(
                said.append, lambda tensors, meta: None, {}, Processes(0, 1, CPU)
            )
        return said[0]

    def flip(state):
        file = state / "shard-00002-model-00001-of-00001.safetensors"
        data = bytearray(file.read_bytes())
        data[-1] ^= 1
        file.write_bytes(data)

    def lead_out(state):
        file = state / "shard-00001-model-00001-of-00001.safetensors"
        file.rename(tmp_path / "elsewhere")
        file.symlink_to(tmp_path / "elsewhere")

    assert "shard-00002-model-00001-of-00001.safetensors: damaged" in refused(flip)
    assert "leaves the directory" in refused(lead_out)
    assert "state.json: not what attn writes" in refused(
        lambda state: (state / "state.json").write_text("[]")
    )
    assert "more.safetensors: not listed" in refused(
        lambda state: (state / "more.safetensors").write_text("")
    )
    gone = "shard-00001-model-00001-of-00001.safetensors"
    assert f"{gone}: missing" in refused(lambda state: (state / gone).unlink())


def test_matrices_are_dealt_out_by_what_they_cost():
    shapes = ((8, 8), (8, 8), (16, 4), (4, 4), (9, 30), (1, 5))
    owners = _owners(shapes, 2)
    work = [0, 0]
    for (rows, cols), owner in zip(shapes, owners, strict=True):
        work[owner] += rows * cols * min(rows, cols)
    assert max(work) <= 9 * 30 * 9 + 8 * 8 * 8


@pytest.mark.parametrize(
    ("shape", "dim"), [((3, 16, 5), 1), ((16, 5), 0), ((5, 16), 1), ((3, 5), 0), ((1,), 0)]
)
def test_a_weight_is_cut_where_all_have_equally_much(shape, dim):
    assert _cut_evenly(torch.empty(shape), 4).dim == dim


def test_a_layer_that_is_computed_again_has_the_same_gradient_from_less_memory():
    def gradients(*, again):
        torch.manual_seed(3)
        sizes = {"d_model": 16, "d_ff": 24, "n_heads": 2}
        vocabulary = {"src_vocab": VOCAB, "tgt_vocab": VOCAB, "share_embeddings": True}
        config = TransformerConfig(
            **sizes, n_encoder_layers=3, n_decoder_layers=3, dropout=0.2, **vocabulary
        )
        objective = TranslationObjective(build_model("transformer", config), 0.1)
        if again:
            recompute(objective)
        torch.manual_seed(4)
        kept = 0

        def keep(tensor):
            nonlocal kept
            kept += tensor.numel()
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            loss, _ = objective(BATCHES[0])
        loss.backward()
        return kept, [weight.grad for weight in objective.parameters()]

    kept, expected = gradients(again=False)
    kept_again, found = gradients(again=True)
    for one, other in zip(expected, found, strict=True):
        torch.testing.assert_close(one, other)
    assert kept_again < kept / 3


TWO = ("--processes", 2, "--shard")
RECIPE = (*TINY, "--type", "bpe", "--vocab-size", 36, "--batch-tokens", 60, "--metric", "loss")
RECIPE += ("--precision", "float32")


@pytest.fixture
def corpus(tmp_path):
    return write_reversal(tmp_path / "train.tsv", 300, seed=6, longest=6)


@pytest.mark.slow
@pytest.mark.parametrize(
    "more",
    [("--max-steps", 50), ("--max-steps", 20, "--accumulate", 2, "--checkpoint-activations")],
)
def test_the_command_trains_as_in_one_process(tmp_path, corpus, more):
    recipe = (*RECIPE, "--dropout", 0, "--validate-every", 5, "--warmup", 5, *more)
    inside("train-mt", corpus, "-o", tmp_path / "one", *recipe)
    two = attn("train-mt", corpus, "-o", tmp_path / "two", *recipe, *TWO)
    for alone, together in zip(losses(tmp_path / "one"), losses(tmp_path / "two"), strict=True):
        assert together == pytest.approx(alone, abs=1e-5)
    weights = [load_tensors(tmp_path / name / "model.safetensors")[0] for name in ("one", "two")]
    equal(*weights, 1e-4)
    assert "--shard: 2 processes, each with its part of the model" in two.said
    names = [
        sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))
        for folder in (tmp_path / "one", tmp_path / "two")
    ]
    assert names[0] == names[1], "the model directory is the ordinary one"


@pytest.mark.slow
def test_a_signal_saves_and_any_number_of_processes_continues(tmp_path, corpus):
    long = ("--max-steps", 40, "--validate-every", 20, "--save-every", "2s", "--dropout", 0)
    command = ("train-mt", corpus, *RECIPE, *long, "-o")
    attn(*command, tmp_path / "whole", *TWO)
    output = tmp_path / "cut"
    running = Running(*command, output, *TWO)
    running.wait_for_a_state(output)
    os.killpg(running.process.pid, signal.SIGTERM)
    status, said = running.end()
    assert status == 128 + signal.SIGTERM
    assert "Traceback" not in said
    shutil.copytree(output, tmp_path / "one")
    assert "continuing after step" in attn(*command, output, *TWO).said
    weights = [(tmp_path / name / "model.safetensors").read_bytes() for name in ("cut", "whole")]
    assert weights[0] == weights[1]
    assert "continuing after step" in attn(*command, tmp_path / "one").said
    found = [load_tensors(tmp_path / name / "model.safetensors")[0] for name in ("one", "whole")]
    equal(*found, 1e-4)


def test_one_process_alone_says_that_it_keeps_all(tmp_path, corpus):
    alone = inside("train-mt", corpus, "-o", tmp_path / "m", *RECIPE, "--max-steps", 2, "--shard")
    assert "--shard: one process keeps all; add --processes N, or torchrun" in alone.said
