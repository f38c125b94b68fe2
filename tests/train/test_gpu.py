"""A training on GPUs computes what one on a CPU does."""

from __future__ import annotations

import json

import pytest
import torch
from program import ENVIRONMENT, TINY, attn, inside, write_reversal

from attn_cli.config.training import TrainingOptions
from attn_cli.data.batching import moved
from attn_cli.device import use_bf16
from attn_cli.models.storage import load_tensors
from attn_cli.train.optim import build_optimizers

GPUS = torch.cuda.device_count()
CUDA = torch.device("cuda")
needs_gpus = {
    n: [pytest.mark.gpu, pytest.mark.skipif(n > GPUS, reason=f"needs {n} GPUs")] for n in (1, 2)
}
RECIPE = (
    *(*TINY, "--type", "bpe", "--vocab-size", 36, "--batch-tokens", 200, "--metric", "loss"),
    *(
        "--dropout",
        0,
        "--max-steps",
        30,
        "--validate-every",
        5,
        "--warmup",
        5,
        "--matrix-factor",
        1,
    ),
)


@pytest.fixture(scope="module")
def on_cpu(tmp_path_factory):
    folder = tmp_path_factory.mktemp("cpu")
    corpus = write_reversal(folder / "train.tsv", 300, seed=6, longest=6)
    inside("train-mt", corpus, "-o", folder / "model", *RECIPE, "--precision", "float32")
    return corpus, folder / "model"


def losses(model):
    lines = (model / "train.jsonl").read_text("utf-8").splitlines()
    return [json.loads(line)["train_loss"] for line in lines]


# Muon's factors are computed in bf16 there, whatever the precision: losses agree to 2 %.
@pytest.mark.parametrize(
    "options",
    [
        pytest.param(("--device", "cuda", "--precision", "float32"), marks=needs_gpus[1]),
        pytest.param(("--device", "cuda", "--precision", "bf16"), marks=needs_gpus[1]),
        pytest.param(("--device", "cuda", "--compile"), marks=needs_gpus[1]),
        pytest.param(("--device", "cuda", "--checkpoint-activations"), marks=needs_gpus[1]),
        pytest.param(("--device", "cuda", "--processes", 2), marks=needs_gpus[2]),
        pytest.param(("--device", "cuda", "--processes", 2, "--shard"), marks=needs_gpus[2]),
        pytest.param(
            ("--precision", "float32", "--compile"),
            marks=pytest.mark.slow,
            id="compiled on a CPU",
        ),
    ],
)
def test_it_learns_what_a_cpu_learns(on_cpu, tmp_path, options, monkeypatch):
    corpus, expected = on_cpu
    monkeypatch.setitem(ENVIRONMENT, "PYTHONUTF8", "1")  # without it PyTorch's compiler can't begin
    attn("train-mt", corpus, "-o", tmp_path / "model", *RECIPE, *options)
    assert losses(tmp_path / "model") == pytest.approx(losses(expected), rel=0.02)
    weights = load_tensors(tmp_path / "model" / "model.safetensors")[0]
    assert all(weight.dtype == torch.float32 for weight in weights.values())


@pytest.mark.parametrize(
    "device", [torch.device("cpu"), pytest.param(CUDA, marks=needs_gpus[1])], ids=str
)
def test_a_batch_arrives_as_it_was(device):
    tensor = torch.arange(100_000).reshape(10, -1)[:, 3:]
    there = moved(tensor, device)
    assert there.device.type == device.type
    assert torch.equal(there.cpu(), tensor)


@pytest.mark.parametrize(
    "device", [torch.device("cpu"), pytest.param(CUDA, marks=needs_gpus[1])], ids=str
)
def test_one_kernel_updates_all_weights(device):
    model = torch.nn.Linear(4, 4).to(device)
    options = TrainingOptions(optimizer="adamw", metric="loss")
    (optimizer,) = build_optimizers(model, options)
    model(torch.ones(2, 4, device=device)).sum().backward()
    optimizer.step()
    assert all(group["fused"] for group in optimizer.param_groups)


@pytest.mark.parametrize("device", [pytest.param(CUDA, marks=needs_gpus[1])], ids=str)
def test_a_gpu_that_has_bf16_computes_in_it(device):
    assert use_bf16("auto", device) == torch.cuda.is_bf16_supported()
