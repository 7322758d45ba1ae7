"""The page for accountants and auditors: what it names is there, and no law is cited that it does not list."""

import ast
import re
from pathlib import Path

import pytest

from app.settings import Settings

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "law.md").read_text(encoding="utf-8")
ACT = re.compile(r"[А-Я]{2}-\d+-\d+/\d+@|\d+-(?:ФЗ|FZ)|КоАП|(?:Tax Code|НК РФ|НК)\b")
MODULE = re.compile(r"`(app/[\w/]+\.py)`")
TEST = re.compile(r"`tests/[\w/]+\.py::\w+`")
SUBJECTS = (
    "tags and enumerations",
    "VAT by date",
    "when a receipt is due",
    "refunds",
    "corrections",
    "prepayment and closing",
    "agents",
    "marked goods",
    "Internet sign and place",
    "contact of the buyer",
)


def rows(title: str) -> list[list[str]]:
    """The cells of a section's table, without its head."""
    section = PAGE.split(f"\n## {title}\n")[1].split("\n## ")[0]
    lines = [line for line in section.splitlines() if line.startswith("| ")]
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines[1:]]


RULES, UNCERTAIN = rows("The rules"), rows("What is uncertain, and how it is set")


def act(found: str) -> str:
    """One spelling for an act: laws by their Russian letters, the Tax Code by its English name."""
    return "Tax Code" if found.startswith("НК") else found.replace("FZ", "ФЗ")


def cited(text: str) -> set[str]:
    return {act(found) for found in ACT.findall(text)}


def words(path: Path) -> str:
    """Everything that a module says in words: its comments are lines, its docstrings and texts are constants."""
    text = path.read_text(encoding="utf-8")
    told = [node.value for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Constant)]
    comments = [line.partition("#")[2] for line in text.splitlines() if line.strip().startswith("#")]
    return "\n".join([*(one for one in told if isinstance(one, str)), *comments])


def test_the_page_speaks_of_every_part_of_the_law() -> None:
    assert {row[0] for row in RULES} >= set(SUBJECTS)


@pytest.mark.parametrize("row", RULES, ids=lambda row: str(row[0]))
def test_a_rule_has_a_source_a_place_and_a_test(row: list[str]) -> None:
    assert len(row) == 6
    assert all(row)
    assert MODULE.search(row[2]), "a rule stands in a module"
    assert TEST.search(row[5]), "a rule without a test is a promise"


@pytest.mark.parametrize("row", UNCERTAIN, ids=lambda row: str(row[0])[:40])
def test_what_is_uncertain_says_where_it_stands(row: list[str]) -> None:
    assert len(row) == 4
    assert MODULE.search(row[2])


def test_every_module_that_is_named_exists() -> None:
    named = set(MODULE.findall(PAGE))
    assert len(named) > 20
    assert {path for path in named if not (ROOT / path).is_file()} == set()


def test_every_setting_that_is_named_exists() -> None:
    named = set(re.findall(r"KASSA_([A-Z_]+)", PAGE))
    assert named
    assert {name.lower() for name in named} <= set(Settings.model_fields)


def test_every_act_that_the_code_cites_is_listed_and_no_other() -> None:
    listed = set().union(*(cited(row[0]) for row in rows("The acts")))
    in_code = set().union(*(cited(words(path)) for path in (ROOT / "app").rglob("*.py")))
    assert listed == in_code


def test_whatever_the_domain_calls_uncertain_stands_on_the_page() -> None:
    named = {path for row in UNCERTAIN for path in MODULE.findall(row[2])}
    marked = {
        str(path.relative_to(ROOT))
        for path in (ROOT / "app" / "domain").glob("*.py")
        if re.search(r"\(U\)|unconfirmed", words(path))
    }
    assert marked
    assert marked <= named
