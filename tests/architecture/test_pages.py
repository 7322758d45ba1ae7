"""Pages: what they promise names the test that shows it, and what they link to is there."""

import ast
import re
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "everyday-cases.md"
NAMED_ON = ("everyday-cases.md", "everyday-failures.md", "law.md", "security.md")
NAMED = re.compile(r"`(tests/[\w/]+\.py)::(\w+)`")


def rows() -> list[str]:
    """The table without its head."""
    found = [line for line in PAGE.read_text(encoding="utf-8").splitlines() if line.startswith("| ")]
    return found[1:]


def test_the_page_answers_every_case_of_the_week() -> None:
    assert len(rows()) >= 20
    assert all(len(row.split(" | ")) == 4 for row in rows())


@pytest.mark.parametrize("row", rows(), ids=lambda row: str(row).split("|")[1].strip()[:40])
def test_a_row_names_a_test(row: str) -> None:
    assert NAMED.search(row), "a row without a test is a promise"


@pytest.mark.parametrize("page", NAMED_ON)
def test_what_a_page_names_exists(page: str) -> None:
    named = NAMED.findall((ROOT / "docs" / page).read_text(encoding="utf-8"))
    assert len(named) >= 5
    for path, name in named:
        assert name in _tests(path), f"{page}: {path} has no {name}"


@cache
def _tests(path: str) -> set[str]:
    tree = ast.parse((ROOT / path).read_text(encoding="utf-8"))
    return {node.name for node in ast.walk(tree) if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))}


LINK = re.compile(r"\]\(([^)#\s]+)(#[^)]*)?\)")
PAGES = sorted([ROOT / "README.md", ROOT / "README.ru.md", *(ROOT / "docs").rglob("*.md")])


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_of_a_page_leads_somewhere(page: Path) -> None:
    for target, _ in LINK.findall(page.read_text(encoding="utf-8")):
        if "://" not in target and not target.startswith("mailto:"):
            assert (page.parent / target).exists(), f"{page.name} links to {target}, which is not there"
