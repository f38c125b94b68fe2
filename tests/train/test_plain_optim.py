"""Optimizers without PyTorch's compiler: bit for bit those of torch.optim, and nothing imported."""

from __future__ import annotations

import copy
import subprocess
import sys

import pytest
import torch
from program import ENVIRONMENT
from torch import nn

from attn_cli.train.plain_optim import Adam, AdamW


@pytest.mark.parametrize(("ours", "theirs"), [(Adam, torch.optim.Adam), (AdamW, torch.optim.AdamW)])
def test_they_update_as_pytorchs_own_from_a_saved_state_too(ours, theirs):
    torch.manual_seed(1)
    model = nn.Linear(5, 3)
    other = copy.deepcopy(model)
    rates = {"lr": 0.1, "weight_decay": 0.3, "fused": True}
    optimizer, peer = ours(model.parameters(), **rates), theirs(other.parameters(), **rates)
    for step in range(6):
        x = torch.randn(7, 5)
        for each, module in ((optimizer, model), (peer, other)):
            each.zero_grad()
            module(x).square().sum().backward()
            assert each.step() is None
        for weight, gold in zip(model.parameters(), other.parameters(), strict=True):
            assert torch.equal(weight, gold)
        if step == 2:
            saved = copy.deepcopy(optimizer.state_dict())
            optimizer = ours(model.parameters(), **rates)
            optimizer.load_state_dict(saved)


def test_a_training_loads_no_compiler_of_pytorch(tmp_path):
    """Its import takes as long as that of PyTorch itself."""
    (tmp_path / "t.tsv").write_text("a\tx\nb\ty\n" * 8)
    sizes = ["--arch", "rnn", "--vocab-size", "12", "--tokenizer-type", "char"]
    train = ["finetune", str(tmp_path / "t.tsv"), "--task", "classify", "-o", str(tmp_path / "m")]
    limits = ["--max-steps", "2", "--threads", "1", "--device", "cpu"]
    program = f"""
import sys
from attn_cli.cli import main
for optimizer in ("muon", "adamw", "adam"):
    sys.argv = {["attn", *train, *sizes, *limits]} + ["--optimizer", optimizer, "--overwrite"]
    assert main() == 0
for module in ("torch._dynamo", "sympy"):
    assert module not in sys.modules, module
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, env=ENVIRONMENT, timeout=300
    )
    assert done.returncode == 0, done.stderr.decode()
