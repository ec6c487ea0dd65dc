"""The documents' links lead to files, and every page can be reached from the README."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]


def linked(page):
    """The files that a page links to."""
    targets = re.findall(r"\]\(([^)#\s]+)", page.read_text(encoding="utf-8"))
    return {(page.parent / target).resolve() for target in targets if "://" not in target}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_to_files(page):
    assert [target for target in linked(page) if not target.exists()] == []


def test_every_page_is_reached_from_the_readme():
    reached, left = set(), [ROOT / "README.md"]
    while left:
        page = left.pop()
        if page not in reached and page.suffix == ".md":
            reached.add(page)
            left += linked(page)
    assert {page.resolve() for page in PAGES} - reached == set()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_files_that_a_page_names_are_there(page):
    path = r"`((?:src|tests|experiments|scripts|benchmarks)/[\w./-]+\.py)`"
    named = re.findall(path, page.read_text("utf-8"))
    assert [name for name in named if not (ROOT / name).exists()] == []
