from __future__ import annotations

import os
import platform
import subprocess
import sys

import pytest
import torch
from torch.nn import functional as F

from attn_cli.nn import int8
from attn_cli.nn.int8 import dequantize, error_bound, int8_product, quantize


@pytest.fixture
def forgetful():
    """What was measured is forgotten, before and after."""
    caches = int8._pays, int8._needs_seven_bits
    for cache in caches:
        cache.cache_clear()
    yield
    for cache in caches:
        cache.cache_clear()


@pytest.mark.filterwarnings("ignore:.*deprecated.*")
@pytest.mark.parametrize("shape", [(7, 30), (3, 4, 9)])
def test_rows_are_rounded_as_pytorch_does(shape):
    weight = torch.randn(shape) * torch.rand(*shape[:-1], 1)
    weight.view(-1, shape[-1])[2] = 0
    values, scale = quantize(weight)
    assert values.dtype == torch.int8 and scale.shape == shape[:-1]
    zeros = torch.zeros(scale.numel(), dtype=torch.int64)
    theirs = torch.quantize_per_channel(
        weight.flatten(0, -2), scale.flatten().double(), zeros, 0, torch.qint8
    )
    assert torch.equal(values.flatten(0, -2), theirs.int_repr())
    wide = dequantize(values, scale)
    assert ((wide - weight).abs() <= weight.abs().amax(-1, keepdim=True) / 253).all()
    again, same = quantize(wide)
    assert torch.equal(again, values)
    torch.testing.assert_close(same, scale)


@pytest.mark.parametrize("seven", [False, True], ids=["8 bits", "7 bits"])
@pytest.mark.parametrize("biased", [True, False])
@torch.inference_mode()
def test_products_are_those_of_float32_within_the_error_of_quantization(biased, seven, monkeypatch):
    monkeypatch.setattr(int8, "_pays", lambda outputs, inputs: True)
    seven = seven or int8._needs_seven_bits()
    monkeypatch.setattr(int8, "_needs_seven_bits", lambda: seven)
    torch.manual_seed(0)
    weight, bias = torch.randn(150, 96), torch.randn(150) if biased else None
    product = int8_product(weight, bias)
    inputs = (torch.randn(1, 96), torch.rand(300, 96) + 3, torch.randn(5, 96) * 1e-3)
    for x in (*inputs, torch.randn(2, 7, 96), torch.randn(96, 9).T):
        wanted = F.linear(x, weight, bias)
        off = (product(x, False) - wanted).abs().flatten(0, -2)
        assert (off <= error_bound(weight, x.flatten(0, -2), seven=seven)).all()
        plain = F.linear(x, weight)
        assert off.pow(2).mean() < 2e-3 * plain.pow(2).mean()  # most errors make up for each other
        assert torch.equal(product(x, True), product(x, False).relu())
    assert product(torch.empty(0, 4, 96), True).shape == (0, 4, 150)


def test_where_pairs_of_products_overflow_inputs_have_seven_bits(forgetful):
    if platform.machine() not in ("x86_64", "AMD64"):
        pytest.skip("kernels of x86")
    program = """
import torch
from attn_cli.nn import int8
int8._pays = lambda outputs, inputs: True
weight, x = torch.full((128, 64), 0.5), torch.rand(20, 64) + 1
off = (int8.int8_product(weight, None)(x, False) - x @ weight.T).abs()
seven = int8._needs_seven_bits()
assert (off <= int8.error_bound(weight, x, seven=seven)).all()
print(seven)
"""
    # The kernels of machines without VNNI; most others have them, too.
    environment = os.environ | {"FBGEMM_ENABLE_INSTRUCTIONS": "AVX2"}
    run = [sys.executable, "-c", program]
    found = subprocess.run(run, env=environment, capture_output=True, text=True, check=True)
    assert found.stdout == "True\n"


def test_small_matrices_and_other_types_are_left_alone():
    assert int8_product(torch.randn(64, 64), None) is None
    assert int8_product(torch.randn(256, 256).double(), None) is None


def gone(*args, **options):
    raise RuntimeError("no such operator")


@pytest.mark.parametrize(
    ("name", "instead"),
    [
        ("_packed", gone),
        ("_product", lambda weight, bias: lambda x, relu: F.linear(x, weight) + 1),  # wrong
        ("_seconds", iter([2.0, 1.0]).__next__),  # slow
    ],
    ids=["gone", "wrong", "slow"],
)
def test_where_int8_does_not_pay_there_is_none(name, instead, monkeypatch, forgetful):
    if name == "_seconds":
        monkeypatch.setattr(int8, name, lambda run: instead())
    else:
        monkeypatch.setattr(int8, name, instead)
    assert int8_product(torch.randn(256, 128), None) is None


def test_where_int8_pays_it_is_taken_without_a_random_number(monkeypatch, forgetful):
    times = iter([1.0, 1.0])
    monkeypatch.setattr(int8, "_seconds", lambda run: next(times))
    state = torch.get_rng_state()
    assert int8_product(torch.zeros(256, 128), None) is not None
    assert torch.equal(torch.get_rng_state(), state)
