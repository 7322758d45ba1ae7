"""A process that is started while the database is away ends by a rule; any other end is a finding."""

from pathlib import Path

import asyncpg
import pytest

from app.cli.errors import ending_of
from app.db.trouble import Refusal, busy
from tests.chaos.children import AWAY, Child, Nursery


@pytest.mark.parametrize(
    "error",
    [
        *(busy(one) for one in AWAY),
        asyncpg.CannotConnectNowError("the database system is starting up"),
        ConnectionRefusedError("Connect call failed"),
        TimeoutError(),
    ],
    ids=repr,
)
def test_a_start_without_a_database_is_told_from_a_death(error: Exception, tmp_path: Path) -> None:
    ending = ending_of(error)
    assert ending is not None
    child = Child(Nursery(tmp_path), "worker-1", [], {}, tmp_path)
    child.log.write_text(f"{{}}\nError: {ending.text}\n")
    assert child.found_no_database() == 1


@pytest.mark.parametrize("refusal", [one for one in Refusal if one not in AWAY])
def test_a_database_that_refuses_for_another_reason_is_a_finding(refusal: Refusal, tmp_path: Path) -> None:
    ending = ending_of(busy(refusal))
    assert ending is not None
    child = Child(Nursery(tmp_path), "worker-1", [], {}, tmp_path)
    child.log.write_text(f"Error: {ending.text}\n")
    assert child.found_no_database() == 0


def test_a_death_is_no_start_without_a_database(tmp_path: Path) -> None:
    child = Child(Nursery(tmp_path), "worker-1", [], {}, tmp_path)
    assert child.found_no_database() == 0
    child.log.write_text("Traceback (most recent call last):\nRuntimeError: the database is being started\n")
    assert child.found_no_database() == 0
    assert child.last_words().endswith("RuntimeError: the database is being started")
