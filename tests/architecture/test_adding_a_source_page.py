"""The guides for sources name only what exists: files, members of the port, values, columns, commands."""

import re
import shlex
from pathlib import Path

import pytest
from typer.testing import CliRunner

import app.ports.source as port
from app.cli.root import app as cli
from app.domain.register import COLUMNS
from app.ports.source import Desk, Passive, SourceAdapter, SourceCapabilities, SourceContext, Verdict
from app.services.endpoints import MESSAGE_TYPES

ROOT = Path(__file__).parents[2]
GUIDE = (ROOT / "docs" / "adding-a-source.md").read_text(encoding="utf-8")
OPERATORS = (ROOT / "docs" / "sources.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```sh\n(.*?)```", GUIDE + OPERATORS, re.S)
COMMANDS = [line for block in BLOCKS for line in block.replace("\\\n", "").splitlines()]
PATH = re.compile(r"(docs|app|tests)/[\w./-]+\.(py|md)|(app|tests)/[\w./-]+/")


def named(text: str) -> set[str]:
    return set(re.findall(r"`([^`\n]+)`", text))


def rows(text: str) -> set[str]:
    """What stands in the first column of its tables."""
    firsts = re.findall(r"^\| (`[^|]*`) \|", text, re.M)
    return {name for first in firsts for name in re.findall(r"`(\w+)`", first)}


@pytest.mark.parametrize("path", sorted(filter(PATH.fullmatch, named(GUIDE) | named(OPERATORS))))
def test_files_exist(path: str) -> None:
    assert (ROOT / path).exists()


@pytest.mark.parametrize("command", COMMANDS)
def test_commands_exist(command: str) -> None:
    program, *given = shlex.split(command)
    match program:
        case "crm-kassa":
            told = CliRunner().invoke(cli, [*given[:2], "--help"], env={"COLUMNS": "200", "TERM": "dumb"})
            assert told.exit_code == 0
            assert all(option in told.output for option in given if option.startswith("--"))
        case ".venv/bin/pytest":
            assert given
            assert all((ROOT / path).exists() for path in given)
        case "make":
            assert f"\n{given[0]}:" in (ROOT / "Makefile").read_text(encoding="utf-8")
        case _:
            assert program == "curl"
            assert given[given.index("-X") + 1] == "PATCH"


def test_every_call_of_the_port_is_explained() -> None:
    calls = {name for name in vars(SourceAdapter) if callable(getattr(SourceAdapter, name)) and name[0] != "_"}
    assert calls - set(SourceAdapter.__annotations__) <= rows(GUIDE)


def test_what_need_not_be_written_is_inherited() -> None:
    assert {"refuse", "away", "answer", "poll", "report", "estimate", "reconsider"} == {
        name for name in vars(Passive) if name[0] != "_"
    }


def test_every_capability_is_explained() -> None:
    assert set(SourceCapabilities.__dataclass_fields__) <= rows(GUIDE)


def test_every_value_that_is_explained_exists() -> None:
    explained = {name for name in rows(GUIDE) if name[0].isupper()}
    answers = {"Parsed", "ReadBackFailed", "Estimate", "Alarm", "Standing", "Reported", "NotReported", "ReportFailed"}
    assert explained == answers | {name for name in vars(Verdict) if name[0] != "_"}
    assert all(hasattr(port, name) for name in answers)


def test_named_members_exist() -> None:
    used = set(re.findall(r"`context\.(\w+)`", GUIDE))
    assert used
    assert used <= set(SourceContext.__dataclass_fields__)
    assert {"accept", "standing", "again"} == {name for name in vars(Desk) if name[0] != "_"}


def test_every_column_of_a_register_is_explained() -> None:
    assert set(COLUMNS) <= rows(OPERATORS)


def test_messages_that_are_named_exist() -> None:
    told = {name for name in named(OPERATORS + GUIDE) if re.fullmatch(r"(event|source|receipt)\.[a-z_]+", name)}
    assert {"event.alarm", "source.silent", "source.heard"} <= told
    assert told <= {*MESSAGE_TYPES, "source.list"}
