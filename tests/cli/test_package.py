"""What `python -m build` makes: a wheel that works where nothing but its dependencies is installed.

The environment here is as empty as one can be made without a network: it has the distributions that
the wheel names, theirs, and no others, linked from the environment of the tests.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tomllib
import zipfile
from dataclasses import dataclass
from email import message_from_bytes
from importlib.metadata import Distribution, distribution
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from program import TINY, write_reversal

REPOSITORY = Path(__file__).parents[2]


def needed_distributions(requirements: list[str]) -> dict[str, Distribution]:
    """The distributions that satisfy these requirements, theirs included, by name."""
    needed: dict[str, Distribution] = {}
    waiting = [Requirement(text) for text in requirements]
    while waiting:
        requirement = waiting.pop()
        if requirement.marker and not requirement.marker.evaluate({"extra": ""}):
            continue
        if requirement.name not in needed:
            needed[requirement.name] = distribution(requirement.name)
            waiting += map(Requirement, needed[requirement.name].requires or [])
    return needed


def run(*command: object, stdin: bytes = b"", folder: Path | None = None) -> str:
    environment = {k: v for k, v in os.environ.items() if not k.startswith("PYTHON")}
    done = subprocess.run(
        list(map(str, command)), input=stdin, capture_output=True, cwd=folder, env=environment
    )
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout.decode()


@dataclass
class Installed:
    """A wheel, and the environment that has it."""

    wheel: Path
    folder: Path

    def attn(self, *arguments: object, stdin: bytes = b"") -> str:
        """Runs `attn ARGUMENTS` there, away from the sources."""
        command = self.folder / "bin" / "attn"
        return run(command, *arguments, stdin=stdin, folder=self.folder)

    def python(self, program: str) -> str:
        return run(self.folder / "bin" / "python", "-c", program, folder=self.folder)


@pytest.fixture(scope="module")
def installed(tmp_path_factory) -> Installed:
    place = tmp_path_factory.mktemp("package")
    sources = place / "sources"
    unbuilt = shutil.ignore_patterns("__pycache__")
    shutil.copytree(REPOSITORY / "attn_cli", sources / "attn_cli", ignore=unbuilt)
    for name in ("pyproject.toml", "README.md"):
        shutil.copy(REPOSITORY / name, sources / name)
    run(sys.executable, "-m", "build", "--no-isolation", "-o", place / "dist", sources)
    (wheel,) = (place / "dist").glob("*.whl")  # made from the sdist, which must be whole, too
    folder = place / "environment"
    run(sys.executable, "-m", "venv", "--without-pip", folder)
    (packages,) = (folder / "lib").glob("python*/site-packages")
    wanted = tomllib.loads((sources / "pyproject.toml").read_text())["project"]["dependencies"]
    for needed in needed_distributions(wanted).values():
        assert needed.files is not None
        for entry in {file.parts[0] for file in needed.files if file.parts[0] != ".."}:
            beside = packages / entry
            if not beside.exists() and entry != "__pycache__":
                beside.symlink_to(needed.locate_file(entry))
    python = folder / "bin" / "python"
    pip = [sys.executable, "-m", "pip", "--python", python, "install", "-q"]
    run(*pip, "--no-deps", "--no-index", wheel)
    return Installed(wheel, folder)


@pytest.mark.slow
def test_the_wheel_says_who_made_it_and_under_which_license(installed):
    with zipfile.ZipFile(installed.wheel) as wheel:
        names = wheel.namelist()
        (metadata,) = (name for name in names if name.endswith("dist-info/METADATA"))
        (license_file,) = (name for name in names if name.endswith("licenses/attn_cli/LICENSE"))
        facts = message_from_bytes(wheel.read(metadata))
        assert wheel.read(license_file) == (REPOSITORY / "attn_cli" / "LICENSE").read_bytes()
    pages = {f"attn_cli/{room}/page.html" for room in ("viz", "serve")}
    assert {"attn_cli/py.typed", "attn_cli/__init__.pyi", *pages} <= set(names)
    assert not [name for name in names if not name.startswith(("attn_cli/", "attn_cli-"))]
    assert facts["License-Expression"] == "MIT"
    assert facts["Author"] == "attn developers"
    assert "Typing :: Typed" in facts.get_all("Classifier")
    assert facts["Keywords"] and facts["Summary"] and facts.get_payload()


@pytest.mark.slow
def test_every_module_is_in_the_wheel(installed):
    modules = {str(p.relative_to(REPOSITORY)) for p in (REPOSITORY / "attn_cli").rglob("*.py")}
    with zipfile.ZipFile(installed.wheel) as wheel:
        assert modules == {name for name in wheel.namelist() if name.endswith(".py")}


@pytest.mark.slow
def test_the_program_runs_from_the_wheel(installed, tmp_path):
    home = installed.python("import attn_cli; print(attn_cli.__file__, attn_cli.__version__)")
    path, version = home.split()
    assert Path(path).is_relative_to(installed.folder)
    assert installed.attn("--version").split()[-1] == version
    assert installed.attn("score", "--bleu", stdin=b"a b c d e\ta b c d e\n") == "BLEU\t100.0000\n"
    assert "attn attend" in installed.attn("attend", "--help")
    text = write_reversal(tmp_path / "train.tsv", 300, seed=3)
    tokenizer = tmp_path / "tokenizer.model"
    installed.attn("tokenize", "train", text, "-o", tokenizer, "--vocab-size", 30)
    pieces = installed.attn("tokenize", "encode", "-t", tokenizer, stdin=b"banu kera\n")
    assert installed.attn("tokenize", "decode", "-t", tokenizer, stdin=pieces.encode()) == (
        "banu kera\n"
    )


@pytest.mark.slow
def test_a_model_is_trained_used_and_drawn_from_the_wheel(installed, tmp_path):
    text, model = write_reversal(tmp_path / "train.tsv", 300, seed=3), tmp_path / "model"
    limits = ("--vocab-size", 30, "--max-steps", 2, "--validate-every", 2)
    assert installed.attn("train-mt", text, "-o", model, *TINY, *limits) == f"{model}\n"
    assert len(installed.attn("decode", "-m", model, stdin=b"banu kera\n\n").split("\n")) == 3
    page = tmp_path / "maps.html"
    installed.attn("attend", "-m", model, "-o", page, stdin=b"banu kera\n")
    assert "banu" in page.read_text()
