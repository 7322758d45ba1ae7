"""Migrations beside the program of an older schema: it waits for nothing, and they come to their end whatever happens.

What is measured: how long statements of the running program wait for a lock. The server counts it, from the moment a
session begins to wait; how fast the machine is or how long the statement then takes does not matter. `lock_timeout` of
these sessions is the bound that must hold, so a statement that waited longer was ended and is in `ended`.
"""

import asyncio
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import asyncpg
import pytest
from sqlalchemy.exc import DBAPIError

from app.db import migrate
from app.keys import generate
from tests.support import old_code
from tests.support.program import program

# Many rows, many connections, processes: minutes where the machine is busy with others.
pytestmark = pytest.mark.timeout(900)

ROWS = 100_000
FEW = 20
KEYS = generate()
MIGRATING = """
(SELECT pid FROM pg_locks JOIN pg_database d ON d.oid = database
 WHERE locktype = 'advisory' AND granted AND datname = current_database()) migrating
"""
BUILT = "(SELECT indisvalid FROM pg_index WHERE indexrelid = to_regclass('ix_receipts_email_hash_new')) built"
UNDER_WAY = "status IN ('held', 'queued', 'sending', 'accepted', 'unknown', 'needs_attention')"


@pytest.fixture
async def sql(empty_url: str) -> AsyncIterator[asyncpg.Connection]:
    """A session beside those that are tested."""
    connection = await asyncpg.connect(empty_url)
    yield connection
    await connection.close()


async def until(sql: asyncpg.Connection, condition: str) -> None:
    """Until the database says so; TimeoutError after half a minute."""
    async with asyncio.timeout(30):
        while not await sql.fetchval(f"SELECT {condition}"):
            await asyncio.sleep(0.01)


async def history(url: str, sql: asyncpg.Connection, rows: int) -> None:
    await migrate.upgrade(url, old_code.SCHEMA)
    await old_code.fill(sql, rows)


async def check_history(sql: asyncpg.Connection, rows: int) -> None:
    """Every old row has what the migrations had to give it."""
    old = f"id <= '{old_code.id_of(rows)}'"
    assert await sql.fetchval(f"SELECT count(*) FROM receipts WHERE alarm_at IS NULL AND {UNDER_WAY} AND {old}") == 0
    assert await sql.fetchval("SELECT count(*) FROM receipts WHERE alarm_at IS NOT NULL") > 0
    linked = await sql.fetchrow(
        "SELECT count(*), count(*) FILTER (WHERE o.external_id = 'p-' || (substr(e.external_id, 3)::int - 1)) "
        "FROM events e LEFT JOIN events o ON o.id = e.linked_to WHERE e.status = 'linked'"
    )
    assert tuple(linked) == (rows // 10, rows // 10)
    keys = await sql.fetchrow(
        "SELECT count(*), count(*) FILTER (WHERE amount = 199000 AND source_id = $1 AND sources[1] = $1), "
        "count(*) FILTER (WHERE sources = ARRAY[$1, $2]) FROM settlement_keys "
        f"WHERE event_id <= '{old_code.id_of(rows)}'",
        old_code.SOURCE,
        old_code.OTHER_SOURCE,
    )
    assert tuple(keys) == (rows - rows // 10, rows - rows // 10, rows // 10)


async def test_the_running_program_waits_less_than_a_second_beside_100_000_rows(
    empty_url: str, sql: asyncpg.Connection
) -> None:
    """With the migrations as they were, each one transaction, 147 statements were ended here: 0004 kept receipts and
    events to itself for 13 s, 0006 for 17 s, 0008 for 23 s."""
    await history(empty_url, sql, ROWS)
    async with old_code.at_work(empty_url, ROWS) as old:
        await migrate.upgrade(empty_url)
        after = old.done.copy()
        # On the new schema, too, until its processes are replaced.
        await old.does_more()
    assert old.ended == [], f"the longest wait: {old.longest:.2f} s for {old.longest_at}"
    assert old.longest < old_code.MOST_SECONDS
    assert min(after[name] for name in old_code.STATEMENTS) > 10, "it was not at work while the schema changed"
    assert await migrate.current(empty_url) == migrate.head()
    await check_history(sql, ROWS)


async def test_a_table_in_use_is_tried_again_and_nobody_waits_behind(empty_url: str, sql: asyncpg.Connection) -> None:
    """A transaction that stays open over receipts stops the migration, and only the migration."""
    await history(empty_url, sql, FEW)
    await migrate.upgrade(empty_url, "0005")
    told: asyncio.Queue[str] = asyncio.Queue()
    reader = await asyncpg.connect(empty_url, server_settings={"application_name": "month's report"})
    async with old_code.at_work(empty_url, FEW, reports=False) as old, asyncio.TaskGroup() as tasks:
        await reader.execute("BEGIN")
        await reader.fetch("SELECT 1 FROM receipts LIMIT 1")
        migration = tasks.create_task(migrate.upgrade(empty_url, "0006", say=told.put_nowait))
        for _ in range(3):
            while "In use: ALTER TABLE receipts" not in (said := await asyncio.wait_for(told.get(), 60)):
                assert not migration.done()
            assert "month's report" in said
            assert "trying again in" in said
        before = old.done["intake"]
        await old.does_more()
        assert old.done["intake"] > before
        assert await migrate.current(empty_url) == "0005"
        await reader.close()
        await migration
    assert old.ended == []
    assert await migrate.current(empty_url) == "0006"


async def test_a_table_that_stays_in_use_ends_it_in_words(
    empty_url: str, sql: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    await history(empty_url, sql, FEW)
    await migrate.upgrade(empty_url, "0005")
    monkeypatch.setattr(migrate, "_PATIENCE_SECONDS", 0)
    async with sql.transaction():
        await sql.execute("LOCK TABLE receipts IN ACCESS SHARE MODE")
        with pytest.raises(migrate.Busy, match=r"In use: ALTER TABLE receipts .*run crm-kassa migrate again"):
            await migrate.upgrade(empty_url)
    await migrate.upgrade(empty_url)
    await migrate.check(empty_url)


async def test_an_index_waits_for_a_transaction_and_says_for_whose(
    empty_url: str, sql: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    await history(empty_url, sql, FEW)
    monkeypatch.setattr(migrate, "_WATCH_SECONDS", 0.05)
    told: asyncio.Queue[str] = asyncio.Queue()
    reader = await asyncpg.connect(empty_url, server_settings={"application_name": "month's report"})
    async with old_code.at_work(empty_url, FEW, reports=False) as old, asyncio.TaskGroup() as tasks:
        await reader.execute("BEGIN")
        await reader.fetch("SELECT 1 FROM receipts LIMIT 1")
        migration = tasks.create_task(migrate.upgrade(empty_url, say=told.put_nowait))
        while "Waiting for the end of a transaction" not in (said := await asyncio.wait_for(told.get(), 60)):
            assert not migration.done()
        assert "month's report" in said
        await old.does_more()
        assert not migration.done()
        await reader.close()
        await migration
    assert old.ended == []


class Killed(Exception):
    """The migration died here."""


async def test_killed_after_any_step_it_goes_on_when_it_is_run_again(empty_url: str, sql: asyncpg.Connection) -> None:
    """After every single step of every revision its session is gone; the next one ends what it began."""
    await history(empty_url, sql, FEW)
    seen: set[tuple[str, int]] = set()
    said, passed = "", 0

    def say(what: str) -> None:
        nonlocal said, passed
        said, passed = what, 0

    async def between_steps() -> None:
        nonlocal passed
        passed += 1
        if (said, passed) not in seen:
            seen.add((said, passed))
            await sql.execute(f"SELECT pg_terminate_backend(pid) FROM {MIGRATING}")
            raise Killed

    deaths = 0
    while deaths < 100:
        try:
            say("")
            await migrate.upgrade(empty_url, between_steps=between_steps, say=say)
            break
        except (Killed, DBAPIError):
            deaths += 1
            await until(sql, f"NOT EXISTS (SELECT FROM {MIGRATING})")
    assert 40 < deaths < 100
    await migrate.check(empty_url)
    await check_history(sql, FEW)


async def test_a_killed_process_leaves_a_build_and_the_next_one_builds_anew(
    empty_url: str, sql: asyncpg.Connection, tmp_path: Path
) -> None:
    """kill -9 while an index is built: the server goes on building, and the next migration waits for that. When the
    server was ended, too, an index is left that is no index: it is made again."""
    await history(empty_url, sql, FEW)
    settings = {"KASSA_DATABASE_URL": empty_url, **KEYS}
    writer = await asyncpg.connect(empty_url)
    # A build waits for transactions that have written the table.
    await writer.execute("BEGIN")
    await writer.execute("UPDATE receipts SET total = total")
    async with program("migrate", cwd=tmp_path, **settings) as first:
        await first.says("Building ix_receipts_email_hash_new")
        await until(sql, f"EXISTS (SELECT FROM {MIGRATING} JOIN {BUILT} ON true WHERE NOT indisvalid)")
        assert await first.end(signal.SIGKILL) == -signal.SIGKILL
    async with program("migrate", cwd=tmp_path, **settings) as second:
        await second.says("Another migration runs on this database")
        await sql.execute(f"SELECT pg_terminate_backend(pid) FROM {MIGRATING}")
        await second.says("Building ix_receipts_email_hash_new")
        assert not await sql.fetchval(f"SELECT indisvalid FROM {BUILT}")
        await writer.close()
        assert await second.end() == 0, second.said
    await migrate.check(empty_url)
    assert await sql.fetchval("SELECT count(*) FROM pg_index WHERE NOT indisvalid") == 0


async def test_two_that_start_at_once_both_end_well(empty_url: str, sql: asyncpg.Connection) -> None:
    """Neither keeps the other's index builds from ending."""
    await history(empty_url, sql, FEW)
    told: list[str] = []
    await asyncio.gather(*(migrate.upgrade(empty_url, say=told.append) for _ in range(3)))
    assert told.count("Another migration runs on this database: waiting for its end.") == 2
    assert told.count("Building ix_receipts_prepaid …") == 1
    await migrate.check(empty_url)


async def test_an_older_schema_comes_back_beside_the_program_of_it(empty_url: str, sql: asyncpg.Connection) -> None:
    await history(empty_url, sql, FEW)
    await migrate.upgrade(empty_url)
    async with old_code.at_work(empty_url, FEW) as old:
        await migrate.downgrade(empty_url, old_code.SCHEMA)
        await old.does_more()
    assert old.ended == []
    await migrate.upgrade(empty_url)
    await migrate.check(empty_url)
