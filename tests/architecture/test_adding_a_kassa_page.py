"""The guide for a new kassa names only what exists: files, members of the port, outcomes, scenarios, commands."""

import re
import shlex
from pathlib import Path

import pytest
from typer.testing import CliRunner

import app.domain.outcome
from app.cli.root import app as cli
from app.ports.kassa import Capabilities, DriverContext, KassaDriver

ROOT = Path(__file__).parents[2]
GUIDE = (ROOT / "docs" / "adding-a-kassa.md").read_text(encoding="utf-8")
COMMANDS = [line for block in re.findall(r"```sh\n(.*?)```", GUIDE, re.S) for line in block.splitlines()]
NAMED = re.findall(r"`([^`\n]+)`", GUIDE)
PATH = re.compile(r"(docs|app|tests)/[\w./-]+\.(py|md)|(app|tests)/[\w./-]+/")


@pytest.mark.parametrize("path", sorted(filter(PATH.fullmatch, set(NAMED))))
def test_files_exist(path: str) -> None:
    assert (ROOT / path).exists()


@pytest.mark.parametrize("command", COMMANDS)
def test_commands_exist(command: str) -> None:
    program, *given = shlex.split(command)
    match program:
        case "crm-kassa":
            told = CliRunner().invoke(cli, [given[0], "--help"], env={"COLUMNS": "200", "TERM": "dumb"})
            assert told.exit_code == 0
            assert all(option in told.output for option in given if option.startswith("--"))
        case ".venv/bin/pytest":
            paths = [each for each in given if each.startswith("tests/")]
            assert paths
            assert all((ROOT / path).exists() for path in paths)
            options = {each for each in given if each.startswith("-")}
            assert options <= {"-k", "--update-golden"}
            assert '"--update-golden"' in (ROOT / "tests/contract/conftest.py").read_text(encoding="utf-8")
        case "make":
            assert f"\n{given[0]}:" in (ROOT / "Makefile").read_text(encoding="utf-8")
        case _:
            assert command == "git diff tests/contract/golden"


def test_every_call_of_the_port_is_explained() -> None:
    calls = {name for name, member in vars(KassaDriver).items() if callable(member) and not name.startswith("_")}
    rows = set(re.findall(r"^\| `(\w+)` \|", GUIDE, re.M))
    assert calls <= rows | set(KassaDriver.__annotations__)


def test_every_outcome_is_explained() -> None:
    explained = set(re.findall(r"`([A-Z]\w+)`", GUIDE))
    kinds = app.domain.outcome.LookupOutcome.__args__
    assert {kind.__name__ for kind in kinds} <= explained


def test_named_members_exist() -> None:
    assert {"dedup_seconds", "lookup_seconds"} <= set(Capabilities.__dataclass_fields__)
    used = set(re.findall(r"`context\.(\w+)`", GUIDE))
    assert used
    assert all(hasattr(DriverContext, name) or name in DriverContext.__dataclass_fields__ for name in used)
