"""What a migration may not do to tables that exist: a running program reads and writes them at that moment.

The rules look at the statements that really went to the database, revision by revision, with their transactions.
"""

import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Engine, event

OWN = "alembic_version"
"""Alembic's table, which no program reads."""

_INDEX = re.compile(r"CREATE (UNIQUE )?INDEX (?!CONCURRENTLY)(IF NOT EXISTS )?\S+ ON (ONLY )?(?P<table>\w+)")
_ALTER = re.compile(r"ALTER TABLE (IF EXISTS )?(ONLY )?(?P<table>\w+) (?P<actions>.*)")
_AT_ONCE = re.compile(r"DO \$online\$ BEGIN (?P<statements>.*); END \$online\$")
_WRITE = re.compile(r"(?:^|\) |\()(?:UPDATE|DELETE FROM) (?P<table>\w+)")
_PART = re.compile(r"\bid > \$.*\bid <= \$")


@dataclass(frozen=True, slots=True)
class Statement:
    """One statement of a migration and the transaction that it was part of, by number."""

    sql: str
    transaction: int = 0
    at_once: bool = False
    """Its transaction is one message to the server: it does not wait for the program that migrates."""


@contextmanager
def recorded() -> Iterator[list[Statement]]:
    """Every statement that any engine of this process sends meanwhile."""
    found: list[Statement] = []
    transaction = 0

    def sent(connection: Connection, cursor: Any, sql: str, *_: Any) -> None:
        nonlocal transaction
        plain = " ".join(sql.split())
        if at_once := _AT_ONCE.fullmatch(plain):
            found.extend(Statement(one, transaction, at_once=True) for one in at_once["statements"].split("; "))
            transaction += 1
        else:
            found.append(Statement(plain, transaction))

    def committed(connection: Connection) -> None:
        nonlocal transaction
        transaction += 1

    event.listen(Engine, "before_cursor_execute", sent)
    event.listen(Engine, "commit", committed)
    try:
        yield found
    finally:
        event.remove(Engine, "before_cursor_execute", sent)
        event.remove(Engine, "commit", committed)


def refusals(statements: Sequence[Statement], existing: set[str]) -> list[str]:
    """What is wrong with the statements of one revision: the reason, the way out. `existing`: the tables before it."""
    found = [f"{why}\n    {one.sql}" for one in statements for why in _alone(one, existing - {OWN})]
    strong = defaultdict(set)
    for one in statements:
        altered = _ALTER.match(one.sql)
        if altered and altered["table"] in existing and not _mild(altered["actions"]):
            strong[one.transaction].add(altered["table"])
    for one in statements:
        held = strong[one.transaction]
        if len(held) > 1 or (held and _WRITE.search(one.sql) and OWN not in one.sql):
            found.append(f"{TOGETHER}\n    {', '.join(sorted(held))}: {one.sql}")
    return found


PLAIN_INDEX = "A plain CREATE INDEX stops all writers of its table while it is built: use online.create_index."
PLAIN_DROP = "A plain DROP INDEX waits for everybody and makes everybody wait: use online.drop_index."
NOT_NULL = "NOT NULL without a default fails where rows are, and old code does not write it: give a constant default."
WRITES_ALL = (
    "A default that is no constant rewrites the table under its strongest lock: add without it, online.fill later."
)
NOT_VALID = "A constraint that is checked at once reads the whole table under a strong lock: NOT VALID, VALIDATE later."
REWRITES = "It reads or rewrites the whole table under its strongest lock: a new column, or a valid CHECK before it."
UNBATCHED = (
    "One UPDATE of a whole table keeps every row locked until it ends: use online.fill, a thousand rows at a time."
)
NOT_AT_ONCE = (
    "Its strong lock is held until this process commits, which may be stopped: use the steps of app.db.online."
)
TOGETHER = "A strong lock is held until the transaction ends: one table at a time, and nothing else with it."


def _alone(one: Statement, existing: set[str]) -> Iterator[str]:
    if (made := _INDEX.match(one.sql)) and made["table"] in existing:
        yield PLAIN_INDEX
    if re.match(r"DROP INDEX (?!CONCURRENTLY)", one.sql):
        yield PLAIN_DROP
    if re.match(rf"(CREATE|DROP) TABLE (?!{OWN})", one.sql) and existing and not one.at_once:
        yield NOT_AT_ONCE
    if (written := _WRITE.search(one.sql)) and written["table"] in existing and not _PART.search(one.sql):
        yield UNBATCHED
    if (altered := _ALTER.match(one.sql)) and altered["table"] in existing:
        yield from _altering(altered["actions"])
        if not one.at_once:
            yield NOT_AT_ONCE


def _altering(actions: str) -> Iterator[str]:
    for column in re.split(r"(?:^|, )ADD COLUMN ", actions)[1:]:
        default = re.search(r" DEFAULT (?P<value>.*?)(?: NOT NULL|$)", column)
        if " NOT NULL" in column and default is None:
            yield NOT_NULL
        if default is not None and "(" in default["value"]:
            yield WRITES_ALL
    if "ADD CONSTRAINT" in actions and not re.search("NOT VALID|USING INDEX", actions):
        yield NOT_VALID
    if re.search(r"\bSET NOT NULL\b|ALTER COLUMN \w+ (SET DATA )?TYPE", actions):
        yield REWRITES


def _mild(actions: str) -> bool:
    """Storage parameters and VALIDATE let readers and writers go on."""
    return actions.startswith(("SET (", "RESET (", "VALIDATE "))
