"""examples/reference.md has every option, as the parser and the declarations say it."""

from __future__ import annotations

import html
import importlib
import importlib.util
import pkgutil
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import MISSING, fields
from pathlib import Path

import pytest

from attn_cli import config
from attn_cli.config import long_flags
from attn_cli.config.command import Command, defaults_for, groups, options_of

ROOT = Path(__file__).resolve().parents[2]
PROGRAM = ROOT / "examples" / "reference.py"
PAGE = (ROOT / "examples" / "reference.md").read_text("utf-8")


def made() -> str:
    spec = importlib.util.spec_from_file_location("reference", PROGRAM)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    text: str = module.reference()
    return text


def bundles(kind: type[Command] = Command) -> Iterator[type[Command]]:
    """The options of every command."""
    for module in pkgutil.iter_modules(config.__path__):
        importlib.import_module(f"attn_cli.config.{module.name}")
    for own in kind.__subclasses__():
        if "name" in vars(own):
            yield own
        yield from bundles(own)


BUNDLES = {bundle.name: bundle for bundle in bundles()}
SECTIONS = dict(re.findall(r"^## attn (.+?)\n(.*?)(?=^## |\Z)", PAGE, re.M | re.S))


def test_the_page_is_what_the_parser_says():
    assert made() == PAGE, "run: python examples/reference.py > examples/reference.md"


def test_it_is_made_without_pytorch():
    code = (
        "import runpy, sys\n"
        f"runpy.run_path({str(PROGRAM)!r}, run_name='__main__')\n"
        "sys.exit('torch' in sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True)
    assert done.returncode == 0, done.stderr.decode()
    assert done.stdout.decode() == PAGE


def test_there_is_a_section_for_each_command():
    assert set(SECTIONS) == set(BUNDLES)


@pytest.mark.parametrize("name", BUNDLES)
def test_every_option_has_a_row_with_its_choices_and_default(name):
    bundle, rows = BUNDLES[name], {}
    for line in SECTIONS[name].splitlines():
        if line.startswith("| `"):
            cells = [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
            rows |= dict.fromkeys(re.findall(r"`(--[\w+-]+)`", cells[0]), cells)
    usual = defaults_for(bundle, {})
    for field in options_of(bundle).values():
        for flag in long_flags(field):
            _, values, default, said = rows[flag]
            assert said, flag
            assert set(field.metadata["choices"]) <= set(re.findall(r"`([^`]+)`", values)), flag
            value = usual.get(field.name, field.default)
            if type(value) in (int, float, str) and value and not field.metadata["show"]:
                assert str(value) in html.unescape(default).split("; "), flag
            elif value is MISSING:
                assert not default, flag


@pytest.mark.parametrize("name", BUNDLES)
def test_rarer_options_come_after_the_everyday_ones(name):
    everyday, _, rarer = SECTIONS[name].partition("Rarer options")
    for group in groups(BUNDLES[name]):
        for field in fields(group.kind):
            rare = group.rare or field.metadata["rare"]
            assert f"`{long_flags(field)[0]}`" in (rarer if rare else everyday), field.name
