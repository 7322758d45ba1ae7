"""Failures that a person can act on end in a sentence, not in a traceback."""

import asyncpg
import pytest
from sqlalchemy.exc import DBAPIError

from app.cli.errors import ending_of


@pytest.mark.parametrize(
    "cause",
    [
        asyncpg.CannotConnectNowError("the database system is starting up"),
        asyncpg.ConnectionFailureError("server closed the connection"),
    ],
)
def test_a_database_that_is_away_is_said_in_one_sentence(cause: Exception) -> None:
    ending = ending_of(DBAPIError("SELECT 1", None, cause))
    assert ending is not None
    assert ending.code == 1
    assert ending.text == f"The database does not answer: {cause}."


@pytest.mark.parametrize("wrapped", [True, False])
def test_a_full_disk_is_said_with_what_to_do(wrapped: bool) -> None:
    full = asyncpg.DiskFullError('could not extend file "base/1/2": No space left on device')
    ending = ending_of(DBAPIError("INSERT", None, full) if wrapped else full)
    assert ending is not None
    assert ending.code == 1
    assert "disk is full" in ending.text
    assert "docs/operations.md" in ending.text


def test_a_fault_of_the_program_keeps_its_traceback() -> None:
    assert ending_of(DBAPIError("SELECT 1", None, asyncpg.UndefinedTableError("no such table"))) is None


def test_the_missing_socket_of_a_server_is_a_database_that_does_not_answer() -> None:
    ending = ending_of(FileNotFoundError(2, "No such file or directory"))
    assert ending is not None
    assert "does not answer" in ending.text
