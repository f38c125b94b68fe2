"""The pages: their links lead somewhere, and no page of figures is left out of the table."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
EXAMPLES = ROOT / "examples"
PAGES = [ROOT / "README.md", *sorted(EXAMPLES.rglob("*.md"))]
FENCE = re.compile(r"^```.*?^```$", re.M | re.S)


def links(page: Path) -> list[str]:
    """The places within the checkout that a page leads to."""
    text = FENCE.sub("", page.read_text("utf-8"))
    found = re.findall(r"\]\(([^)\s]+)\)", text)
    return [link for link in found if not re.match(r"https?:", link)]


def headings(page: Path) -> set[str]:
    """The names of a page's headings, as GitHub makes them."""
    text = FENCE.sub("", page.read_text("utf-8"))
    lines = re.findall(r"^#+ (.+)$", text, re.M)
    return {re.sub(r"[^\w -]", "", line.lower()).strip().replace(" ", "-") for line in lines}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_to_files_and_headings(page):
    for link in links(page):
        path, _, heading = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), link
        assert ROOT in [target, *target.parents], link
        if heading:
            assert heading in headings(target), link


def test_every_page_of_figures_is_in_the_table():
    folder = EXAMPLES / "benchmarks"
    there = {page.name for page in folder.glob("*.md")} - {"README.md"}
    assert there <= {link.partition("#")[0] for link in links(folder / "README.md")}


def test_every_recipe_is_on_the_map():
    recipes = {path.parent.name for path in EXAMPLES.glob("*/README.md")}
    assert recipes <= set(links(EXAMPLES / "README.md"))


def test_the_readme_names_the_pages():
    text = (ROOT / "README.md").read_text("utf-8")
    measured = ("benchmarks/README.md", "benchmarks/ecosystem.md")
    for page in ("README.md", "reference.md", "lectures", *measured):
        assert f"(examples/{page})" in text, page
