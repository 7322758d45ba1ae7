"""The tables and the rule of the page about the nomenclature are such as the program takes."""

import json
import re
from datetime import UTC, datetime
from pathlib import Path

import pytest

from app.api.schemas.nomenclature import RuleIn
from app.domain.nomenclature_csv import COLUMNS, read_rules
from app.services.nomenclature_checks import MAX_RULES, agent_from, findings, tidy
from app.services.nomenclature_rules import Draft

PAGE = (Path(__file__).parents[2] / "docs" / "nomenclature.md").read_text(encoding="utf-8")
TABLES = re.findall(r"```csv\n(.*?)```", PAGE, re.DOTALL)
NOW = datetime(2026, 11, 23, tzinfo=UTC)


@pytest.mark.parametrize("table", TABLES)
def test_a_table_of_the_page_is_taken(table: str) -> None:
    lines, faults = read_rules(table, MAX_RULES)
    assert faults == ()
    assert len(lines) == len(table.strip().splitlines()) - 1
    for line in lines:
        assert line.findings == ()
        cells = dict(line.cells)
        agent = agent_from({name.removeprefix("agent_"): text for name, text in cells.items() if "agent_" in name})
        said = {name: text for name, text in cells.items() if not name.startswith("agent_")}
        draft = Draft(pattern=said.pop("text", None), agent=agent, **said)
        assert list(findings(tidy(draft), NOW)) == [], cells


def test_the_rule_of_the_page_is_taken() -> None:
    (told,) = re.findall(r"```json\n(.*?)```", PAGE, re.DOTALL)
    rule = RuleIn.model_validate(json.loads(told.replace("brn_…", "brn_" + "0" * 32)))
    assert list(findings(tidy(rule.to_domain()), NOW)) == []


def test_the_page_names_every_column_and_the_limit() -> None:
    assert len(TABLES) == 2
    columns = PAGE.partition("## As a table")[2]
    assert [name for name in COLUMNS if f"`{name}`" not in columns] == []
    assert f"At most {MAX_RULES} rules" in PAGE
