"""Files from strangers: each is refused with exit 3 and a line that names the file and the cause.

All cases run in one process, which shows at the same time that a refusal leaves nothing behind: no
crash, no hang, and a peak of memory below 1 GiB for all of them together.
"""

from __future__ import annotations

import json
import os
import re
import resource
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from cases import CASES
from program import ENVIRONMENT, attn
from sound import write_sound_model

WORKER = Path(__file__).with_name("worker.py")
SECONDS = 10  # of processor time for one case


@pytest.fixture(scope="session")
def reports(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    command = [sys.executable, str(WORKER), str(tmp_path_factory.mktemp("hostile"))]
    limit = resource.getrlimit(resource.RLIMIT_CORE)[1]
    paths = [str(WORKER.parent), str(WORKER.parents[1]), *sys.path]
    with subprocess.Popen(
        command,
        env={**ENVIRONMENT, "PYTHONPATH": os.pathsep.join(paths)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_CORE, (0, limit)),
    ) as worker:
        try:
            out, err = worker.communicate(timeout=540)
        except subprocess.TimeoutExpired:
            worker.kill()
            out, err = worker.communicate()
    found = [json.loads(line) for line in out.splitlines()]
    begun = [report["begins"] for report in found if "begins" in report]
    done = {report["name"]: report for report in found if "name" in report}
    for name in begun:
        gone = {"status": worker.returncode, "said": err.decode()[-2000:], "name": name}
        done.setdefault(name, gone)
    return done


@pytest.mark.parametrize("name", CASES)
def test_it_is_refused_by_name_and_cause(name: str, reports: dict[str, Any]) -> None:
    report, case = reports[name], CASES[name]
    said = report["said"].rstrip("\n").split("\n")
    assert report["status"] == case.status, said
    assert "Traceback" not in report["said"]
    assert all(line.startswith("attn: ") for line in said), said
    # A corpus names its first bad lines one by one, and counts them.
    assert len(said) == 1 or ".tsv:" in said[0], said
    assert case.blames in report["said"]
    assert re.search(case.cause, report["said"]), said
    assert max(map(len, said)) < 1500
    assert report["out"] <= 1  # at most the blank answer to the one line
    assert report["seconds"] < SECONDS
    assert report["mebibytes"] < 1024


def test_there_are_many() -> None:
    assert len(CASES) >= 100


def test_the_sound_model_is_taken(tmp_path: Path) -> None:
    model = write_sound_model(tmp_path / "model")
    assert len(attn("decode", "-m", model, stdin=b"ba ke\nli mo\n").lines) == 2


@pytest.mark.parametrize(
    "name",
    [
        "config.json: a pipe",
        pytest.param("weights: data cut", marks=pytest.mark.slow),
        pytest.param("tokenizer.model: random bytes", marks=pytest.mark.slow),
    ],
)
def test_the_program_itself_refuses(name: str, tmp_path: Path) -> None:
    write_sound_model(tmp_path / "model")
    done = attn(*CASES[name].make(tmp_path), stdin=b"ba\n", status=3)
    assert CASES[name].blames in done.said
    assert done.said.count("\n") == 1
