from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from attn_cli.nn import prepared
from attn_cli.nn.prepared import PreparedLinear


@pytest.mark.parametrize("rows", [1, 5, 70])
@pytest.mark.parametrize("outputs", [10, 2048, 5001])
@pytest.mark.parametrize("biased", [True, False])
@torch.inference_mode()
def test_a_prepared_product_is_the_product(rows, outputs, biased):
    weight, bias = torch.randn(outputs, 24), torch.randn(outputs) if biased else None
    layer = PreparedLinear(weight, bias)
    for x in (torch.randn(rows, 24), torch.randn(rows, 3, 24), torch.randn(24, rows).T):
        torch.testing.assert_close(layer(x), F.linear(x, weight, bias), atol=1e-5, rtol=1e-5)
    with torch.autocast("cpu", torch.bfloat16):
        assert layer(torch.randn(rows, 24)).dtype == torch.bfloat16
    assert layer(torch.randn(rows, 24)).dtype == torch.float32


def test_small_matrices_and_other_types_stay_as_they_are():
    assert not PreparedLinear(torch.randn(100, 8), None).is_faster
    assert not PreparedLinear(torch.randn(4096, 8).double(), None).is_faster


def test_where_the_operators_are_gone_the_plain_product_is_taken(monkeypatch):
    def gone(*args, **options):
        raise RuntimeError("no such operator")

    weight, x = torch.randn(4096, 8), torch.randn(3, 8)
    monkeypatch.setattr(prepared.torch.ops.mkldnn, "_linear_pointwise", gone)
    layer = PreparedLinear(weight, None)
    assert not layer.is_faster
    assert torch.equal(layer(x), F.linear(x, weight))
