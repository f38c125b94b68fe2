"""Which arithmetic `--precision` means, and where."""

from __future__ import annotations

import pytest
import torch

from attn_cli.device import use_bf16

CPU = torch.device("cpu")


@pytest.mark.parametrize("has", [{"avx512_bf16": True}, {"amx_bf16": True}, {"avx2": True}, {}])
def test_auto_trains_in_bf16_where_the_cpu_multiplies_it(monkeypatch, has):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: has)
    assert use_bf16("auto", CPU, learns=True) == ("avx2" not in has and bool(has))
    assert not use_bf16("auto", CPU)
    assert not use_bf16("float32", CPU, learns=True)
    assert use_bf16("bf16", CPU)
