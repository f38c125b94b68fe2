"""Threads that wait for each other let other processes have the processor."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

CHOICES = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME")
SHOW = """
import os, runpy, sys
sys.argv = ["attn", "--version"]
try:
    runpy.run_module("attn_cli", run_name="__main__")
except SystemExit:
    pass
assert "torch" not in sys.modules
print(os.environ.get("OMP_WAIT_POLICY"), os.environ.get("GOMP_SPINCOUNT"))
"""


@pytest.mark.parametrize(
    ("own", "policy"),
    [
        ({}, "passive 1500"),
        ({"OMP_WAIT_POLICY": "active"}, "active None"),
        ({"GOMP_SPINCOUNT": "1000"}, "None 1000"),
        ({"KMP_BLOCKTIME": "200"}, "None None"),
    ],
)
def test_waiting_threads_sleep_unless_the_user_chose_otherwise(own, policy):
    """Set before PyTorch is loaded, which reads it once."""
    inherited = {name: text for name, text in os.environ.items() if name not in CHOICES}
    done = subprocess.run(
        [sys.executable, "-c", SHOW], env={**inherited, **own}, capture_output=True, check=True
    )
    assert done.stdout.decode().split("\n")[-2] == policy
