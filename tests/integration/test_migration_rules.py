"""Every migration is safe to run beside a running program; the rules and their reasons are in the failure's text."""

import asyncpg
import pytest
from alembic.script import ScriptDirectory

from app.db import migrate
from tests.support import online_rules
from tests.support.online_rules import Statement, recorded, refusals


async def tables(url: str) -> set[str]:
    connection = await asyncpg.connect(url)
    rows = await connection.fetch("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
    await connection.close()
    return {row["tablename"] for row in rows}


async def test_every_migration_keeps_the_rules_up_and_down(empty_url: str) -> None:
    scripts = ScriptDirectory.from_config(migrate.config())
    revisions = [one.revision for one in reversed(list(scripts.walk_revisions()))]
    wrong, seen = [], 0
    for revision in revisions:
        existing = await tables(empty_url)
        with recorded() as statements:
            await migrate.upgrade(empty_url, revision)
        seen += len(statements)
        wrong += [f"{revision}, upgrade: {why}" for why in refusals(statements, existing)]
    # Below the first there is no program.
    for revision, before in zip(reversed(revisions[1:]), reversed(revisions[:-1]), strict=True):
        existing = await tables(empty_url)
        with recorded() as statements:
            await migrate.downgrade(empty_url, before)
        wrong += [f"{revision}, downgrade: {why}" for why in refusals(statements, existing)]
    assert seen > 200, "the statements were not recorded"
    assert wrong == [], "\n" + "\n".join(wrong)


STAMP = Statement("UPDATE alembic_version SET version_num='0013' WHERE alembic_version.version_num = '0012'", 9)


@pytest.mark.parametrize(
    ("why", "sql"),
    [
        ("PLAIN_INDEX", ["CREATE INDEX ix ON receipts (total)"]),
        ("PLAIN_INDEX", ["CREATE UNIQUE INDEX IF NOT EXISTS ix ON receipts (total)"]),
        ("PLAIN_DROP", ["DROP INDEX ix_receipts_fd"]),
        ("NOT_NULL", ["ALTER TABLE receipts ADD COLUMN a TEXT, ADD COLUMN b TEXT NOT NULL"]),
        ("WRITES_ALL", ["ALTER TABLE receipts ADD COLUMN a TIMESTAMP WITH TIME ZONE DEFAULT kassa_now() NOT NULL"]),
        ("NOT_VALID", ["ALTER TABLE receipts ADD CONSTRAINT ck CHECK (total > 0)"]),
        ("REWRITES", ["ALTER TABLE receipts ALTER COLUMN total TYPE NUMERIC"]),
        ("REWRITES", ["ALTER TABLE receipts ALTER COLUMN kassa_id SET NOT NULL"]),
        ("UNBATCHED", ["UPDATE receipts SET total = 0"]),
        ("UNBATCHED", ["WITH old AS (SELECT 1) DELETE FROM receipts WHERE total = 0"]),
        ("TOGETHER", ["ALTER TABLE receipts ADD COLUMN a TEXT", "ALTER TABLE events ADD COLUMN a TEXT"]),
        ("TOGETHER", ["ALTER TABLE receipts ADD COLUMN a TEXT", "UPDATE events SET a = 1 WHERE id > $1 AND id <= $2"]),
    ],
)
def test_what_would_stop_a_running_program_is_refused(why: str, sql: list[str]) -> None:
    found = refusals([*(Statement(one, at_once=True) for one in sql), STAMP], {"receipts", "events"})
    assert found
    assert {one.partition("\n")[0] for one in found} == {getattr(online_rules, why)}


@pytest.mark.parametrize(
    "sql",
    [
        "CREATE INDEX CONCURRENTLY ix ON receipts (total)",
        "CREATE INDEX ix ON later (total)",
        "ALTER TABLE receipts ADD COLUMN a BOOLEAN DEFAULT false NOT NULL, ADD COLUMN b JSONB DEFAULT '{}'::jsonb",
        "ALTER TABLE receipts ADD CONSTRAINT ck CHECK (total > 0) NOT VALID",
        "ALTER TABLE receipts VALIDATE CONSTRAINT ck",
        "ALTER TABLE later ADD COLUMN a TEXT NOT NULL",
        "UPDATE receipts SET total = 0 WHERE id > $1 AND id <= $2",
        "ALTER TABLE receipts SET (fillfactor = 50)",
    ],
)
def test_what_a_running_program_does_not_notice_is_allowed(sql: str) -> None:
    assert refusals([Statement(sql, at_once=True), STAMP], {"receipts", "events"}) == []


@pytest.mark.parametrize(
    "sql", ["CREATE TABLE later (id UUID)", "DROP TABLE receipts", "ALTER TABLE receipts ADD COLUMN a TEXT"]
)
def test_a_strong_lock_does_not_wait_for_the_process_that_migrates(sql: str) -> None:
    (found,) = refusals([Statement(sql), STAMP], {"receipts", "events"})
    assert found.partition("\n")[0] == online_rules.NOT_AT_ONCE
