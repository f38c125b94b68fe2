"""The scripts under examples/, as their users run them."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
TINY = "--max-steps 4 --d-model 16 --d-ff 16 --n-heads 2 --n-encoder-layers 1 --n-decoder-layers 1"


def test_parallel_files_recipe(tmp_path):
    grammar = [sys.executable, str(ROOT / "examples" / "grammar.py"), str(tmp_path)]
    subprocess.run([*grammar, "--train", "100", "--test", "6"], check=True)
    for name in ("train", "test"):
        for column, language in (("1", "en"), ("2", "fr")):
            with (tmp_path / f"{name}.{language}").open("wb") as out:
                source = str(tmp_path / f"{name}.tsv")
                subprocess.run(["cut", "-f", column, source], stdout=out, check=True)
    programs = tmp_path / "bin"
    programs.mkdir()
    (programs / "attn").write_text(f'#!/bin/sh\nexec "{sys.executable}" -m attn_cli "$@"\n')
    (programs / "attn").chmod(0o755)
    path = f"{programs}{os.pathsep}{os.environ['PATH']}"
    files = ["train.en", "train.fr", "test.en", "test.fr", "test.en", "test.fr"]
    recipe = ["sh", str(ROOT / "examples" / "multi30k" / "run.sh"), "out folder"]
    done = subprocess.run(
        [*recipe, *files, *TINY.split()],
        cwd=tmp_path,
        env={**os.environ, "PATH": path, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert re.fullmatch(r"BLEU\t[\d.]+\tBLEU\|nrefs:1\S+\nchrF2\t[\d.]+\tchrF2\|\S+\n", done.stdout)
    assert (tmp_path / "out folder" / "test.hyp").read_bytes().count(b"\n") == 6
    assert done.stderr.count("+ attn ") == 3


def test_recipe_without_files_tells_how_to_use_it():
    recipe = ["sh", str(ROOT / "examples" / "multi30k" / "run.sh")]
    done = subprocess.run(recipe, capture_output=True, text=True)
    assert done.returncode == 2
    assert "TRAIN.src TRAIN.tgt" in done.stderr


def checkout(place: Path) -> Path:
    """A copy of what is under version control (and what is about to be)."""
    listing = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    done = subprocess.run(listing, cwd=ROOT, capture_output=True, check=False)
    if done.returncode:
        pytest.skip("not a git checkout")
    for name in filter(None, done.stdout.decode().split("\0")):
        if (ROOT / name).is_file():
            (place / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, place / name)
    return place


@pytest.mark.slow
def test_quickstart_twice(tmp_path):
    """From a clean checkout, from another directory; the second run trains nothing again."""
    script = ["sh", str(checkout(tmp_path / "a checkout") / "examples" / "quickstart.sh")]
    first = subprocess.run(script, cwd=tmp_path, capture_output=True, text=True)
    assert first.returncode == 0, first.stderr
    assert "+ attn train-mt" in first.stdout
    bleu = re.search(r"^BLEU\t([\d.]+)$", first.stdout, re.MULTILINE)
    assert bleu, first.stdout
    assert float(bleu[1]) >= 95
    second = subprocess.run(script, cwd=tmp_path, capture_output=True, text=True)
    assert second.returncode == 0, second.stderr
    assert "this training has finished" in second.stderr
    assert "pip install" not in second.stdout
    assert bleu[0] in second.stdout
