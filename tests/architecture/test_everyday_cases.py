"""Every row of the page of everyday cases names tests that are there."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "everyday-cases.md"
NAMED = re.compile(r"`(tests/[\w/]+\.py)::(\w+)`")


def rows() -> list[str]:
    """The table without its head."""
    found = [line for line in PAGE.read_text(encoding="utf-8").splitlines() if line.startswith("| ")]
    return found[1:]


def test_the_page_answers_every_case_of_the_week() -> None:
    assert len(rows()) >= 20
    assert all(len(row.split(" | ")) == 4 for row in rows())


@pytest.mark.parametrize("row", rows(), ids=lambda row: str(row).split("|")[1].strip()[:40])
def test_a_row_names_a_test_that_exists(row: str) -> None:
    named = NAMED.findall(row)
    assert named, "a row without a test is a promise"
    for path, name in named:
        tree = ast.parse((ROOT / path).read_text(encoding="utf-8"))
        tests = {node.name for node in ast.walk(tree) if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))}
        assert name in tests, f"{path} has no {name}"
